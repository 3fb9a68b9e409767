"""How good a recommender is: presets and baselines on rolling temporal folds, with intervals."""
