"""The public API answered from memory, behind a real gRPC server: what clients are tested against without Redis or a
model.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.memory_embedding import MemoryEmbedding
from tests.support.memory_ranking import MemoryRanking
from tests.support.memory_releases import MemoryReleases
from tests.support.memory_state import OTHER_RELEASE_ID, RELEASE_ID, Memory, catalogue
from twotower.access import Authenticator
from twotower.rpc import Server, ServerTls
from twotower.v1 import embedding_service_pb2_grpc, ranking_service_pb2_grpc, release_service_pb2_grpc

__all__ = ["OTHER_RELEASE_ID", "RELEASE_ID", "SERVICES", "Memory", "MemoryServer", "memory_server", "planned"]

SERVICES = ("twotower.v1.EmbeddingService", "twotower.v1.RankingService", "twotower.v1.ReleaseService")


class MemoryServer:
    """One server with all three services, on a thread of its own so that blocking clients can call it.

    Attributes:
        address: of readers and writers.
        admin_address: of operators.
        addresses: both, by the arguments of clients.
        variables: both, by the variables of clients.
    """

    def __init__(
        self, memory: Memory, tls: ServerTls | None = None, authenticator: Authenticator | None = None
    ) -> None:
        self.memory = memory
        self._tls = tls
        self._authenticator = authenticator
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._start())
        self.address = f"127.0.0.1:{self._server.port}"
        self.admin_address = f"127.0.0.1:{self._server.admin_port}"
        self.addresses: dict[str, Any] = {
            "ranking": self.address,
            "embedding": self.address,
            "admin_ranking": self.admin_address,
            "admin_embedding": self.admin_address,
        }
        self.variables = {f"TWOTOWER_{name.upper()}": address for name, address in self.addresses.items()}

    def set_serving(self, serving: bool) -> None:
        """Turn its health."""
        self._run(self._server.set_serving(serving))

    def close(self) -> None:
        """Stop the server and the thread."""
        self._run(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> Server:
        def register(server: Any) -> None:
            ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(MemoryRanking(self.memory), server)
            release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(MemoryReleases(self.memory), server)
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(MemoryEmbedding(self.memory), server)

        server = Server(
            "127.0.0.1:0",
            SERVICES,
            register,
            admin_listen="127.0.0.1:0",
            drain_s=0.2,
            tls=self._tls,
            authenticator=self._authenticator,
        )
        await server.start()
        await server.set_serving(True)
        return server

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)


@contextmanager
def memory_server(
    products: int = 10, tls: ServerTls | None = None, authenticator: Authenticator | None = None
) -> Iterator[MemoryServer]:
    """A running server with `products` products."""
    server = MemoryServer(Memory(products=catalogue(products)), tls, authenticator)
    try:
        yield server
    finally:
        server.close()


def planned(server: MemoryServer, method: str, *errors: Exception) -> None:
    """Let the next calls of a method end with these errors."""
    server.memory.failures[method] = list(errors)
