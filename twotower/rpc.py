"""gRPC server lifecycle: error mapping, health, reflection, TLS and draining; and the channels that clients open."""

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from twotower.errors import FieldViolation, InvalidArgument, InvalidFile, TwotowerError, status_code, to_status

_LOG = logging.getLogger(__name__)
MAX_MESSAGE_BYTES: Final = 64 * 2**20
_MIN_PING_INTERVAL_MS: Final = 1_000
"""Far less than what clients do, because the network moves pings together."""
_STATUS_DETAILS: Final = "grpc-status-details-bin"


@dataclass(frozen=True)
class ServerTls:
    """PEM files of a server; with `client_ca`, clients must present a certificate that it signed."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            InvalidFile: one can't be read, or is not what it should be; names the file and its setting.
        """
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
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=root, require_client_auth=root is not None
        )


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call with the status of the domain error that its handler raised, and counts calls in flight.

    An error that is not a domain error is a bug: it is logged with its trace and the caller sees INTERNAL without the
        message.

    A call of many requests and many answers is in flight from each request until its answer was sent; while it waits
    for a request it is idle, and is ended when the server stops.
    """

    def __init__(self) -> None:
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._wrapped: dict[str, Any] = {}
        self._waiting: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap a handler the first time its method is called."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # unknown methods are not remembered: a caller could make up any number of them
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    async def wait_idle(self) -> None:
        """Return when no call is in flight."""
        await self._idle.wait()

    def end_waiting(self) -> None:
        """End the calls that wait for a request, with OK, and those that answer one when they have answered it."""
        self._closing = True
        for task in self._waiting:
            task.cancel()

    def _wrap(self, method: str, handler: Any) -> Any:
        decode = functools.partial(_decode, handler.request_deserializer)
        coders = {"request_deserializer": decode, "response_serializer": handler.response_serializer}
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._conversation(method, handler.stream_stream), **coders)
        if handler.response_streaming:
            return handler  # health watch, which never ends: a standard servicer with its own errors
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._begin()
            try:
                return await inner(
                    _decoded_stream(request) if handler.request_streaming else _decoded(request), context
                )
            except Exception as error:
                await _abort(method, error, context)
            finally:
                self._end()

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(call, **coders)

    def _conversation(self, method: str, inner: Any) -> Any:
        async def call(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with contextlib.aclosing(self._one_by_one(requests)) as counted:
                try:
                    async for answer in inner(counted, context):
                        yield answer
                except Exception as error:
                    await _abort(method, error, context)

        return call

    async def _one_by_one(self, requests: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """Requests as they come; asked for the next one, the answer to the last was sent."""
        task, messages = asyncio.current_task(), aiter(requests)
        assert task
        while not self._closing:
            self._waiting.add(task)
            try:
                request = await anext(messages)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                if not self._closing:
                    raise
                task.uncancel()
                return
            finally:
                self._waiting.discard(task)
            self._begin()
            try:
                yield _decoded(request)
            finally:
                self._end()

    def _begin(self) -> None:
        self._in_flight += 1
        self._idle.clear()

    def _end(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()


async def _abort(method: str, error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """End a call with the status of an error."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, TwotowerError):
        metadata = ((_STATUS_DETAILS, to_status(error).SerializeToString()),)
        await context.abort(status_code(error), str(error), metadata)
    _LOG.error("unexpected error in %s", method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")


def _decode(deserialize: Callable[[bytes], Any], data: bytes) -> Any:
    """The message, or the error: raised here, gRPC would log it and answer UNKNOWN."""
    try:
        return deserialize(data)
    except DecodeError as error:
        return error


def _decoded(request: Any) -> Any:
    if isinstance(request, DecodeError):
        raise InvalidArgument(
            [FieldViolation("request", "must be a message of the method's type; its bytes can't be parsed")]
        )
    return request


async def _decoded_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _decoded(request)


class Server:
    """A gRPC server with standard health and reflection.

    Args:
        listen: ``host:port``; port 0 takes a free one.
        services: full names of the services that `register` adds, for health and reflection.
        register: adds the servicers to the server.
        tls: serve TLS; plaintext if None.
        drain_s: how long calls in flight may take after SIGTERM.
        reuse_port: let several processes share the port. It is then bound by :meth:`start`: the kernel hands
            connections to whoever is bound, so a process that is not ready yet must not be.

    Attributes:
        port: listened on; 0 while it is not bound.
    """

    def __init__(
        self,
        listen: str,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        *,
        tls: ServerTls | None = None,
        drain_s: float = 10.0,
        reuse_port: bool = False,
    ) -> None:
        self._services = ("", *services)
        self._drain_s = drain_s
        self._interceptor = ErrorInterceptor()
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", int(reuse_port)),
            # Clients may ping an idle connection every 10 s; gRPC would hang up on them after the third ping.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        ]
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=options)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        register(self._server)
        names = (*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_generic_rpc_handlers((_reflection_v1(names),))
        self._listen = listen
        self._tls = tls
        self.port = 0
        if not reuse_port:
            self._bind()
        self._serving: bool | None = None
        self._stopping = False

    def _bind(self) -> None:
        credentials = self._tls.credentials() if self._tls else None
        try:
            self.port = (
                self._server.add_secure_port(self._listen, credentials)
                if credentials
                else self._server.add_insecure_port(self._listen)
            )
        except RuntimeError as error:
            raise OSError(f"listen: can't listen on {self._listen!r}: {_why_not(self._listen)}") from error

    async def start(self) -> None:
        """Accept calls; health is NOT_SERVING until :meth:`set_serving` was called."""
        if self._serving is None:
            await self.set_serving(False)
        if not self.port:
            self._bind()
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """Turn health of every service SERVING or NOT_SERVING; once :meth:`stop` was called it stays NOT_SERVING."""
        serving = serving and not self._stopping
        if serving == self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._services:
            await self._health.set(name, status)
        _LOG.info("health is %s", "SERVING" if serving else "NOT_SERVING")

    async def stop(self) -> None:
        """Turn NOT_SERVING, refuse new calls, let those in flight end within `drain_s`, stop. Stopping again does
        nothing.
        """
        if self._stopping:
            return
        self._stopping = True
        await self.set_serving(False)
        self._interceptor.end_waiting()
        stopping = asyncio.create_task(self._server.stop(self._drain_s))
        # The server's own grace ends early for aborted calls, so handlers are counted.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._interceptor.wait_idle(), self._drain_s)
        await stopping
        _LOG.info("stopped")

    async def run_until_signal(self) -> None:
        """Wait for SIGTERM or SIGINT, then :meth:`stop`."""
        await wait_for_signal()
        await self.stop()


def _why_not(listen: str) -> str:
    """Say why nobody can listen there, which gRPC does not: by trying it once more."""
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


def _reflection_v1(names: Sequence[str]) -> grpc.GenericRpcHandler:
    """Make reflection by its final name too; its messages are those of v1alpha, byte for byte."""
    servicer = ReflectionServicer(names)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
    )


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
