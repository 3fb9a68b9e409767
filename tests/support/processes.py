"""Real services in real processes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from twotower.health import health_status
from twotower.rpc import ChannelTls

_START_S = 90.0


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Service:
    """``python -m <module>`` with its log in a file.

    Args:
        module: the package to run.
        log: file that its output is appended to.
        arguments: command line, without ``--listen`` and ``--admin-listen``.
        port: to listen on; a free one if None.
        admin_port: to listen on for operators; a free one if None.
        tls: how its health is asked for; None for plaintext.
    """

    def __init__(
        self,
        module: str,
        log: Path,
        *arguments: object,
        port: int | None = None,
        admin_port: int | None = None,
        tls: ChannelTls | None = None,
    ) -> None:
        self._tls = tls
        self.port = port or free_port()
        self.admin_port = admin_port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.admin_address = f"127.0.0.1:{self.admin_port}"
        self._log = log
        listen = ["--listen", self.address, "--admin-listen", self.admin_address]
        self._command = [sys.executable, "-m", module, *listen, *map(str, arguments)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it may not be listening yet."""
        with self._log.open("ab") as log:
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def wait_until(self, status: str) -> None:
        """Wait until health is `status`, SERVING or NOT_SERVING; fails with the log if the process ends or the time is
        over.
        """
        deadline = time.monotonic() + _START_S
        while health_status(self.address, tls=self._tls) != status:
            assert self.process.poll() is None, f"{self._command[2]} ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"{self._command[2]} is not {status}:\n{self.log()}"
            time.sleep(0.05)

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        assert self._process, "not started"
        return self._process

    def log(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextlib.contextmanager
def running(*services: Service) -> Iterator[None]:
    """Start services and stop them all at the end."""
    try:
        for service in services:
            service.start()
        yield
    finally:
        for service in reversed(services):
            service.stop()


def redis_pid(data: Path) -> int:
    """Process id of the redis-server that logs into `data`."""
    lines = (data / "redis.log").read_text().splitlines()
    return int([line.split(":")[0] for line in lines if "Ready to accept" in line][-1])
