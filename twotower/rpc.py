"""gRPC server lifecycle: listeners, health, TLS and draining; and the channels that clients open."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from twotower.access import Authenticator, Gate
from twotower.errors import FieldViolation, InvalidArgument, InvalidFile
from twotower.health_servicer import HealthServicer
from twotower.interceptor import Calls, ErrorInterceptor, add_reflection
from twotower.limits import MAX_CALLS, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, server_options
from twotower.reloading import Reloaded

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerTls:
    """PEM files of a server; with `client_ca`, clients must present a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files; they are read again at the first connection after one changed.

        Raises:
            InvalidFile: one can't be read, or is not what it should be; names the file and its setting.
        """
        configuration = Reloaded((self.certificate, self.key, self.client_ca), self._configuration)
        used = configuration.version

        def changed() -> Any:  # a configuration, or None for the one that is used
            nonlocal used
            newest = configuration()
            if configuration.version == used:
                return None
            used = configuration.version
            return newest

        return grpc.dynamic_ssl_server_credentials(
            configuration(), changed, require_client_authentication=self.client_ca is not None
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        root = _read_pem(self.client_ca, "tls_client_ca", "certificate")
        certificate = _read_pem(self.certificate, "tls_certificate", "certificate")
        key = _read_pem(self.key, "tls_key", "private key")
        assert certificate
        assert key
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # gRPC would say what is wrong with a file only in its log
        with _naming(self.key, "tls_key", f"must be the unencrypted private key of {self.certificate}"):
            context.load_cert_chain(self.certificate, self.key, password="")  # empty instead of a prompt
        if self.client_ca:
            with _naming(self.client_ca, "tls_client_ca", "must be a PEM file with certificates"):
                context.load_verify_locations(self.client_ca)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root)


class Server:
    """A gRPC server with two listeners, one of which serves operators; both have standard health and reflection.

    Args:
        listen: ``host:port`` for readers and writers; port 0 takes a free one.
        services: full names of the services that `register` adds, for health and reflection.
        register: adds the servicers to the server of a listener; called for each.
        admin_listen: ``host:port`` for operators.
        tls: serve TLS; plaintext if None.
        authenticator: says who calls; None lets everybody who reaches a listener do what it serves.
        reflection: describe the services to callers.
        max_admin_request_bytes: longest message of an operator.
        drain_s: how long calls in flight may take after SIGTERM.
        reuse_port: let several processes share the ports. They are then bound by :meth:`start`: the kernel hands
            connections to whoever is bound, so a process that is not ready yet must not be.

    Attributes:
        port: listened on; 0 while it is not bound.
        admin_port: the same of the administrative listener.
    """

    def __init__(
        self,
        listen: str,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        *,
        admin_listen: str,
        tls: ServerTls | None = None,
        authenticator: Authenticator | None = None,
        reflection: bool = True,
        max_admin_request_bytes: int = MAX_REQUEST_BYTES,
        drain_s: float = 10.0,
        reuse_port: bool = False,
    ) -> None:
        self._drain_s = drain_s
        self._health = HealthServicer(("", *services))
        self._calls = Calls()
        self._listeners = [
            _Listener(
                "admin_listen" if admin else "listen",
                admin_listen if admin else listen,
                tls,
                ErrorInterceptor(Gate(admin=admin, authenticator=authenticator), self._calls),
                server_options(
                    max_request_bytes=max_admin_request_bytes if admin else MAX_REQUEST_BYTES, reuse_port=reuse_port
                ),
            )
            for admin in (False, True)
        ]
        for listener in self._listeners:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, listener.server)
            register(listener.server)
            if reflection:
                add_reflection(services, listener.server)
            if not reuse_port:
                listener.bind()
        self._serving = False
        self._stopping = False

    @property
    def port(self) -> int:
        """Of the main listener."""
        return self._listeners[0].port

    @property
    def admin_port(self) -> int:
        """Of the administrative listener."""
        return self._listeners[1].port

    async def start(self) -> None:
        """Accept calls; health is NOT_SERVING until :meth:`set_serving` was called."""
        for listener in self._listeners:
            if not listener.port:
                listener.bind()
        for listener in self._listeners:
            await listener.server.start()

    async def set_serving(self, serving: bool) -> None:
        """Turn health of every service SERVING or NOT_SERVING; once :meth:`stop` was called it stays NOT_SERVING."""
        serving = serving and not self._stopping
        if serving == self._serving:
            return
        self._serving = serving
        self._health.set_serving(serving)
        _LOG.info("health is %s", "SERVING" if serving else "NOT_SERVING")

    async def stop(self) -> None:
        """Turn NOT_SERVING, refuse new calls, let those in flight end within `drain_s`, stop. Stopping again does
        nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        await self.set_serving(False)
        self._health.close()
        self._calls.end_waiting()
        stopping = [asyncio.create_task(listener.server.stop(self._drain_s)) for listener in self._listeners]
        # The server's own grace ends early for aborted calls, so handlers are counted.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._calls.wait_idle(), self._drain_s)
        await asyncio.gather(*stopping)
        _LOG.info("stopped")

    async def run_until_signal(self) -> None:
        """Wait for SIGTERM or SIGINT, then :meth:`stop`."""
        await wait_for_signal()
        await self.stop()


class _Listener:
    """One address and the gRPC server behind it: gRPC does not tell a call by which of a server's ports it came.

    Attributes:
        server: gRPC's.
        port: listened on; 0 while it is not bound.
    """

    def __init__(
        self,
        setting: str,
        address: str,
        tls: ServerTls | None,
        interceptor: ErrorInterceptor,
        options: Sequence[tuple[str, int]],
    ) -> None:
        self._setting = setting
        self._address = address
        self._tls = tls
        self.server = grpc.aio.server(interceptors=[interceptor], options=options, maximum_concurrent_rpcs=MAX_CALLS)
        self.port = 0

    def bind(self) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or is none.
        """
        credentials = self._tls.credentials() if self._tls else None
        try:
            self.port = (
                self.server.add_secure_port(self._address, credentials)
                if credentials
                else self.server.add_insecure_port(self._address)
            )
        except RuntimeError as error:
            raise OSError(f"{self._setting}: can't listen on {self._address!r}: {_why_not(self._address)}") from error


def _why_not(listen: str) -> str:
    """Say why nobody can listen there, which gRPC does not: by trying it once more."""
    if listen.startswith("unix:"):
        return "the path must be in a folder that this user may write, and have at most 107 bytes"
    host, _, port = listen.rpartition(":")
    try:
        for family, kind, _, _, address in socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind) as attempt:
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                attempt.bind(address)
                attempt.listen()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "the port is taken, or is no port"


async def wait_for_signal() -> None:
    """Return at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


@dataclass(frozen=True)
class ChannelTls:
    """PEM files of a client; the machine's certificate authorities if `ca` is None."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that there are."""
        return tuple(file for file in (self.ca, self.certificate, self.key) if file)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            InvalidFile: one can't be read, or is not what it should be.
            InvalidArgument: a certificate without its key, or a key without its certificate.
        """
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgument([FieldViolation("certificate", "goes together with key: give both or neither")])
        ca = _read_pem(self.ca, "certificate authority", "certificate")
        certificate = _read_pem(self.certificate, "certificate", "certificate")
        key = _read_pem(self.key, "key", "private key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # gRPC would say what is wrong with a file only in its log
        with _naming(self.ca, "certificate authority", "must be a PEM file with certificates"):
            if self.ca:
                context.load_verify_locations(self.ca)
        with _naming(self.key, "key", f"must be the unencrypted private key of {self.certificate}"):
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key, password="")  # empty instead of a prompt
        return grpc.ssl_channel_credentials(ca, key, certificate)


def _read_pem(path: Path | None, role: str, kind: str) -> bytes | None:
    if path is None:
        return None
    with _naming(path, role, "can't be read"):
        content = path.read_bytes()
    if f"{kind.upper()}-----".encode() not in content:
        raise InvalidFile(path, [FieldViolation(role, f"must be a PEM file with a {kind}")])
    return content


@contextlib.contextmanager
def _naming(path: Path | None, role: str, rule: str) -> Iterator[None]:
    """Name the file and its role in the error of a block that reads it."""
    try:
        yield
    except ssl.SSLError as error:
        raise InvalidFile(path, [FieldViolation(role, rule)]) from error
    except OSError as error:
        raise InvalidFile(path, [FieldViolation(role, f"{rule}: {error.strerror}")]) from error


_CHANNEL_OPTIONS: Final = {
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    # A server that was restarted is found again within a second, not after gRPC's default two minutes.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    # An idle connection is pinged, so that no firewall takes it for forgotten. One that was dropped without a word is
    # replaced before the next call needs it. Servers must tolerate such pings; ours do from 10 s on.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    # `http_proxy` is for the web: a proxy can't reach the loopback, and need not carry the services' own traffic.
    "grpc.enable_http_proxy": 0,
}


def channel_options(options: Sequence[tuple[str, Any]] = ()) -> list[tuple[str, Any]]:
    """The options of every channel of the house; `options` are added, or take the place of those of the same name."""
    return list({**_CHANNEL_OPTIONS, **dict(options)}.items())


def open_channel(target: str, tls: ChannelTls | None = None, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
    """A blocking channel to ``host:port``; `options` are added to the house's."""
    if tls:
        return grpc.secure_channel(target, tls.credentials(), options=channel_options(options))
    return grpc.insecure_channel(target, options=channel_options(options))


def open_async_channel(
    target: str, tls: ChannelTls | None = None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.aio.Channel:
    """An asyncio channel to ``host:port``; `options` are added to the house's."""
    if tls:
        return grpc.aio.secure_channel(target, tls.credentials(), options=channel_options(options))
    return grpc.aio.insecure_channel(target, options=channel_options(options))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a service on uvloop, whose event loop answers an eighth more calls a second than the standard one."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
