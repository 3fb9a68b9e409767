"""A release in memory, and where releases and their labels are kept."""
