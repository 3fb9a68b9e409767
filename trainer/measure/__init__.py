"""What quality is measured on and by: temporal folds, ranking metrics."""
