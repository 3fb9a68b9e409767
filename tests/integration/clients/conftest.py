"""A server that answers the whole API from memory, and both clients in one shape."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, Self

import pytest
from click.testing import CliRunner, Result

from clients import AsyncTwotowerClient, TwotowerClient
from tests.support.memory_api import MemoryServer, memory_server
from twotower.cli import main

Connect = partial[AsyncTwotowerClient]
"""Opens a client of the test's server; every test runs on both."""


class Run(Protocol):
    """Runs `twotower …`."""

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result: ...


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    """Ten products, no reviews, SERVING."""
    with memory_server() as running:
        yield running


class Blocking:
    """The blocking client in the shape of the asyncio one, so that every test runs on both."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.client = TwotowerClient(*args, **kwargs)

    def __getattr__(self, name: str) -> partial[Any]:
        return partial(asyncio.to_thread, getattr(self.client, name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()


@pytest.fixture(params=[Blocking, AsyncTwotowerClient], ids=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest, server: MemoryServer) -> Connect:
    return partial(request.param, **server.addresses)


@pytest.fixture
def run(server: MemoryServer) -> Run:
    """Run `twotower …` with the server's addresses in the environment."""

    def invoke(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        return CliRunner(env={**server.variables, **environment}).invoke(main, arguments, input=stdin)

    return invoke
