"""Keeps users' state in Redis and answers feature look-ups."""
