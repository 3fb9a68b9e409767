"""The trainer's sub-commands of `twotower`."""
