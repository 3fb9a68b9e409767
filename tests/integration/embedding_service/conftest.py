"""A real Redis, and a real server over it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from embedding_service.bootstrap import running_service
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.user_store import RedisUserStore
from embedding_service.settings import EmbeddingSettings
from tests.support.channels import open_async_channels
from tests.support.embedding_calls import Service, StartService
from tests.support.encoders import HashEncoder
from tests.support.releases import write_random_release
from tests.support.stored_reviews import ENCODER, SPACE, new_review
from twotower.encoder import encoder_id
from twotower.release import Release
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A running redis-server with an empty directory."""
    server = RedisServer(tmp_path / "redis")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisUserStore]:
    """A store in it."""
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=8))
    yield store
    await store.close()


@pytest.fixture
async def filled(store: RedisUserStore) -> RedisUserStore:
    """Ten users of three reviews, among them one whose name looks like a key."""
    await store.register_space(SPACE)
    names = [f"user {i}" for i in range(9)] + ["{100%}:log:x"]
    await store.record(ENCODER, [new_review(f"r{i}", f"p{i}", 1e9 + i, name) for name in names for i in range(3)])
    await store.outboxes.drain()
    return store


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of releases, for all tests of the session."""
    return tmp_path_factory.mktemp("releases")


@pytest.fixture(scope="session")
def release(releases: Path) -> Release:
    """A small release whose encoder files are placeholders."""
    return write_random_release(releases)


@pytest.fixture(scope="session")
def other_release(releases: Path) -> Release:
    """Another ALS space and the same encoder."""
    return write_random_release(releases, seed=1, products=40)


@pytest.fixture
async def start_service(releases: Path, tmp_path: Path) -> AsyncIterator[StartService]:
    """Start services with the hash encoder in this process; all are stopped after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Service:
            defaults: dict[str, Any] = {
                "listen": "127.0.0.1:0",
                "admin_listen": "127.0.0.1:0",
                "data_dir": tmp_path / "data",
                "releases": releases,
                "drain_s": 2.0,
            }
            settings_ = EmbeddingSettings(**(defaults | settings))
            server = await stack.enter_async_context(
                running_service(settings_, lambda path: HashEncoder(encoder_id(path)))
            )
            channel = await stack.enter_async_context(open_async_channels(server.port, server.admin_port))
            return Service(EmbeddingServiceStub(channel), channel, server.port)

        yield start
