"""Generated from proto/twotower/v1 by `make proto`; never edited."""
