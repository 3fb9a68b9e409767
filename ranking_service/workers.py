"""Several processes that share their ports, and the parent that starts, watches, restarts and stops them."""

import logging
import multiprocessing
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final

from ranking_service.settings import RankingSettings

_LOG = logging.getLogger(__name__)
_RESTARTS: Final = 5
"""Workers that may end within the window before the next one waits."""
_MAX_RESTART_DELAY_S: Final = 30.0
_RESTART_WINDOW_S: Final = 60.0


class Workers:
    """A parent of serving processes, which serves nothing itself.

    Processes are spawned, not forked, because gRPC and JAX don't survive a fork. The operating system spreads
    connections over them (SO_REUSEPORT), so a client with one channel talks to one of them.

    Args:
        settings: what every process is started with; a port is chosen here if it is 0.
        target: serves with these settings and the key of page tokens, in the new process, until SIGTERM.

    Raises:
        InvalidFile: the file of the key is none.
    """

    def __init__(self, settings: RankingSettings, target: Callable[[RankingSettings, bytes], None]) -> None:
        self._page_token_key = settings.read_page_token_key()  # one for all: any of them answers the next page
        reserved = {name: _reserve(name, getattr(settings, name)) for name in ("listen", "admin_listen")}
        self._reserved = [held for held, _ in reserved.values()]
        self._settings = settings.model_copy(update={name: address for name, (_, address) in reserved.items()})
        self._target = target
        self._processes: list[BaseProcess] = []
        self._stopping = False

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until all workers end again and again; returns the exit code.

        A worker that ends is started anew, at once at first and ever later if that goes on.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        listen, admin_listen = self._settings.listen, self._settings.admin_listen
        _LOG.info("%d workers on %s, for operators on %s", self._settings.workers, listen, admin_listen)
        deaths: deque[float] = deque()
        due: list[float] = []
        self._processes = [self._start() for _ in range(self._settings.workers)]
        failed = False
        while self._processes or (due and not self._stopping):
            wait([process.sentinel for process in self._processes], timeout=0.5)
            ended = [process for process in self._processes if process.exitcode is not None]
            # Asked once: a process that ends between two questions would be in neither list.
            self._processes = [process for process in self._processes if process not in ended]
            for process in ended:
                if self._stopping:
                    continue
                _LOG.error("worker %s ended with %s", process.pid, process.exitcode)
                now = time.monotonic()
                deaths.append(now)
                while now - deaths[0] > _RESTART_WINDOW_S:
                    deaths.popleft()
                if len(deaths) > _RESTARTS and not self._processes:
                    _LOG.error(
                        "%d workers ended within %.0f s, none is left: giving up", len(deaths), _RESTART_WINDOW_S
                    )
                    failed = True
                    self._stop(signal.SIGTERM, None)
                    break
                beyond = len(deaths) - _RESTARTS
                due.append(now + (min(2.0**beyond, _MAX_RESTART_DELAY_S) if beyond > 0 else 0.0))
            now = time.monotonic()
            for _ in [moment for moment in due if moment <= now and not self._stopping]:
                self._processes.append(self._start())
            due = [moment for moment in due if moment > now]
        for held in self._reserved:
            held.close()
        return int(failed)

    def _start(self) -> BaseProcess:
        process = multiprocessing.get_context("spawn").Process(
            target=self._target, args=(self._settings, self._page_token_key)
        )
        process.start()
        return process

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        self._stopping = True
        for process in self._processes:
            process.terminate()


def _reserve(setting: str, listen: str) -> tuple[socket.socket, str]:
    """Hold the port without listening: port 0 becomes one number for all, and connections go to workers only."""
    host, _, port = listen.rpartition(":")
    address = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        reserved = socket.socket(family, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((address, int(port)))
    except (OSError, ValueError) as error:
        sys.exit(f"ranking_service: {setting}: can't listen on {listen!r}: {error}")
    return reserved, f"{host}:{reserved.getsockname()[1]}"
