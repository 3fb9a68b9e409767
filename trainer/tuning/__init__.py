"""Search of a recipe's options on temporal folds of a file's first rows."""
