"""A ranking server in the test's process, over real sockets, and the embedding service that it asks."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ranking_service.bootstrap import RankingService
from ranking_service.settings import RankingSettings
from tests.support.channels import open_async_channels
from tests.support.fake_embedding import FakeEmbedding, warm_user
from tests.support.releases import product_id, random_user_rows, write_random_release
from twotower.release import Release
from twotower.v1 import ranking_service_pb2_grpc, release_service_pb2_grpc

PRODUCTS = 40
SEEN = [product_id(3), product_id(17), "a product that the release does not know"]


@dataclass
class Clients:
    """Stubs of a running ranking server."""

    ranking: ranking_service_pb2_grpc.RankingServiceStub
    releases: release_service_pb2_grpc.ReleaseServiceStub
    _health: health_pb2_grpc.HealthStub

    async def serving(self) -> bool:
        """What health says of the whole server."""
        answer = await self._health.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.asynccontextmanager
async def running(settings: RankingSettings) -> AsyncIterator[Clients]:
    """Start a ranking server, hand out its stubs, stop it."""
    service = RankingService(settings)
    try:
        await service.start()
        async with open_async_channels(service.server.port, service.server.admin_port) as channel:
            yield Clients(
                ranking_service_pb2_grpc.RankingServiceStub(channel),
                release_service_pb2_grpc.ReleaseServiceStub(channel),
                health_pb2_grpc.HealthStub(channel),
            )
    finally:
        await service.stop()


def ranking_settings(releases: Path, embedding_port: int, **more: object) -> RankingSettings:
    """Settings on free ports, with a look-up deadline that a busy test machine does not miss."""
    fields = {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "releases": str(releases),
        "embedding": f"127.0.0.1:{embedding_port}",
        "embedding_admin": f"127.0.0.1:{embedding_port}",
        "lookup_timeout_ms": 2000,
        "breaker_reset_ms": 1,
    }
    return RankingSettings.model_validate(fields | more)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS)


@pytest.fixture(scope="session")
def warm_rows() -> np.ndarray:
    """(300, 449): user rows of the users "warm 0" to "warm 299"."""
    return random_user_rows(np.random.default_rng(8), 300)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_embedding(release: Release, warm_rows: np.ndarray) -> AsyncIterator[FakeEmbedding]:
    fake = FakeEmbedding(release, {f"warm {i}": warm_user(row, SEEN) for i, row in enumerate(warm_rows)})
    yield fake
    await fake.stop()


@pytest.fixture
def embedding(shared_embedding: FakeEmbedding) -> FakeEmbedding:
    """The embedding service, answering normally; one for all tests of a module."""
    shared_embedding.reset()
    return shared_embedding


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clients(release: Release, shared_embedding: FakeEmbedding) -> AsyncIterator[Clients]:
    """A server with a release, beside the embedding service; one for all tests of a module, for it takes seconds to
    compile.
    """
    port = await shared_embedding.start()
    async with running(ranking_settings(release.path.parent, port, release=release.release_id)) as stubs:
        yield stubs
