"""Texts to vectors: the encoder of a release, and the cache of what it has embedded."""
