"""Live popularity: the embedding service's decayed counters, fetched every second or so and laid out in catalogue
order.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.embedding_client import FeaturesUnavailable
from twotower.errors import InvalidArgument
from twotower.features import Float64, Int64
from twotower.scoring import LiftScoring, log_popularity
from twotower.v1 import embedding_service_pb2, ranking_service_pb2
from twotower.wire import from_vector

_LOG = logging.getLogger(__name__)
_HELD_BYTES: Final = 64 * 2**20


_RELEASE: Final = Snapshot()
_NONE: Final = Snapshot(source=ranking_service_pb2.POPULARITY_SOURCE_NONE)


class PopularityFeed(Protocol):
    """Where the counters come from; :class:`ranking_service.upstream.embedding_client.FeatureClient` is one."""

    async def popularity(self, als_id: str) -> embedding_service_pb2.GetPopularityResponse:
        """The counters; raises FeaturesUnavailable."""


@dataclass
class _Live:
    """The latest counters for one release."""

    product_ids: Sequence[str]
    weights: Float64
    fetched_at: float
    snapshot: Snapshot


class LivePopularity:
    """Keeps the latest popularity of each release that answers, and those that pages hold on to.

    Args:
        feed: the counters.
        releases: the releases to keep it for.
        interval_s: between two fetches.
        max_age_s: counters that could not be fetched anew for this long are no longer used.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        feed: PopularityFeed,
        releases: Callable[[], Iterable[ServedRelease]],
        *,
        interval_s: float,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._releases = releases
        self._interval_s = interval_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._held: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()
        self._away = False

    def snapshot(self, served: ServedRelease) -> Snapshot:
        """What the scores of a release are to hold now."""
        if not isinstance(served.scoring, LiftScoring):
            return _NONE
        live = self._live.get(served.release_id)
        if live is None or self._clock() - live.fetched_at > self._max_age_s:
            return _RELEASE
        log = live.snapshot.log_popularity
        if log is not None and len(log) != len(served.catalogue):  # products were added since
            live.snapshot = _lay_out(served, live.product_ids, live.weights, live.snapshot.version)
        return live.snapshot

    def hold(self, served: ServedRelease, snapshot: Snapshot) -> None:
        """Keep a snapshot for later pages; the longest unused ones are dropped when all together exceed 64 MB."""
        if snapshot.log_popularity is None:
            return
        self._held[served.release_id, snapshot.version] = snapshot
        self._held.move_to_end((served.release_id, snapshot.version))
        while len(self._held) > 1 and len(self._held) * snapshot.log_popularity.nbytes > _HELD_BYTES:
            self._held.popitem(last=False)

    def held(self, served: ServedRelease, version: int) -> Snapshot:
        """The snapshot of an earlier page; the present one if it is no longer there."""
        if version == 0:
            return _RELEASE if isinstance(served.scoring, LiftScoring) else _NONE
        held = self._held.get((served.release_id, version))
        if held is None or held.log_popularity is None:
            return self.snapshot(served)
        missing = len(served.catalogue) - len(held.log_popularity)
        if missing:
            padded = np.pad(held.log_popularity, (0, missing), constant_values=held.log_popularity.min())
            return Snapshot(padded, held.version, held.source)
        return held

    async def refresh(self) -> None:
        """Fetch the counters once for every release; what can't be fetched stays as it was."""
        releases = [served for served in self._releases() if isinstance(served.scoring, LiftScoring)]
        self._live = {
            served.release_id: self._live[served.release_id] for served in releases if served.release_id in self._live
        }
        for served in releases:
            try:
                await self._fetch(served)
            except (FeaturesUnavailable, InvalidArgument) as error:
                if not self._away:
                    _LOG.warning("no live popularity: %s", error)
                self._away = True
            else:
                if self._away:
                    _LOG.info("live popularity is back")
                self._away = False

    async def run(self) -> None:
        """Fetch for ever."""
        while True:
            try:
                await self.refresh()
            except Exception:
                _LOG.exception("live popularity could not be refreshed")
            await asyncio.sleep(self._interval_s)

    async def _fetch(self, served: ServedRelease) -> None:
        response = await self._feed.popularity(served.space.als_id)
        weights = from_vector(response.weights, len(response.product_ids), "weights").astype(np.float64)
        if not weights.any():
            # Nothing was reviewed yet, so nothing is known; the release knows more.
            self._live.pop(served.release_id, None)
            return
        version = response.as_of_time.ToNanoseconds()
        product_ids = list(response.product_ids)
        snapshot = await asyncio.to_thread(_lay_out, served, product_ids, weights, version)
        self._live[served.release_id] = _Live(product_ids, weights, self._clock(), snapshot)


def _lay_out(served: ServedRelease, product_ids: Sequence[str], weights: Float64, version: int) -> Snapshot:
    """Counters in catalogue order; products that the release does not have are left out."""
    catalogue = served.catalogue
    rows: Int64 = np.array([catalogue.row(product_id) for product_id in product_ids], np.int64)
    known = rows >= 0
    counts = np.zeros(len(catalogue))
    np.add.at(counts, rows[known], weights[known])
    return Snapshot(log_popularity(counts), version, ranking_service_pb2.POPULARITY_SOURCE_LIVE)
