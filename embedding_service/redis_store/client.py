"""The client of Redis: pipelines of commands and scripts, to one server, a primary behind Sentinels or a cluster."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.redis_store.connections import Command, Connections
from embedding_service.redis_store.layouts import lua_constants
from embedding_service.redis_store.topology import Cluster, OneServer, Servers, TooFewReplicas
from embedding_service.redis_store.url import CLUSTER_SCHEMES, SENTINEL_SCHEMES
from twotower.errors import StoreUnavailable

# Many calls go over several connections at once. Redis reads 16 kB of each at a time and then, with `appendfsync
# always`, waits for the disk: with 12 connections instead of 4 an import takes two thirds of the time.
_MAX_PIPELINES: Final = 12
_MIN_CALLS_PER_PIPELINE: Final = 16


def connect(
    url: str, *, timeout_s: float, connections: int, tls: Mapping[str, str] | None = None, wait_replicas: int = 0
) -> "RedisClient":
    """A client of bounded size that fails within a bounded time.

    A connection that was lost is opened again at once and the command sent again: every write is idempotent. A command
    that timed out is not sent again, so that a caller waits for a Redis that hangs only once.

    Args:
        url: ``redis://`` or ``rediss://[user:password@]host:port/db``, ``unix://path``; with ``+cluster`` a node of a
            cluster; with ``+sentinel`` ``host:port,host:port/service``, the Sentinels and the name of the primary.
        timeout_s: longest wait for a free connection, for it to open, and for a reply.
        connections: most connections to one server.
        tls: ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``.
        wait_replicas: replicas that must confirm a write before it is acknowledged.
    """
    options: dict[str, Any] = {
        "protocol": 2,  # replies of the form that every Redis since 2.6 gives
        "retry": Retry(NoBackoff(), 0),  # the client tries again
        **(tls or {}),
    }
    waiting = {"wait_replicas": wait_replicas, "wait_ms": round(timeout_s * 500)}
    scheme, _, rest = url.partition("://")
    if scheme in CLUSTER_SCHEMES:
        address = f"{CLUSTER_SCHEMES[scheme]}://{rest}"
        cluster = RedisCluster.from_url(
            address,
            max_connections=connections,
            require_full_coverage=False,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            **options,
        )
        return RedisClient(Cluster(cluster, connections=connections, timeout_s=timeout_s, **waiting))
    if scheme in SENTINEL_SCHEMES:
        pool, sentinels = _by_sentinel(url, options, timeout_s)
    else:
        # Without redis-py's own timeouts, which it reports as lost connections: `Connections` has one for all.
        pool, sentinels = ConnectionPool.from_url(url, socket_timeout=None, socket_connect_timeout=None, **options), []
    server = Connections(pool.make_connection, limit=connections, timeout_s=timeout_s)
    return RedisClient(OneServer(server, sentinels=sentinels, **waiting))


def _by_sentinel(url: str, options: Mapping[str, Any], timeout_s: float) -> tuple[ConnectionPool, list[Redis]]:
    """A pool of connections to the primary, and the clients of the Sentinels."""
    parts = urlsplit(url)
    hosts = [address.rsplit(":", 1) for address in parts.netloc.rpartition("@")[2].split(",")]
    account = {"username": parts.username, "password": parts.password}
    credentials = {name: unquote(value) for name, value in account.items() if value}
    database = int(parse_qs(parts.query).get("db", ["0"])[0])
    per_server = {**options, "ssl": SENTINEL_SCHEMES[parts.scheme] == "rediss"}
    # A Sentinel that hangs leaves time to ask the others and the primary.
    per_sentinel_s = timeout_s / (len(hosts) + 1)
    sentinel_options = {**per_server, "socket_timeout": per_sentinel_s, "socket_connect_timeout": per_sentinel_s}
    per_primary = {**per_server, "socket_timeout": None, "socket_connect_timeout": None}
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py leaves its constructor without types
        [(host, int(port)) for host, port in hosts], sentinel_kwargs=sentinel_options, **per_primary, **credentials
    )
    primary: Redis = sentinel.master_for(parts.path.strip("/"), db=database)
    return primary.connection_pool, sentinel.sentinels


@dataclass
class Script:
    """A Lua script of this package, with the layouts' constants in front, and the prelude if it handles log entries."""

    name: str
    prelude: bool = True
    source: str = field(init=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        folder = resources.files("embedding_service.redis_store") / "lua"
        names = ["prelude", self.name] if self.prelude else [self.name]
        source = "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names)
        self.source = lua_constants(source) + source
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()  # Redis' name of it


@dataclass(frozen=True)
class ScriptCall:
    """One call of a script. In a cluster all keys are in one slot; calls with the same first key run in order."""

    keys: Sequence[str]
    arguments: Command = ()


class RedisClient:
    """Sends pipelines of commands and scripts; raises the store's errors instead of Redis'.

    Args:
        servers: where they are sent, owned by the client from now on.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.is_cluster = servers.is_cluster
        """Keys of different slots can't be in one command."""

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands, in one round trip to each server.

        Raises:
            StoreUnavailable: the first error among them.
        """
        try:
            return _raise_first(await self._servers.pipeline(commands))
        except _FAILURES as error:
            raise _unavailable(error) from error

    async def one(self, *command: bytes | str | int | float) -> Any:
        """The reply to one command."""
        return (await self.send([command]))[0]

    async def evaluate(self, script: Script, calls: Sequence[ScriptCall], *, durable: bool = False) -> list[Any]:
        """Run a script for each call in one round trip, those of one first key in order.

        A Redis that does not know the script is told and asked again.

        Args:
            script: the script.
            calls: keys and arguments.
            durable: the wanted number of replicas must confirm what was written.

        Raises:
            StoreUnavailable: some calls may have been run; sent again, they must change nothing.
        """
        if not calls:
            return []
        try:
            replies = await self._evaluate(script, calls, durable)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                _raise_first(await self._servers.on_primaries("SCRIPT LOAD", script.source))
                again = await self._evaluate(script, [calls[i] for i in unknown], durable)
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
            return _raise_first(replies)
        except _FAILURES as error:
            raise _unavailable(error) from error

    async def scan(self, pattern: str, page: int = 500) -> AsyncIterator[list[bytes]]:
        """Pages of the keys on all primaries that match; a key that is there all the time comes at least once."""
        for primary in count():
            cursor = 0
            while True:
                try:
                    reply = await self._servers.scan(primary, cursor, "MATCH", pattern, "COUNT", page)
                except _FAILURES as error:
                    raise _unavailable(error) from error
                if reply is None:
                    return
                cursor, keys = reply
                if keys:
                    yield keys
                if not cursor:
                    break

    async def close(self) -> None:
        """Close connections."""
        await self._servers.close()

    async def _evaluate(self, script: Script, calls: Sequence[ScriptCall], durable: bool) -> list[Any]:
        parts = min(_MAX_PIPELINES, self._servers.spare, len(calls) // _MIN_CALLS_PER_PIPELINE)
        if parts < 2:
            return await self._evaluate_in_order(script, calls, durable)
        # Calls of one user stay in order: connections keep none among each other.
        groups: list[list[int]] = [[] for _ in range(parts)]
        for i, call in enumerate(calls):
            groups[hash(call.keys[0]) % parts].append(i)
        answers = await asyncio.gather(
            *(self._evaluate_in_order(script, [calls[i] for i in group], durable) for group in groups),
            return_exceptions=True,
        )
        replies: list[Any] = [None] * len(calls)
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            for i, reply in zip(group, answer, strict=True):
                replies[i] = reply
        return replies

    async def _evaluate_in_order(self, script: Script, calls: Sequence[ScriptCall], durable: bool) -> list[Any]:
        commands = [("EVALSHA", script.sha, len(call.keys), *call.keys, *call.arguments) for call in calls]
        return await self._servers.pipeline(commands, [call.keys[0] for call in calls] if durable else ())


def _raise_first(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


_AWAY: Final = (RedisConnectionError, RedisTimeoutError, OSError)
_FAILURES: Final = (RedisError, OSError, TooFewReplicas)


def _unavailable(error: Exception) -> StoreUnavailable:
    """Redis' errors as the store's."""
    if isinstance(error, TooFewReplicas):
        return StoreUnavailable(str(error))
    if isinstance(error, _AWAY):
        return StoreUnavailable("Redis does not answer; nothing was half done")
    # Out of memory, read-only replica, loading, no permission: nothing that the caller could mend.
    why = f": {error}" if isinstance(error, NoPermissionError) else ""
    return StoreUnavailable(f"Redis refused{why}; nothing was half done")


def redis_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> dict[str, str]:
    """Options of a Redis client's TLS from PEM files."""
    files = {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
    return {name: str(path) for name, path in files.items() if path is not None}
