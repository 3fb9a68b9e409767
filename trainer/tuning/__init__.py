"""Search of a recipe's options on temporal folds inside the training period."""
