"""How good a recommender is: rolling temporal folds, baselines, intervals."""
