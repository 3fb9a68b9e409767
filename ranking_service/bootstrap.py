"""Puts the ranking service together: the only place that builds its parts."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from ranking_service.api.page_tokens import PageTokens
from ranking_service.api.ranking_servicer import RankingServicer
from ranking_service.api.release_servicer import ReleaseServicer
from ranking_service.network.graph import import_jax
from ranking_service.network.head import Head, Programs, SlicedHead, open_head
from ranking_service.network.lanes import Lanes
from ranking_service.network.two_stage import open_two_stage
from ranking_service.ranking.ranker import Ranker
from ranking_service.release.registry import open_registry
from ranking_service.release.served import Proposer, Scorer, ServedRelease, open_served
from ranking_service.rollout.added_products import AddedProducts
from ranking_service.rollout.assortment import Assortment
from ranking_service.rollout.releases import Releases
from ranking_service.rollout.traffic import Traffic
from ranking_service.rollout.withdrawn_products import WithdrawnProducts
from ranking_service.settings import RankingSettings
from ranking_service.upstream.circuit_breaker import CircuitBreaker, GuardedFeatures
from ranking_service.upstream.embedding_client import EmbeddingClient
from ranking_service.upstream.feature_lookup import FeatureLookup
from ranking_service.upstream.live_popularity import PopularityFeed
from ranking_service.upstream.user_spaces import UserSpaces
from twotower.errors import InvalidArgument, TwotowerError
from twotower.file_watch import FileWatch
from twotower.release import Release
from twotower.rpc import ChannelTls, Server, open_async_channel
from twotower.token_file import TokenFile
from twotower.v1 import ranking_service_pb2, ranking_service_pb2_grpc, release_service_pb2, release_service_pb2_grpc

_LOG = logging.getLogger(__name__)
_PAUSE_S: Final = 0.0001
_LAST_CALLS_S: Final = 5.0
_NOTICE_LOSS: Final = [("grpc.keepalive_time_ms", 2_000), ("grpc.keepalive_timeout_ms", 2_000)]
"""Users are answered as cold ones until a connection that was lost without a word is opened anew."""
_SERVICES = [
    ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name,
    release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name,
]


class RankingService:
    """The service with all its parts; make it inside a running event loop.

    Args:
        settings: read once by the caller.
        reuse_port: other processes listen on the same ports; this one does when its first release is warm, so that it
            answers from the first connection on.
        page_token_key: shared with those processes; read from the settings' file, or made up, if None.

    Raises:
        InvalidFile: the file of the key is none.
    """

    def __init__(
        self, settings: RankingSettings, *, reuse_port: bool = False, page_token_key: bytes | None = None
    ) -> None:
        self._settings = settings
        self._reuse_port = reuse_port
        self._lanes = Lanes(settings.threads)
        # Two batches at a time: one keeps the lanes busy while the other is in Python. Requests beyond the plain best k
        # have a thread of their own, and a release is loaded beside them.
        self._scoring = ThreadPoolExecutor(3, thread_name_prefix="scoring")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="loading", initializer=_give_way)
        self._tls = _channel_tls(settings)
        self._tls_files = FileWatch(self._tls.files if self._tls else ())
        self._channels = self._open_channels()
        token = TokenFile(settings.embedding_token_file) if settings.embedding_token_file else None
        self._client = client = EmbeddingClient(*self._channels, settings.lookup_timeout_ms / 1000, token)
        registry = open_registry(settings.releases, settings.mirror, settings.state_dir)
        self._assortment = Assortment(
            AddedProducts(registry, client.encode, self._loading), WithdrawnProducts(registry, self._loading)
        )
        self._programs = Programs()

        async def serving() -> None:
            await self.server.set_serving(True)

        spaces = UserSpaces(client)
        self._releases = Releases(registry, self._open_release, self._loading, serving, spaces)
        self._popularity = PopularityFeed(
            client.popularity,
            self._releases.in_memory,
            interval_s=settings.popularity_interval_ms / 1000,
            max_age_s=settings.popularity_max_age_s,
        )
        guarded = GuardedFeatures(client, CircuitBreaker(settings.breaker_failures, settings.breaker_reset_ms / 1000))
        features = FeatureLookup(guarded, spaces.mismatched, cache_users=settings.feature_cache_users)
        ranker = Ranker(features, self._popularity.snapshot, self._scoring, max_queue_users=settings.queue_users)
        traffic = Traffic(self._releases, ranker)
        page_tokens = PageTokens(page_token_key or settings.read_page_token_key())
        ranking = RankingServicer(
            self._releases, ranker, traffic, self._popularity, self._assortment, page_tokens=page_tokens
        )
        releases = ReleaseServicer(self._releases, traffic, spaces)

        def register(server: grpc.aio.Server) -> None:
            ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(ranking, server)
            release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(releases, server)

        self.server = Server(
            settings.listen,
            _SERVICES,
            register,
            admin_listen=settings.admin_listen,
            tls=settings.server_tls,
            authenticator=settings.authenticator(),
            reflection=settings.reflection,
            drain_s=settings.drain_s,
            reuse_port=reuse_port,
        )
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Accept calls and load the first release; health turns SERVING when it is warm.

        Raises:
            TwotowerError: the release that the settings ask for can't be served. If the pointer file names it, that is
                only logged, because LoadRelease repairs it.
        """
        if not self._reuse_port:
            await self._listen()
        self._channels[0].get_state(try_to_connect=True)
        await self._assortment.changed()
        try:
            await self._releases.start(self._settings.release)
        except TwotowerError as error:
            if self._settings.release:
                raise
            _LOG.error("the release named by the pointer file is not served, waiting for LoadRelease: %s", error)
        if self._reuse_port:
            await self._listen()
        self._background = [asyncio.create_task(self._popularity.run()), asyncio.create_task(self._follow())]
        # Without a release nothing has imported it yet; the first LoadRelease should not have to.
        await asyncio.get_running_loop().run_in_executor(self._loading, import_jax)
        # All of that stays: a full collection would walk it, and every request would wait.
        gc.collect()
        gc.freeze()
        if self._releases.in_memory():
            _LOG.info("ready %.1f s after the start of the process", _process_age_s())

    def _open_release(self, path: Path) -> ServedRelease:
        key = self._settings.release_public_key
        return self._assortment.fit(open_served(path, self._open_head, self._open_proposer, _pause, key))

    def _open_head(self, release: Release) -> Head | SlicedHead:
        return open_head(release.weights, release.product_fusion, self._lanes, self._programs)

    def _open_proposer(self, release: Release, exact: Scorer) -> Proposer | None:
        if not 0 < self._settings.two_stage_above < release.manifest.product_count:
            return None
        return open_two_stage(release, exact, self._lanes, self._programs)

    async def _listen(self) -> None:
        await self.server.start()
        _LOG.info("listening on port %d, for operators on %d", self.server.port, self.server.admin_port)

    async def stop(self) -> None:
        """Let calls in flight end, then free everything."""
        for task in self._background:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.server.stop()
        for channel in self._channels:
            await channel.close()
        self._scoring.shutdown()
        self._lanes.close()
        self._loading.shutdown(cancel_futures=True)

    def _open_channels(self) -> tuple[grpc.aio.Channel, grpc.aio.Channel]:
        """To both listeners of the embedding service."""
        settings = self._settings
        addresses = settings.embedding, settings.embedding_admin
        main, admin = (open_async_channel(address, self._tls, _NOTICE_LOSS) for address in addresses)
        return main, admin

    async def _reconnect(self) -> None:
        """Use certificates that changed; if they can't be used the old ones stay."""
        try:
            opened = self._open_channels()
        except InvalidArgument as error:
            _LOG.error("the files for TLS with the embedding service changed and can't be used: %s", error)
            return
        self._client.connect(*opened)
        before, self._channels = self._channels, opened
        _LOG.info("the files for TLS with the embedding service changed: connected anew")
        for channel in before:
            await channel.close(_LAST_CALLS_S)

    async def _follow(self) -> None:
        """Take over what other processes do to the labels and the added products."""
        while True:
            await asyncio.sleep(self._settings.follow_interval_ms / 1000)
            try:
                if self._tls_files.changed():
                    await self._reconnect()
                await self._releases.follow()
                if await self._assortment.changed():
                    await self._releases.refit(self._assortment.fit)
            except Exception:
                _LOG.exception("labels and added products could not be followed")


def _process_age_s() -> float:
    """Return the seconds since the process started, as the operating system counts them: imports are part of it."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _give_way() -> None:
    """Let this thread, which verifies and compiles releases, yield the cores to those that answer requests."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _pause() -> None:
    """Let requests have the core and the interpreter's lock, between two small steps of opening a release."""
    time.sleep(_PAUSE_S)


def _channel_tls(settings: RankingSettings) -> ChannelTls | None:
    if not settings.embedding_tls:
        return None
    return ChannelTls(settings.embedding_ca, settings.embedding_certificate, settings.embedding_key)
