"""From a review file of any format to clean rows in time order."""
