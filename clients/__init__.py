"""The typed Python client of Twotower, and what is built on it: the command line, the demo and the load test."""

from clients.async_recommender import AsyncTwotowerClient
from clients.calls import Deadlines, ProductFilter, Review
from clients.recommender import TwotowerClient
from clients.results import EmbeddingSpace, Product, ReleaseLabel
from twotower.rpc import ChannelTls

__all__ = [
    "AsyncTwotowerClient",
    "ChannelTls",
    "Deadlines",
    "EmbeddingSpace",
    "Product",
    "ProductFilter",
    "ReleaseLabel",
    "Review",
    "TwotowerClient",
]
