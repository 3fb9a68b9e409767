"""Typed clients, the command line and the load test."""
