"""Operators' commands over the store."""
