"""The two-tower network in Keras: presets, towers, the two ways to train it."""
