"""The client of Redis: pipelines of commands and scripts, to one server, a primary behind Sentinels or a cluster."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.redis_store.connections import Command, Connections
from embedding_service.redis_store.layouts import lua_constants
from embedding_service.redis_store.topology import Cluster, OneServer, Servers, SharedCluster, TooFewReplicas
from embedding_service.redis_store.url import CLUSTER_SCHEMES, SENTINEL_SCHEMES, StoreUrl, parse_store_url
from twotower.errors import StoreUnavailable

# Many calls go over several connections at once. Redis reads 16 kB of each at a time and then, with `appendfsync
# always`, waits for the disk: with 12 connections instead of 4 an import takes two thirds of the time.
_MAX_PIPELINES: Final = 12
_MIN_CALLS_PER_PIPELINE: Final = 16
_MORE_CONNECTIONS: Final = 4  # for questions about slots, which wait for no other caller


class RefuseWrite(Protocol):
    """Why nothing should be written now; empty if it may."""

    def __call__(self, *, freeing: bool) -> str:
        """Args: freeing: what is to be written makes the store smaller."""


def connect(
    url: str,
    *,
    timeout_s: float,
    connections: int,
    tls: Mapping[str, str] | None = None,
    wait_replicas: int = 0,
    refuse_write: RefuseWrite | None = None,
) -> "RedisClient":
    """A client of bounded size that fails within a bounded time.

    A connection that was lost is opened again at once and the command sent again: every write is idempotent. A command
    that timed out is not sent again, so that a caller waits for a Redis that hangs only once.

    Args:
        url: ``redis://`` or ``rediss://[user:password@]host:port/db``, ``unix://path``; with ``+cluster`` a node of a
            cluster; with ``+sentinel`` ``host:port,host:port/name/db``, the Sentinels and the name of the primary, and
            ``?sentinel_username=…&sentinel_password=…`` if the Sentinels want them.
        timeout_s: longest wait for a free connection, for it to open, and for a reply.
        connections: most connections to one server.
        tls: ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``.
        wait_replicas: replicas that must confirm a write before it is acknowledged.
        refuse_write: asked before every script that writes.
    """
    options: dict[str, Any] = {
        "protocol": 2,  # replies of the form that every Redis since 2.6 gives
        "retry": Retry(NoBackoff(), 0),  # the client tries again
        **(tls or {}),
    }
    waiting = {"wait_replicas": wait_replicas, "wait_ms": round(timeout_s * 500)}
    store = parse_store_url(url)
    if store.scheme in CLUSTER_SCHEMES:
        cluster = SharedCluster.from_url(
            store.for_redis_py(),
            max_connections=connections + _MORE_CONNECTIONS,
            require_full_coverage=False,
            reinitialize_steps=0,  # a slot that has moved is noted by itself
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            **options,
        )
        assert isinstance(cluster, SharedCluster)
        return RedisClient(Cluster(cluster, connections=connections, timeout_s=timeout_s, **waiting), refuse_write)
    # Without redis-py's own timeouts, which it reports as lost connections: `Connections` has one for all.
    options |= {"socket_timeout": None, "socket_connect_timeout": None}
    if store.scheme in SENTINEL_SCHEMES:
        pool, sentinels = _by_sentinel(store, options, timeout_s)
    else:
        pool, sentinels = ConnectionPool.from_url(store.for_redis_py(), **options), []
    server = Connections(pool.make_connection, limit=connections, timeout_s=timeout_s)
    return RedisClient(OneServer(server, sentinels=sentinels, **waiting), refuse_write)


def _by_sentinel(store: StoreUrl, options: Mapping[str, Any], timeout_s: float) -> tuple[ConnectionPool, list[Redis]]:
    """A pool of connections to the primary, and the clients of the Sentinels."""
    per_primary = {
        **options,
        "ssl": store.has_tls,
        "username": store.username or None,
        "password": store.password or None,
    }
    # A Sentinel that hangs leaves time to ask the others and the primary.
    per_sentinel_s = timeout_s / (len(store.addresses) + 1)
    per_sentinel = {
        **per_primary,
        "username": store.options.get("sentinel_username"),
        "password": store.options.get("sentinel_password"),
        "socket_timeout": per_sentinel_s,
        "socket_connect_timeout": per_sentinel_s,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py leaves its constructor without types
        list(store.addresses), sentinel_kwargs=per_sentinel, **per_primary
    )
    primary: Redis = sentinel.master_for(store.name, db=store.database)
    return primary.connection_pool, sentinel.sentinels


@dataclass
class Script:
    """A Lua script of this package, with the layouts' constants in front, and the prelude if it handles log entries.

    Attributes:
        name: of its file.
        prelude: it handles log entries.
        effect: what running it does to the size of the store. One that makes it smaller is run by a Redis whose memory
            is full, too.
    """

    name: str
    prelude: bool = True
    effect: Literal["none", "grows", "frees"] = "grows"
    source: str = field(init=False)
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        folder = resources.files("embedding_service.redis_store") / "lua"
        names = ["prelude", self.name] if self.prelude else [self.name]
        source = "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names)
        flags = "#!lua flags=allow-oom\n" if self.effect == "frees" else ""
        self.source = flags + lua_constants(source) + source
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
        refuse_write: asked before every script that writes.
    """

    def __init__(self, servers: Servers, refuse_write: RefuseWrite | None = None) -> None:
        self._servers = servers
        self._refuse_write = refuse_write
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
            raise _unavailable(error) from _plain(error)

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
        is_write = script.effect != "none"
        if is_write and self._refuse_write and (reason := self._refuse_write(freeing=script.effect == "frees")):
            raise StoreUnavailable(f"{reason}; nothing was written")
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
            raise _unavailable(error) from _plain(error)

    async def scan(self, pattern: str, page: int = 500) -> AsyncIterator[list[bytes]]:
        """Pages of the keys on all primaries that match; a key that is there all the time comes at least once."""
        for primary in count():
            cursor = 0
            while True:
                try:
                    reply = await self._servers.scan(primary, cursor, "MATCH", pattern, "COUNT", page)
                except _FAILURES as error:
                    raise _unavailable(error) from _plain(error)
                if reply is None:
                    return
                cursor, keys = reply
                if keys:
                    yield keys
                if not cursor:
                    break

    async def server_info(self) -> list[dict[str, str]]:
        """What INFO says, of every primary.

        Raises:
            StoreUnavailable.
        """
        try:
            replies = _raise_first(await self._servers.on_primaries("INFO"))
        except _FAILURES as error:
            raise _unavailable(error) from _plain(error)
        return [
            # redis-py's cluster client has taken it apart already.
            {name: str(value) for name, value in reply.items()}
            if isinstance(reply, Mapping)
            else dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
            for reply in replies
        ]

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


_AWAY: Final = (RedisConnectionError, RedisTimeoutError, RedisClusterException, OSError)
_FAILURES: Final = (RedisError, RedisClusterException, OSError, TooFewReplicas)


def _unavailable(error: Exception) -> StoreUnavailable:
    """Redis' errors as the store's."""
    if isinstance(error, TooFewReplicas):
        return StoreUnavailable(str(error))
    refusal = _refusal(error)
    if refusal is None:
        return StoreUnavailable("Redis does not answer; nothing was half done")
    return StoreUnavailable(f"Redis refused: {refusal}; nothing was half done")


def _refusal(error: Exception) -> str | None:
    """Redis' own reason; None if it is only away."""
    cause: BaseException | None = error
    while cause is not None:  # redis-py's cluster client tells a refusal of its nodes as the cause
        if isinstance(cause, AuthenticationError | BusyLoadingError) or not isinstance(cause, _AWAY):
            return str(cause)
        cause = cause.__cause__
    if isinstance(error, MasterNotFoundError) and "AuthenticationError" in str(error):
        return "a Sentinel wants another user name or password (?sentinel_username=…&sentinel_password=…)"
    return None


def _plain(error: Exception) -> Exception:
    """The error; redis-py's of Sentinels in one sentence, without all that it knows of its connections."""
    if isinstance(error, MasterNotFoundError):
        return RedisConnectionError(f"{str(error).partition(' : ')[0]} by any Sentinel that answers")
    return error


def redis_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> dict[str, str]:
    """Options of a Redis client's TLS from PEM files."""
    files = {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
    return {name: str(path) for name, path in files.items() if path is not None}
