"""A review file made up by a program."""
