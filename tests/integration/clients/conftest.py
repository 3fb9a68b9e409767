"""A server that answers the whole API from memory, and both clients in one shape."""

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from click.testing import CliRunner

from clients import AsyncTwotowerClient, TwotowerClient
from tests.support.memory_api import MemoryServer, memory_server
from twotower.cli import main


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """Ten products, no reviews, SERVING."""
    with memory_server() as running:
        yield running


class Blocking:
    """The blocking client in the shape of the asyncio one, so that every test runs on both."""

    def __init__(self, *args, **kwargs):
        self.client = TwotowerClient(*args, **kwargs)

    def __getattr__(self, name):
        return partial(asyncio.to_thread, getattr(self.client, name))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.client.close()


@pytest.fixture(params=[Blocking, AsyncTwotowerClient], ids=["blocking", "asyncio"])
def connect(request, server):
    return partial(request.param, server.address, server.address)


@pytest.fixture
def run(server: MemoryServer):
    """Run `twotower …` with both addresses in the environment."""

    def invoke(*arguments, stdin=None, **environment):
        addresses = {"TWOTOWER_RANKING": server.address, "TWOTOWER_EMBEDDING": server.address}
        return CliRunner(env={**addresses, **environment}).invoke(main, arguments, input=stdin)

    return invoke
