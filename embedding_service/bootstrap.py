"""Builds the service from its settings: the only place where parts are put together."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from embedding_service.api.servicer import EmbeddingServicer
from embedding_service.redis_store.background import supervised
from embedding_service.redis_store.client import connect, redis_tls
from embedding_service.redis_store.configuration import Configuration
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.idle_users import IdleUsers
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.url import EMBEDDED, parse_store_url
from embedding_service.redis_store.user_store import RedisUserStore
from embedding_service.releases.encoding_queue import Encoder, EncodingQueue
from embedding_service.releases.monitor import Monitor
from embedding_service.releases.spaces import Spaces
from embedding_service.settings import EmbeddingSettings
from embedding_service.usecases.activation import Activation
from embedding_service.usecases.importing import Importer
from embedding_service.usecases.popularity import Popularity
from embedding_service.usecases.users import Users
from twotower.cores import usable_cores
from twotower.limits import MAX_MESSAGE_BYTES
from twotower.rpc import Server
from twotower.suppressions import FILE_NAME, make_list
from twotower.v1 import embedding_service_pb2
from twotower.v1.embedding_service_pb2_grpc import add_EmbeddingServiceServicer_to_server

_LOG = logging.getLogger(__name__)
SERVICE_NAME: Final = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
_TEXTS_PER_STREAM: Final = 8
_CANCEL_AGAIN_S: Final = 0.2


def open_text_encoder(threads: int | None) -> Callable[[Path], Encoder]:
    """A function that loads an encoder under OpenVINO, with `threads` inference streams."""

    def open_encoder(directory: Path) -> Encoder:
        from twotower.encoder import TextEncoder

        return TextEncoder(directory, threads)

    return open_encoder


@contextlib.asynccontextmanager
async def running_service(
    settings: EmbeddingSettings, open_encoder: Callable[[Path], Encoder] | None = None
) -> AsyncIterator[Server]:
    """The service, listening; everything is stopped on leaving.

    A Redis of the user's own that is away is waited for, with health NOT_SERVING.

    Args:
        settings: read once by the caller.
        open_encoder: loads an encoder from its folder, in place of OpenVINO.

    Raises:
        StoreUnavailable: the embedded store does not start, or a Redis of the user's own evicts keys.
    """
    async with contextlib.AsyncExitStack() as stack:
        url, refuse_write = settings.store_url, None
        if url == EMBEDDED:
            redis_server = RedisServer(
                settings.data_dir, appendfsync=settings.appendfsync, max_memory_mb=settings.max_memory_mb
            )
            await redis_server.start()
            stack.push_async_callback(redis_server.stop)
            url, refuse_write = redis_server.url, redis_server.refuse_write
        client = connect(
            url,
            timeout_s=settings.redis_timeout_ms / 1000,
            connections=settings.redis_connections,
            tls=redis_tls(settings.redis_ca, settings.redis_certificate, settings.redis_key),
            wait_replicas=settings.redis_wait_replicas,
            refuse_write=refuse_write,
        )
        configuration = Configuration(client, settings.redis_wait_replicas)
        store = RedisUserStore(
            client,
            anonymous_per_product_and_day=settings.anonymous_per_product_and_day,
            refusal=lambda: configuration.refusal,
            keep_logs_s=settings.keep_logs_days * 86_400,
            keep_als_s=settings.keep_als_hours * 3600,
        )
        stack.push_async_callback(store.close)
        if settings.store != EMBEDDED:
            await configuration.check()

        def open_queue(encoder: Encoder) -> EncodingQueue:
            streams = settings.encoder_threads or usable_cores()
            return EncodingQueue(
                encoder, max_queued_texts=settings.max_queued_texts, batch_texts=_TEXTS_PER_STREAM * streams
            )

        spaces = Spaces(
            settings.releases,
            open_encoder or open_text_encoder(settings.encoder_threads),
            open_queue,
            settings.release_public_key,
        )
        stack.push_async_callback(spaces.close)
        activation = Activation(store, spaces)
        suppressions = _suppressions(settings)
        servicer = EmbeddingServicer(
            Users(store, spaces, suppressions=suppressions),
            Popularity(RedisPopularityStore(client, store.outboxes), spaces),
            Importer(store, spaces, activation, suppressions),
            activation,
            import_idle_s=settings.import_idle_s,
            stream_idle_s=settings.stream_idle_s,
        )
        server = Server(
            settings.listen,
            [SERVICE_NAME],
            lambda grpc_server: add_EmbeddingServiceServicer_to_server(servicer, grpc_server),
            admin_listen=settings.admin_listen,
            tls=settings.server_tls,
            authenticator=settings.authenticator(),
            reflection=settings.reflection,
            max_admin_request_bytes=MAX_MESSAGE_BYTES,
            drain_s=settings.drain_s,
        )
        await server.start()
        stack.push_async_callback(server.stop)
        _LOG.info(
            "listening on port %d, for operators on %d, store %s, releases %s",
            server.port,
            server.admin_port,
            describe(settings),
            settings.releases,
        )
        monitor = Monitor(store, spaces, server.set_serving, describe=describe(settings))
        backgrounds = {
            "watching the store": monitor.run,
            "emptying outboxes": store.outboxes.run,
            "dropping retired spaces": store.retired_spaces.run,
        }
        if settings.store != EMBEDDED:
            backgrounds["checking Redis' configuration"] = configuration.run
        if settings.user_ttl_days is not None:
            backgrounds["removing idle users"] = IdleUsers(client, store.outboxes, settings.user_ttl_days).run
        for name, run in backgrounds.items():
            stack.push_async_callback(_cancel, asyncio.create_task(supervised(name, run)))
        yield server


def _suppressions(settings: EmbeddingSettings) -> Path:
    """The list of deleted users; that it can't be written is said at once, and at every deletion."""
    path = settings.suppressions or settings.data_dir / FILE_NAME
    try:
        make_list(path)
    except OSError as error:
        _LOG.warning("suppressions: %s can't be written, so deletions of users are refused: %s", path, error.strerror)
    return path


def describe(settings: EmbeddingSettings) -> str:
    """The store in words, without user name and password."""
    if settings.store == EMBEDDED:
        return f"embedded Redis in {settings.data_dir}"
    return f"Redis at {parse_store_url(settings.store)}"


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended.

    In Python 3.11 `asyncio.wait_for`, which redis-py awaits, may swallow a cancellation that comes with a result.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_S)


async def serve(settings: EmbeddingSettings) -> None:
    """Run until SIGTERM or SIGINT, then drain and stop."""
    async with running_service(settings) as server:
        await server.run_until_signal()
