"""The typed Python client of Twotower, and what is built on it: the command line, the demo and the load test.

Names are imported when they are first asked for, so that `python -m clients` can prepare gRPC before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from clients.async_recommender import AsyncTwotowerClient
    from clients.calls import Deadlines, ProductFilter, Review
    from clients.recommender import TwotowerClient
    from clients.results import EmbeddingSpace, Product, ReleaseLabel
    from twotower.rpc import ChannelTls
else:
    _MODULES: Final = {
        "AsyncTwotowerClient": "clients.async_recommender",
        "ChannelTls": "twotower.rpc",
        "Deadlines": "clients.calls",
        "EmbeddingSpace": "clients.results",
        "Product": "clients.results",
        "ProductFilter": "clients.calls",
        "ReleaseLabel": "clients.results",
        "Review": "clients.calls",
        "TwotowerClient": "clients.recommender",
    }

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


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
