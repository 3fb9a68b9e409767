"""What leaves the trainer: a release, written, published, or made of a Keras file."""
