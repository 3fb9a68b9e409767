"""Channels to both listeners of a service, as one: stubs call each method where it is served."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from clients import TwotowerClient
from tests.support.processes import Service
from twotower.access import RoutedChannel
from twotower.rpc import ChannelTls, open_async_channel, open_channel


@contextlib.contextmanager
def open_channels(address: str, admin_address: str) -> Iterator[RoutedChannel]:
    """Blocking ones."""
    with open_channel(address) as channel, open_channel(admin_address) as admin_channel:
        yield RoutedChannel(channel, admin_channel)


@contextlib.asynccontextmanager
async def open_async_channels(
    port: int, admin_port: int, tls: ChannelTls | None = None
) -> AsyncIterator[RoutedChannel]:
    """Asyncio ones to ports of this machine."""
    async with (
        open_async_channel(f"127.0.0.1:{port}", tls) as channel,
        open_async_channel(f"127.0.0.1:{admin_port}", tls) as admin_channel,
    ):
        yield RoutedChannel(channel, admin_channel)


def client_of(ranking: Service, embedding: Service) -> TwotowerClient:
    """A client of both."""
    return TwotowerClient(
        ranking.address,
        embedding.address,
        admin_ranking=ranking.admin_address,
        admin_embedding=embedding.admin_address,
    )
