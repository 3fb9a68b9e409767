"""Turns a review file into a release and publishes it."""
