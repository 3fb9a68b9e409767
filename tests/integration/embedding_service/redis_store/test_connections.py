"""Connections to Redis: every caller gets the replies to its own commands, whatever happens to others."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.redis_store.client import connect
from embedding_service.redis_store.connections import Connections
from embedding_service.redis_store.embedded import RedisServer
from twotower.errors import StoreUnavailable

LIMIT = 3


@pytest.fixture
async def connections(redis_server: RedisServer) -> AsyncIterator[Connections]:
    """At most three."""
    connections = Connections(
        ConnectionPool.from_url(redis_server.url, protocol=2).make_connection, limit=LIMIT, timeout_s=5.0
    )
    yield connections
    connections.close()


async def clients(connections: Connections) -> int:
    """Connections that Redis knows of."""
    [reply] = await connections.execute([("CLIENT LIST",)])
    return len(reply.decode().strip().splitlines())


async def test_many_callers_over_few_connections_get_their_own_replies(connections: Connections) -> None:
    async def call(number: int) -> None:
        size = 10 ** (number % 6)  # up to replies of many reads
        first, second = await connections.execute([("ECHO", f"{number}"), ("ECHO", b"x" * size)])
        assert (first, len(second)) == (str(number).encode(), size)

    await asyncio.gather(*(call(number) for number in range(200)))
    assert connections.spare == LIMIT
    assert await clients(connections) <= LIMIT


async def test_an_error_is_one_reply_among_others(connections: Connections) -> None:
    first, error, last = await connections.execute([("SET", "k", "v"), ("LPUSH", "k", "v"), ("GET", "k")])
    assert (first, last) == (b"OK", b"v")
    assert isinstance(error, ResponseError)


async def test_a_caller_who_leaves_costs_no_connection_and_nobody_gets_its_reply(connections: Connections) -> None:
    for number in range(20):
        leaver = asyncio.create_task(connections.execute([("ECHO", f"leaver {number}")]))
        await asyncio.sleep(0)
        leaver.cancel()
        replies = await asyncio.gather(*(connections.execute([("ECHO", f"{number} {i}")]) for i in range(2 * LIMIT)))
        assert replies == [[f"{number} {i}".encode()] for i in range(2 * LIMIT)]
        assert leaver.cancelled()
    assert await clients(connections) <= LIMIT


async def test_lost_connections_are_opened_again(connections: Connections) -> None:
    for _ in range(5):
        await asyncio.gather(*(connections.execute([("ECHO", "a")]) for _ in range(LIMIT)))
        [killed] = await connections.execute([("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")])
        replies = await asyncio.gather(*(connections.execute([("ECHO", f"{i}")]) for i in range(3 * LIMIT)))
        assert replies == [[f"{i}".encode()] for i in range(3 * LIMIT)]
        assert killed <= LIMIT
    assert connections.spare == LIMIT


async def test_a_redis_that_says_nothing_is_given_up_and_the_next_caller_is_answered(redis_server: RedisServer) -> None:
    connections = Connections(
        ConnectionPool.from_url(redis_server.url, protocol=2).make_connection, limit=2, timeout_s=0.3
    )
    silent = [("BLPOP", "nothing", 0)]
    for _ in range(2):
        answers = await asyncio.gather(*(connections.execute(silent) for _ in range(2)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [RedisTimeoutError, RedisTimeoutError]
        assert await connections.execute([("ECHO", "b")]) == [b"b"]
    assert connections.spare == 2
    connections.close()


async def test_a_redis_that_hangs_in_the_handshake_is_waited_for_once(redis_server: RedisServer) -> None:
    pool = ConnectionPool.from_url(redis_server.url, protocol=2, socket_timeout=None, socket_connect_timeout=None)
    opened = 0

    def make() -> AbstractConnection:
        nonlocal opened
        opened += 1
        return pool.make_connection()

    connections = Connections(make, limit=2, timeout_s=0.3)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(RedisTimeoutError):
            await connections.execute([("ECHO", "a")])
        assert opened == 1
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert await connections.execute([("ECHO", "b")]) == [b"b"]
    assert connections.spare == 2
    connections.close()


async def test_who_waits_behind_one_that_is_given_up_is_answered(redis_server: RedisServer) -> None:
    connections = Connections(
        ConnectionPool.from_url(redis_server.url, protocol=2).make_connection, limit=1, timeout_s=0.5
    )
    silent = asyncio.create_task(connections.execute([("BLPOP", "nothing", 0)]))
    await asyncio.sleep(0.2)
    assert await connections.execute([("ECHO", "a")]) == [b"a"]
    with pytest.raises(RedisTimeoutError):
        await silent
    connections.close()


async def test_nobody_there_is_said_as_the_store_is_away() -> None:
    client = connect("redis://127.0.0.1:1/0", timeout_s=0.5, connections=1)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await client.one("GET", "k")
    await client.close()
