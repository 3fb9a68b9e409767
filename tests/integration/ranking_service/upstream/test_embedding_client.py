"""Look-ups over calls that stay open, from a server that is slow, fails, stops and comes back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from ranking_service.upstream.embedding_client import EmbeddingClient
from tests.support.fake_embedding import FakeEmbedding, warm_user
from tests.support.releases import random_user_rows, write_random_release
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.rpc import open_async_channel
from twotower.v1 import types_pb2

SPACE = types_pb2.EmbeddingSpace(encoder_id="e", als_id="a")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeEmbedding]:
    """User i has reviewed i products."""
    rows = random_user_rows(np.random.default_rng(0), 20)
    users = {str(i): warm_user(row, [f"p{j}" for j in range(i)]) for i, row in enumerate(rows)}
    fake = FakeEmbedding(write_random_release(tmp_path, products=5), users)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def client(server: FakeEmbedding) -> AsyncIterator[EmbeddingClient]:
    async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
        yield EmbeddingClient(channel, channel, lookup_timeout_s=5)


async def reviewed(client: EmbeddingClient, *users: int) -> list[int]:
    return list((await client.get([str(user) for user in users], SPACE)).seen_counts)


async def test_look_ups_one_after_the_other_share_a_call(client: EmbeddingClient, server: FakeEmbedding) -> None:
    for user in range(5):
        assert await reviewed(client, user, user + 1) == [user, user + 1]
    assert server.opened == 1


async def test_look_ups_at_once_each_get_their_own_answer(client: EmbeddingClient, server: FakeEmbedding) -> None:
    assert await asyncio.gather(*(reviewed(client, user) for user in range(20))) == [[user] for user in range(20)]
    opened = server.opened
    assert await asyncio.gather(*(reviewed(client, user) for user in range(20))) == [[user] for user in range(20)]
    assert server.opened == opened, "calls that are open are used again"


async def test_a_late_answer_is_never_taken_for_another(server: FakeEmbedding) -> None:
    async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
        client = EmbeddingClient(channel, channel, lookup_timeout_s=0.2)
        assert await reviewed(client, 1) == [1]
        server.blocked.clear()
        with pytest.raises(EmbeddingUnavailable, match=r"no answer within 0\.2 s"):
            await reviewed(client, 2)
        server.blocked.set()
        assert await reviewed(client, 3) == [3]


async def test_a_look_up_that_is_given_up_leaves_no_answer_behind(
    client: EmbeddingClient, server: FakeEmbedding
) -> None:
    server.blocked.clear()
    given_up = asyncio.create_task(reviewed(client, 4))
    await server.called.wait()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    server.blocked.set()
    assert await reviewed(client, 5) == [5]


async def test_a_server_that_was_restarted_is_asked_over_a_new_call(
    client: EmbeddingClient, server: FakeEmbedding
) -> None:
    assert await asyncio.gather(*(reviewed(client, user) for user in range(3))) == [[0], [1], [2]]
    port = server.port
    await server.stop()
    with pytest.raises(EmbeddingUnavailable, match="UNAVAILABLE"):
        await reviewed(client, 1)
    await server.start(port)
    while True:  # until the channel has found it again
        try:
            assert await reviewed(client, 6) == [6]
            break
        except EmbeddingUnavailable:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("status", "error"),
    [(grpc.StatusCode.FAILED_PRECONDITION, SpaceMismatch), (grpc.StatusCode.INTERNAL, EmbeddingUnavailable)],
)
async def test_failures_are_told_apart(
    client: EmbeddingClient, server: FakeEmbedding, status: grpc.StatusCode, error: type[Exception]
) -> None:
    server.failure = status
    with pytest.raises(error, match="as the test wants it"):
        await reviewed(client, 1)
    server.failure = None
    assert await reviewed(client, 2) == [2]
