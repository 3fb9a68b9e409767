"""Ranks a release's catalogue for users."""
