"""Puts the ranking service together: the only place that builds its parts."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc

from clients.features import FeatureClient
from ranking_service.head import Head, import_tensorflow
from ranking_service.ranker import Ranker
from ranking_service.releases import Releases, open_served
from ranking_service.servicer import RankingServicer, ReleaseServicer
from ranking_service.settings import RankingSettings
from twotower.errors import TwotowerError
from twotower.release import Release
from twotower.rpc import Server, open_async_channel
from twotower.v1 import ranking_service_pb2, ranking_service_pb2_grpc, release_service_pb2, release_service_pb2_grpc

_LOG = logging.getLogger(__name__)


class RankingService:
    """The service with all its parts; make it inside a running event loop."""

    def __init__(self, settings: RankingSettings) -> None:
        self._settings = settings
        # Batches are scored one at a time, so that two don't fight for the cores; a release is loaded beside them.
        self._scoring = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._channel: grpc.aio.Channel = open_async_channel(settings.embedding)
        ranker = Ranker(
            FeatureClient(self._channel, settings.lookup_timeout_ms / 1000), self._scoring, max_queue_users=settings.queue_users
        )

        async def serving() -> None:
            await self.server.set_serving(True)

        self._releases = Releases(settings.releases, partial(open_served, build_scorer=_build_head), self._loading, serving)

        def register(server: grpc.aio.Server) -> None:
            ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(RankingServicer(self._releases, ranker), server)
            release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(ReleaseServicer(self._releases), server)

        names = [
            ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name,
            release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name,
        ]
        self.server = Server(settings.listen, names, register, drain_s=settings.drain_s)

    async def start(self) -> None:
        """Accept calls, then load the first release; health turns SERVING when it is warm.

        Raises:
            TwotowerError: the release asked for by the settings can't be served. A pointer file that names such a one is only logged,
                because LoadRelease repairs it.
        """
        await self.server.start()
        self._channel.get_state(try_to_connect=True)
        try:
            await self._releases.start(self._settings.release)
        except TwotowerError as error:
            if self._settings.release:
                raise
            _LOG.error("the release named by the pointer file is not served, waiting for LoadRelease: %s", error)
        # Without a release nothing has imported it yet; the first LoadRelease should not have to.
        await asyncio.get_running_loop().run_in_executor(self._loading, import_tensorflow)

    async def stop(self) -> None:
        """Drain and release everything."""
        await self.server.stop()
        await self._channel.close()
        self._scoring.shutdown()
        self._loading.shutdown(cancel_futures=True)


def _build_head(release: Release) -> Head:
    import_tensorflow()
    return Head(release.weights, release.product_fusion)
