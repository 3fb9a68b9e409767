"""Connections to one Redis server: redis-py opens them, then our own protocol carries commands and replies.

redis-py knows TLS, AUTH, SELECT and Sentinel, but its way from a command to its reply (pool, lock, a task for each
timed write, stream reader, retry) costs more than all the rest of a look-up, and half the time of an import
(docs/adr/0019-own-protocol-over-redis-py.md).
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

Command = Sequence[bytes | str | int | float]
_RETRIES: Final = 2
_INCOMPLETE: Final = object()
_ERRORS: Final[dict[str, Callable[[str], RedisError]]] = {
    "NOSCRIPT": NoScriptError,
    "NOPERM": NoPermissionError,
    "NOAUTH": AuthenticationError,
    "LOADING": BusyLoadingError,
    "READONLY": ReadOnlyError,
}


def pack(command: Command) -> bytes:
    """A command as Redis reads it; its name may have two words."""
    name, *rest = command
    words: tuple[Any, ...] = (*str(name).split(), *rest)
    packed: bytes = hiredis.pack_command(words)
    return packed


def _error(message: str) -> RedisError:
    return _ERRORS.get(message.partition(" ")[0], ResponseError)(message)


class _Connection(asyncio.Protocol):
    """One connection: a number of commands out, as many replies in, then the next.

    Args:
        opened: a connection of redis-py's, whose socket is this object's from now on.
        on_idle: called when all replies have come, whether or not somebody still waits for them.
        on_lost: called once when the connection is lost; the flag says whether replies were awaited.
    """

    def __init__(
        self,
        opened: AbstractConnection,
        on_idle: Callable[["_Connection"], None],
        on_lost: Callable[["_Connection", bool], None],
    ) -> None:
        assert opened._writer is not None
        self._writer = opened._writer  # kept: it would close the transport when it is collected
        self._transport = opened._writer.transport
        self._transport.set_protocol(self)
        opened._reader = opened._writer = None
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_error, notEnoughData=_INCOMPLETE)
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._replies: list[Any] = []
        self._awaited = 0
        self._timeout_s = 0.0
        self._answer: asyncio.Future[list[Any]] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def exchange(self, packed: bytes, count: int, timeout_s: float) -> asyncio.Future[list[Any]]:
        """Send commands; the future gets their `count` replies, errors among them as objects.

        It fails if nothing comes for `timeout_s`: many commands may take longer than one.
        """
        self._answer = self._loop.create_future()
        self._replies, self._awaited, self._timeout_s = [], count, timeout_s
        self._start_timer()
        self._transport.write(packed)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Replies, or parts of them."""
        gets = self._reader.gets
        try:
            self._reader.feed(data)
            while (reply := gets()) is not _INCOMPLETE:
                self._replies.append(reply)
        except InvalidResponse as error:
            self.close(error)
            return
        if self._answer is None:
            self.close(InvalidResponse("a reply to no command"))
        elif len(self._replies) >= self._awaited:
            answer = self._end()
            if not answer.done():  # the caller may have left
                answer.set_result(self._replies)
            self._on_idle(self)
        else:
            self._start_timer()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        busy = self._answer is not None
        if busy:
            answer = self._end()
            if not answer.done():
                answer.set_exception(RedisConnectionError(f"the connection was lost: {error or 'closed by Redis'}"))
        self._on_lost(self, busy)

    def close(self, error: Exception | None = None) -> None:
        """Close at once; whoever waits gets the error."""
        if error and self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._transport.abort()

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._timeout_s, self._late)

    def _late(self) -> None:
        self.close(RedisTimeoutError("no reply in time"))

    def _end(self) -> asyncio.Future[list[Any]]:
        assert self._answer is not None
        assert self._timer is not None
        self._timer.cancel()
        answer, self._answer = self._answer, None
        return answer


class Connections:
    """A bounded number of connections to one server, opened when they are needed.

    Args:
        make: makes a connection of redis-py's, not yet connected.
        limit: most connections; a caller who finds all of them busy waits.
        timeout_s: longest wait for a free connection, and between replies.
    """

    def __init__(self, make: Callable[[], AbstractConnection], *, limit: int, timeout_s: float) -> None:
        self._make = make
        self._timeout_s = timeout_s
        self._permits = asyncio.Semaphore(limit)
        self._spare = limit
        self._free: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._current: set[_Connection] = set()

    @property
    def spare(self) -> int:
        """Connections that nobody uses or waits for, open or not."""
        return max(0, self._spare)

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands in one round trip, errors among them as objects.

        If the connection is lost, everything is sent again over a new one. A Redis that does not answer in time is not
        asked again, so that a caller waits for it only once.

        Raises:
            redis.exceptions.RedisError, OSError: nobody answers.
        """
        if not commands:
            return []
        self._spare -= 1
        try:
            return await self._execute(commands)
        finally:
            self._spare += 1

    def close(self) -> None:
        """Close all."""
        for connection in list(self._open):
            connection.close(RedisConnectionError("closed"))

    def _replace_all(self) -> None:
        """Close the connections that nobody uses now, and the others when they are not used any more."""
        self._current = set()
        free, self._free = self._free, []
        for connection in free:
            connection.close()

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        packed = pack(commands[0]) if len(commands) == 1 else b"".join(map(pack, commands))
        for attempt in range(_RETRIES):
            try:
                return await self._exchange(packed, len(commands))
            except AuthenticationError:
                raise  # a connection error in redis-py, but no second attempt makes the password right
            except (RedisConnectionError, ReadOnlyError, OSError):
                pass
            await asyncio.sleep(random.uniform(0.02, 0.05) * (attempt + 1))  # noqa: S311 - jitter
        return await self._exchange(packed, len(commands))

    async def _exchange(self, packed: bytes, count: int) -> list[Any]:
        if self._permits.locked():
            await self._wait()
        else:
            await self._permits.acquire()  # does not wait
        try:
            connection = self._free.pop() if self._free else await self._connect()
        except BaseException:
            self._permits.release()
            raise
        replies = await connection.exchange(packed, count, self._timeout_s)
        for reply in replies:
            if isinstance(reply, (RedisConnectionError, ReadOnlyError)) and not isinstance(reply, AuthenticationError):
                # It still loads its data, or is a replica now: the next attempt gets a new connection, maybe to another
                # server. Those in use are others', who may only read.
                self._replace_all()
                raise reply
        return replies

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._permits.acquire()
        except TimeoutError:
            raise RedisTimeoutError("all connections are busy") from None

    async def _connect(self) -> _Connection:
        opened = self._make()
        try:
            # One bound for all of it, the handshake included, of which redis-py reports a late reply as a lost
            # connection, which would be tried again.
            async with asyncio.timeout(self._timeout_s):
                await opened.connect()  # type: ignore[no-untyped-call] # the Sentinel's has no types
        except BaseException as error:
            await opened.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("no connection in time") from None
            raise
        connection = _Connection(opened, self._idle, self._lost)
        self._open.add(connection)
        self._current.add(connection)
        return connection

    def _idle(self, connection: _Connection) -> None:
        if connection in self._current:
            self._free.append(connection)
        else:
            connection.close()
        self._permits.release()

    def _lost(self, connection: _Connection, busy: bool) -> None:
        self._open.discard(connection)
        self._current.discard(connection)
        if busy:
            self._permits.release()
        elif connection in self._free:
            self._free.remove(connection)
