"""A gRPC server that answers every method with an empty message and records who called."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from grpc_health.v1 import health_pb2

HEALTH = "/grpc.health.v1.Health/Check"


class RecordingServer(grpc.GenericRpcHandler):
    """Answers on a free port.

    Attributes:
        address: ``host:port``.
        calls: method → token and certificate of each caller, "" for none.
        refusal: the status that all calls end with; None to answer them.
        gate: calls of ``SimilarProducts`` wait for it.
        waiting: set when such a call has arrived.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.gate, self.waiting = threading.Event(), threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        if credentials:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        else:
            port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def service(self, details: Any) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Answer any method, of one request or of many."""

        def answer(request: Any, context: grpc.ServicerContext) -> bytes:
            metadata = dict(context.invocation_metadata())
            self.calls.append((details.method, str(metadata.get("authorization", "")), _certificate(context)))
            if details.method == HEALTH:
                return health_pb2.HealthCheckResponse(status=1).SerializeToString()
            if details.method.endswith("/SimilarProducts"):
                self.waiting.set()
                assert self.gate.wait(30)
            if self.refusal:
                context.abort(*self.refusal)
            return b""

        if details.method.endswith("/ImportUsers"):
            return grpc.stream_unary_rpc_method_handler(answer)
        return grpc.unary_unary_rpc_method_handler(answer)

    def close(self) -> None:
        """Stop."""
        self.gate.set()
        self._server.stop(None).wait()


def _certificate(context: grpc.ServicerContext) -> str:
    """Fingerprint of the caller's certificate."""
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        return ""
    pem: Any = next(iter(certificates))  # typed as if it were one certificate's bytes
    return fingerprint(pem)


def fingerprint(pem: bytes) -> str:
    """Fingerprint of a certificate."""
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


@contextmanager
def recording_server(credentials: grpc.ServerCredentials | None = None) -> Iterator[RecordingServer]:
    """A running server; plaintext without credentials."""
    server = RecordingServer(credentials)
    try:
        yield server
    finally:
        server.close()
