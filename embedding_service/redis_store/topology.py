"""What a client sends to: one server, also the primary behind Sentinels, or a cluster."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.redis_store.connections import Command, Connections
from embedding_service.redis_store.keys import wait_key

_RETRIES: Final = 2
_LEFT_TO_OTHERS: Final = 4
_BUSY: Final = "all connections are busy"
_CROWDED: Final = "too many writes wait for replicas"


class TooFewReplicas(Exception):
    """Fewer replicas than wanted confirmed a write, or it is not known."""


class Servers(Protocol):
    """One server or many."""

    is_cluster: bool

    @property
    def spare(self) -> int:
        """How many pipelines may be sent at once without making others wait."""

    async def pipeline(self, commands: Sequence[Command], written: Sequence[str] = ()) -> list[Any]:
        """Replies to commands, errors among them as objects, in one round trip to each server.

        Args:
            commands: each with keys of one slot only.
            written: keys that they write to, if replicas must confirm it.

        Raises:
            TooFewReplicas.
            redis.exceptions.RedisError, OSError: a server does not answer.
        """

    async def on_primaries(self, *command: Any) -> list[Any]:
        """The reply of every primary."""

    async def scan(self, primary: int, cursor: int, *options: Any) -> tuple[int, list[bytes]] | None:
        """Next cursor and keys of a page of SCAN on the nth primary; None if there are fewer."""

    async def close(self) -> None:
        """Close connections."""


def _waiting(key: str, replicas: int, timeout_ms: int) -> tuple[Command, Command]:
    """Commands that wait until replicas have the connection's last write.

    Where all calls found their work done there is no write, and that work may not be on the replicas yet: so something
    is written, in a slot of the same server.
    """
    return ("SET", wait_key(key), 1, "PX", 1000), ("WAIT", replicas, timeout_ms)


def _check_confirmed(replies: Sequence[Any], replicas: int) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise TooFewReplicas(f"Redis refused to wait for {replicas} replicas: {reply}; the write may be sent again")
    if any(reply < replicas for reply in replies):
        raise TooFewReplicas(f"fewer than {replicas} replicas confirmed the write; it may be sent again")


@contextlib.asynccontextmanager
async def _permit(permits: asyncio.Semaphore, timeout_s: float, refusal: str) -> AsyncIterator[None]:
    """One of a number of permits.

    Raises:
        redis.exceptions.TimeoutError: none came in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await permits.acquire()
    except TimeoutError:
        raise RedisTimeoutError(refusal) from None
    try:
        yield
    finally:
        permits.release()


def _half(connections: int) -> asyncio.Semaphore:
    """Permits to wait for replicas: a replica that lags leaves half of the connections to look-ups."""
    return asyncio.Semaphore(max(1, connections // 2))


class OneServer:
    """:class:`Servers` that are one.

    Args:
        connections: to the server, owned from now on.
        wait_replicas: replicas that must confirm a write.
        wait_ms: how long they may take.
        sentinels: clients to close with the connections.
    """

    is_cluster = False

    def __init__(
        self, connections: Connections, *, wait_replicas: int = 0, wait_ms: int = 0, sentinels: Sequence[Redis] = ()
    ) -> None:
        self._connections = connections
        self._waiting = _half(connections.spare)
        self._wait_replicas = wait_replicas
        self._wait_ms = wait_ms
        self._sentinels = sentinels

    @property
    def spare(self) -> int:
        """See the protocol; some connections are left to look-ups."""
        return self._connections.spare - _LEFT_TO_OTHERS

    async def pipeline(self, commands: Sequence[Command], written: Sequence[str] = ()) -> list[Any]:
        """See the protocol."""
        if not (written and self._wait_replicas):
            return await self._connections.execute(commands)
        async with _permit(self._waiting, 2 * self._wait_ms / 1000, _CROWDED):
            replies = await self._connections.execute(
                [*commands, *_waiting(written[0], self._wait_replicas, self._wait_ms)]
            )
        _check_confirmed(replies[-1:], self._wait_replicas)
        return replies[: len(commands)]

    async def on_primaries(self, *command: Any) -> list[Any]:
        """See the protocol."""
        return await self._connections.execute([command])

    async def scan(self, primary: int, cursor: int, *options: Any) -> tuple[int, list[bytes]] | None:
        """See the protocol."""
        if primary:
            return None
        [reply] = await self._connections.execute([("SCAN", cursor, *options)])
        if isinstance(reply, Exception):
            raise reply
        return int(reply[0]), reply[1]

    async def close(self) -> None:
        """See the protocol."""
        self._connections.close()
        for sentinel in self._sentinels:
            await sentinel.aclose(close_connection_pool=True)


class SharedCluster(RedisCluster):
    """A client of a cluster that many callers share: no failure of one closes the connections of the others."""

    async def aclose(self) -> None:
        """Do nothing: redis-py calls this to look the slots up anew, in the middle of others' commands."""

    async def shut(self) -> None:
        """Close connections."""
        await super().aclose()


class Cluster:
    """:class:`Servers` of a cluster, over redis-py's pipelines.

    Args:
        redis: redis-py's client, owned from now on.
        connections: most pipelines at a time; redis-py's connections to a node are as many, and one beyond them is
            an error rather than a wait.
        timeout_s: longest wait for one of them.
        wait_replicas: replicas that must confirm a write.
        wait_ms: how long they may take.
    """

    is_cluster = True

    def __init__(
        self, redis: SharedCluster, *, connections: int, timeout_s: float, wait_replicas: int = 0, wait_ms: int = 0
    ) -> None:
        self._redis = redis
        self._permits = asyncio.Semaphore(connections)
        self._waiting = _half(connections)
        self._timeout_s = timeout_s
        self._refreshing: asyncio.Task[None] | None = None
        self.spare = 1  # redis-py's pipeline goes to every server by itself
        self._wait_replicas = wait_replicas
        self._wait_ms = wait_ms

    async def pipeline(self, commands: Sequence[Command], written: Sequence[str] = ()) -> list[Any]:
        """See the protocol."""
        waited = written if self._wait_replicas else ()
        async with contextlib.AsyncExitStack() as stack:
            if waited:
                await stack.enter_async_context(_permit(self._waiting, self._timeout_s, _CROWDED))
            await stack.enter_async_context(self._permit())
            # Not left to redis-py, whose second attempt might send WAIT to another server: each attempt looks the nodes
            # up anew. A ClusterError is a cluster that is down, or a slot that moved for longer than redis-py waits.
            for attempt in range(_RETRIES):
                with contextlib.suppress(RedisConnectionError, ClusterError, OSError):
                    return await self._attempt(commands, waited)
                await asyncio.shield(self._refresh())
                await asyncio.sleep(random.uniform(0.05, 0.2) * (attempt + 1))  # noqa: S311 - jitter
            return await self._attempt(commands, waited)

    async def on_primaries(self, *command: Any) -> list[Any]:
        """See the protocol."""
        async with self._permit():
            return [await node.execute_command(*command) for node in await self._primaries()]

    async def scan(self, primary: int, cursor: int, *options: Any) -> tuple[int, list[bytes]] | None:
        """See the protocol."""
        primaries = await self._primaries()
        if primary >= len(primaries):
            return None
        async with self._permit():
            after, keys = await primaries[primary].execute_command("SCAN", cursor, *options)
        return int(after), keys

    async def close(self) -> None:
        """See the protocol."""
        if self._refreshing:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await self._redis.shut()

    def _refresh(self) -> "asyncio.Task[None]":
        """Ask for the slots again, for a primary may have changed; one question for all callers.

        The connections of the nodes that are still there stay: other callers use them.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._ask_for_slots())
        return self._refreshing

    async def _ask_for_slots(self) -> None:
        with contextlib.suppress(RedisError, RedisClusterException, OSError):  # nobody answers: the next caller is told
            await self._redis.nodes_manager.initialize()

    async def _primaries(self) -> list[ClusterNode]:
        await self._redis.initialize()
        return list(self._redis.get_primaries())

    def _permit(self) -> contextlib.AbstractAsyncContextManager[None]:
        return _permit(self._permits, self._timeout_s, _BUSY)

    async def _attempt(self, commands: Sequence[Command], written: Sequence[str]) -> list[Any]:
        await self._redis.initialize()
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        nodes = self._nodes_of(written)
        for target, key in nodes:
            mark, wait = _waiting(key, self._wait_replicas, self._wait_ms)
            pipeline.execute_command(*mark)
            pipeline.execute_command(*wait, target_nodes=target)
        try:
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except RedisTimeoutError:
            self._refresh()
            raise
        for reply in replies:
            if isinstance(reply, RedisTimeoutError):
                # A primary that hangs is not asked again for this caller, but its replica may be promoted meanwhile.
                self._refresh()
                raise reply
            if isinstance(reply, (RedisConnectionError, ClusterError, OSError)):
                raise reply
        _check_confirmed(replies[len(commands) + 1 :: 2], self._wait_replicas)
        if nodes != self._nodes_of(written):
            raise TooFewReplicas("a slot moved during the write; it may be sent again")
        return replies[: len(commands)]

    def _nodes_of(self, keys: Sequence[str]) -> list[tuple[ClusterNode, str]]:
        """The servers that have the keys, each with one of them."""
        nodes = {key: self._redis.nodes_manager.get_node_from_slot(self._redis.keyslot(key)) for key in keys}
        by_name = {node.name: (node, key) for key, node in nodes.items()}
        return list(by_name.values())
