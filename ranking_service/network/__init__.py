"""The network under XLA, for the whole catalogue or in two stages."""
