"""The typed Python client of Twotower, and what is built on it: the command line, the demo and the load test."""

from clients.calls import Deadlines
from clients.recommender import AsyncTwotowerClient, TwotowerClient

__all__ = ["AsyncTwotowerClient", "Deadlines", "TwotowerClient"]
