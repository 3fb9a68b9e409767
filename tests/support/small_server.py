"""A real server that answers from memory: what is tested is what stands before the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tests.support.memory_api import SERVICES
from tests.support.memory_embedding import MemoryEmbedding
from tests.support.memory_releases import MemoryReleases
from tests.support.memory_state import Memory
from twotower.access import Authenticator
from twotower.rpc import Server, ServerTls
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1.embedding_service_pb2_grpc import add_EmbeddingServiceServicer_to_server
from twotower.v1.release_service_pb2_grpc import add_ReleaseServiceServicer_to_server


class Servicer(MemoryEmbedding):
    """Answers look-ups on an open call too, and counts what is imported."""

    async def ImportUsers(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        count = sum([len(request.batch.users) async for request in request_iterator])
        return pb.ImportUsersResponse(user_count=count)

    async def StreamUserFeatures(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in request_iterator:
            yield pb.StreamUserFeaturesResponse(release_id=request.user_ids[0])


@asynccontextmanager
async def serving(
    authenticator: Authenticator | None = None, tls: ServerTls | None = None, **options: Any
) -> AsyncIterator[Server]:
    memory = Memory()

    def register(server: grpc.aio.Server) -> None:
        add_EmbeddingServiceServicer_to_server(Servicer(memory), server)
        add_ReleaseServiceServicer_to_server(MemoryReleases(memory), server)

    server = Server(
        "127.0.0.1:0",
        [SERVICES[0], SERVICES[2]],
        register,
        admin_listen="127.0.0.1:0",
        tls=tls,
        authenticator=authenticator,
        **{"drain_s": 1.0, **options},
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
