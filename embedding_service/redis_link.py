"""The way to Redis: one server, the primary that Sentinel names, or a cluster; command pipelines and scripts over it."""

import asyncio
import contextlib
import random
from binascii import crc_hqx
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.exceptions import ClusterDownError, NoPermissionError, NoScriptError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.redis_packing import PACKED
from embedding_service.store_url import CLUSTER_SCHEMES, SENTINEL_SCHEMES
from twotower.errors import StoreUnavailable

Command = Sequence[bytes | str | int | float]
SLOTS: Final = 16384
_RETRIES: Final = 2


def connect(url: str, *, timeout_s: float, connections: int, tls: Mapping[str, str] | None = None, wait_replicas: int = 0) -> "RedisLink":
    """A link of bounded size that fails within a bounded time.

    A connection that was lost is opened again at once and the command sent again: every write is idempotent. A command that timed out is
    not, so that a caller never waits longer than `timeout_s` for a Redis that hangs.

    Args:
        url: ``redis://`` or ``rediss://[user:password@]host:port/db``, ``unix://path``; with ``+cluster`` a node of a cluster; with
            ``+sentinel`` ``host:port,host:port/service``, the Sentinels and the name of the primary.
        timeout_s: of every command, and of opening a connection.
        connections: most connections to a server.
        tls: ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``.
        wait_replicas: replicas that must hold a write before it is acknowledged.
    """
    retry = Retry(EqualJitterBackoff(cap=0.1, base=0.02), _RETRIES, supported_errors=(RedisConnectionError,))
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,  # replies of the form that every Redis since 2.6 gives
        **(tls or {}),
    }
    scheme, _, rest = url.partition("://")
    if scheme in CLUSTER_SCHEMES:
        cluster = RedisCluster.from_url(
            f"{CLUSTER_SCHEMES[scheme]}://{rest}",
            max_connections=connections,
            retry=Retry(NoBackoff(), 0),  # the link tries again
            require_full_coverage=False,
            **options,
        )
        return RedisLink(cluster, timeout_s=timeout_s, wait_replicas=wait_replicas)
    if scheme in SENTINEL_SCHEMES:
        primary, sentinels = _by_sentinel(url, connections, retry, options)
        return RedisLink(primary, timeout_s=timeout_s, wait_replicas=wait_replicas, sentinels=sentinels)
    pool = BlockingConnectionPool.from_url(url, max_connections=connections, timeout=timeout_s, retry=retry, **options)
    pool.connection_class = PACKED[pool.connection_class]
    return RedisLink(Redis(connection_pool=pool), timeout_s=timeout_s, wait_replicas=wait_replicas)


def _by_sentinel(url: str, connections: int, retry: Retry, options: Mapping[str, Any]) -> tuple[Redis, list[Redis]]:
    parts = urlsplit(url)
    hosts = [address.rsplit(":", 1) for address in parts.netloc.rpartition("@")[2].split(",")]
    secure = SENTINEL_SCHEMES[parts.scheme] == "rediss"
    account = {"username": parts.username, "password": parts.password}
    credentials = {name: unquote(value) for name, value in account.items() if value}
    database = int(parse_qs(parts.query).get("db", ["0"])[0])
    shared = {**options, "ssl": secure}
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py leaves its constructor without types
        [(host, int(port)) for host, port in hosts], sentinel_kwargs=dict(shared), **shared, **credentials
    )
    primary: Redis = sentinel.master_for(parts.path.strip("/"), db=database, max_connections=connections, retry=retry)
    return primary, sentinel.sentinels


@dataclass
class Script:
    """A Lua script of this package, with the shared part in front where it reads or writes log entries."""

    name: str
    shared: bool = True
    source: str = field(init=False)
    sha: str = ""

    def __post_init__(self) -> None:
        folder = resources.files("embedding_service") / "lua"
        parts = (["state.lua"] if self.shared else []) + [f"{self.name}.lua"]
        self.source = "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)


@dataclass(frozen=True)
class Call:
    """One call of a script. In a cluster all keys are in one slot; `outbox` is the one among them that it may push to."""

    keys: Sequence[str]
    arguments: Command = ()
    outbox: str = ""


class RedisLink:
    """Sends pipelines of commands, each answered by itself.

    Args:
        redis: client, owned by the link from now on.
        timeout_s: how long replicas may take.
        wait_replicas: replicas that must hold a write before it is acknowledged.
        sentinels: clients that the link closes with its own.
    """

    def __init__(self, redis: "Redis | RedisCluster", *, timeout_s: float, wait_replicas: int = 0, sentinels: Sequence[Redis] = ()) -> None:
        self.redis = redis
        self._sentinels = sentinels
        self._timeout_ms = round(timeout_s * 500)
        self._wait_replicas = wait_replicas

    @property
    def is_cluster(self) -> bool:
        """Keys of different slots can't be in one command."""
        return isinstance(self.redis, RedisCluster)

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands, in one round trip to each server.

        Raises:
            StoreUnavailable: the first error among them.
        """
        async with translated():
            return _raise_first(await self._pipeline(commands))

    async def one(self, *command: bytes | str | int | float) -> Any:
        """The reply to one command."""
        return (await self.send([command]))[0]

    async def evaluate(self, script: Script, calls: Sequence[Call], *, durable: bool = False) -> list[Any]:
        """Run a script for each call, all in one round trip; a Redis that does not know the script is told and asked again.

        Args:
            script: the script.
            calls: keys and arguments.
            durable: a write that must be held by the wanted number of replicas.

        Raises:
            StoreUnavailable: some may have been run; sent again, they must change nothing.
        """
        if not calls:
            return []
        async with translated():
            if not script.sha:
                script.sha = await self._load(script)
            replies = await self._evaluate(script, calls, durable)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                await self._load(script)
                again = await self._evaluate(script, [calls[i] for i in unknown], durable)
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
            return _raise_first(replies)

    async def scan(self, pattern: str, page: int = 500) -> AsyncIterator[list[bytes]]:
        """Pages of the keys that match, of all primaries; a key that is there all the time comes at least once."""
        for node in await self._primaries():
            cursor: int = 0
            while True:
                async with translated():
                    cursor, keys = await self._on(node, "SCAN", cursor, "MATCH", pattern, "COUNT", page)
                if keys:
                    yield keys
                if not int(cursor):
                    break

    async def close(self) -> None:
        """Close connections."""
        for client in (self.redis, *self._sentinels):
            if isinstance(client, Redis):
                await client.aclose(close_connection_pool=True)
            else:
                await client.aclose()

    async def _load(self, script: Script) -> str:
        sha = ""
        for node in await self._primaries():
            sha = (await self._on(node, "SCRIPT LOAD", script.source)) or sha
        return sha.decode() if isinstance(sha, bytes) else sha

    async def _evaluate(self, script: Script, calls: Sequence[Call], durable: bool) -> list[Any]:
        commands = [("EVALSHA", script.sha, len(call.keys), *call.keys, *call.arguments) for call in calls]
        return await self._pipeline(commands, [call.keys[0] for call in calls] if durable and self._wait_replicas else ())

    async def _pipeline(self, commands: Sequence[Command], written: Sequence[str] = ()) -> list[Any]:
        if not self.is_cluster:
            return await self._attempt(commands, written)
        # Not left to redis-py, whose second attempt would send WAIT to whichever server: the nodes are looked up anew for each.
        for attempt in range(_RETRIES):
            with contextlib.suppress(RedisConnectionError, ClusterDownError, OSError):
                return await self._attempt(commands, written)
            await self.redis.aclose()  # a primary may have changed: the next command asks for the slots again
            await asyncio.sleep(random.uniform(0.05, 0.2) * (attempt + 1))
        return await self._attempt(commands, written)

    async def _attempt(self, commands: Sequence[Command], written: Sequence[str]) -> list[Any]:
        if isinstance(self.redis, RedisCluster):
            await self.redis.initialize()
        pipeline = self.redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        nodes = self._nodes_of(written)
        for target, key in nodes:
            # WAIT is for the last write of its connection. Where all calls found their work done there is none, and that work may not be
            # on the replicas yet: so something is written, in a slot of the same server.
            pipeline.execute_command("SET", f"tt:{{{key[key.index('{') + 1 : key.index('}')]}}}:wait", 1, "PX", 1000)
            pipeline.execute_command("WAIT", self._wait_replicas, self._timeout_ms, **({"target_nodes": target} if target else {}))
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        if self.is_cluster:
            for reply in replies:
                if isinstance(reply, (RedisConnectionError, ClusterDownError, OSError)):
                    raise reply
        held = replies[len(commands) + 1 :: 2]
        if any(isinstance(found, Exception) or found < self._wait_replicas for found in held) or nodes != self._nodes_of(written):
            raise StoreUnavailable(f"fewer than {self._wait_replicas} replicas confirmed the write; it may be sent again")
        return replies[: len(commands)]

    def _nodes_of(self, keys: Sequence[str]) -> list[tuple[ClusterNode | None, str]]:
        """The servers that have the keys, each with one of them."""
        if not isinstance(self.redis, RedisCluster):
            return [(None, keys[0])] if keys else []
        nodes = {key: self.redis.nodes_manager.get_node_from_slot(self.redis.keyslot(key)) for key in keys}
        by_name = {node.name: (node, key) for key, node in nodes.items()}
        return list(by_name.values())

    async def _primaries(self) -> list[ClusterNode | None]:
        if not isinstance(self.redis, RedisCluster):
            return [None]
        async with translated():
            await self.redis.initialize()
        return list(self.redis.get_primaries())

    async def _on(self, node: ClusterNode | None, *command: Any) -> Any:
        return await (node or self.redis).execute_command(*command)


@cache
def slot_tags() -> tuple[str, ...]:
    """For each slot of a cluster a short hash tag that is in it."""
    tags: list[str] = [""] * SLOTS
    missing = SLOTS
    for number in count():
        tag = f"o{number}"
        slot = slot_of_tag(tag)
        if not tags[slot]:
            tags[slot] = tag
            missing -= 1
            if not missing:
                return tuple(tags)
    raise AssertionError


def slot_of_tag(tag: str) -> int:
    """The cluster's slot of a hash tag: CRC-16/XMODEM modulo 16,384."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def _raise_first(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


@contextlib.asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Redis' errors as the store's."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise StoreUnavailable("Redis does not answer; nothing was half done") from error
    except RedisError as error:
        # Out of memory, read-only replica, loading, no permission: nothing that the caller could mend.
        why = f": {error}" if isinstance(error, NoPermissionError) else ""
        raise StoreUnavailable(f"Redis refused{why}; nothing was half done") from error
