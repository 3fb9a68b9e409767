"""The demo's processes: started with a log each, watched, and stopped whatever happens."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clients.errors import TwotowerError
from twotower.environment import CACHE, PREFIX

_STOP_WITHIN_S: Final = 20.0
_POLL_S: Final = 0.05
_TAIL_LINES: Final = 15


class ProcessFailed(TwotowerError):
    """A process ended when it should not have, or not as it should.

    Attributes:
        tail: the last lines of its log; "" if it wrote to the terminal.
    """

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


@dataclass(frozen=True)
class ProcessId:
    """A process that may be gone; its start time tells it from a later one with the same number.

    Attributes:
        name: for messages.
        pid: number.
        started: start time, in clock ticks since boot; 0 if it was gone already.
    """

    name: str
    pid: int
    started: int

    @classmethod
    def of(cls, name: str, pid: int) -> "ProcessId":
        """Identify the process that has the number now."""
        return cls(name, pid, _start_time(pid) or 0)

    @property
    def alive(self) -> bool:
        """Whether the process still runs; one that only waits to be reaped does not."""
        return self.started != 0 and _start_time(self.pid) == self.started

    def stop(self, within_s: float = _STOP_WITHIN_S) -> None:
        """Send SIGTERM, then SIGKILL to its whole group after `within_s` seconds.

        This is for processes that are not our children.
        """
        if not self.alive:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + within_s
        while self.alive and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if self.alive:
            kill_group(self.pid)


class Service:
    """A Python module that runs as a server in the background.

    It has a session of its own, so that Ctrl-C reaches only the demo.

    Args:
        name: for messages.
        command: module and arguments.
        log: file for its output.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=_own_environment(),
            )
        self.id = ProcessId.of(name, self._process.pid)

    def check(self) -> None:
        """Raise ProcessFailed if the process ended."""
        if (code := self._process.poll()) is not None:
            raise ProcessFailed(f"the {self.name} ended with {describe_exit(code)} (log: {self.log})", self.tail())

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(
            self.log.read_text(encoding="utf-8", errors="replace").removesuffix("\n").split("\n")[-_TAIL_LINES:]
        )

    def stop(self, within_s: float = _STOP_WITHIN_S) -> int:
        """Send SIGTERM and wait; send SIGKILL to its whole group after `within_s` seconds.

        Returns:
            The exit code, negative for a signal.
        """
        self._process.terminate()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            return self._process.wait()


class Services:
    """The running services; a context manager that stops them in reverse order unless :meth:`keep` was called.

    Args:
        on_start: called with the ids of all of them whenever one was started.
    """

    def __init__(self, on_start: Callable[[tuple[ProcessId, ...]], None]) -> None:
        self._on_start = on_start
        self._running: list[Service] = []

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], log: Path) -> Service:
        """Start a service."""
        service = Service(name, command, log)
        self._running.append(service)
        self._on_start(tuple(running.id for running in self._running))
        return service

    def check(self) -> None:
        """Raise ProcessFailed if a service ended."""
        for service in self._running:
            service.check()

    def keep(self) -> tuple[ProcessId, ...]:
        """Leave the services running and return their ids."""
        ids = tuple(service.id for service in self._running)
        self._running.clear()
        return ids

    def stop(self) -> dict[str, int]:
        """Stop all, last started first, and return their exit codes by name; signals are ignored meanwhile."""
        codes = {}
        with _handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)):
            while self._running:
                service = self._running.pop()
                codes[service.name] = service.stop()
        return codes


def run_module(module: str, *arguments: object, to_stderr: bool = False) -> None:
    """Run a Python module on this terminal to its end.

    Args:
        module: its name.
        arguments: its command line.
        to_stderr: whether its standard output goes to standard error.

    Raises:
        ProcessFailed: its exit code is not 0.
    """
    command = [module, *map(str, arguments)]
    code = subprocess.run(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if to_stderr else None,
        check=False,
        env=_own_environment(),
    ).returncode
    if code:
        raise ProcessFailed(f"`python -m {' '.join(command[:2])}` ended with {describe_exit(code)}")


def _own_environment() -> dict[str, str]:
    """The environment without what it says of other services: the demo's must not store into them or call them."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == CACHE}


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that what it started is stopped.

    A Ctrl-C that arrives inside a callback of gRPC is lost there, exception and all. The block then goes on to its end,
    and is interrupted there.
    """
    interrupted = False

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    with _handling({signal.SIGINT: interrupt, signal.SIGTERM: leave, signal.SIGHUP: leave}):
        yield
    if interrupted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe_exit(code: int) -> str:
    """Name an exit code of subprocess, in which a negative number is a signal."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def kill_group(pid: int) -> None:
    """Send SIGKILL to a process group that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _start_time(pid: int) -> int | None:
    """Start time of a running process in clock ticks since boot (proc(5), field 22).

    None if there is no such process, or if it only waits to be reaped.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])
