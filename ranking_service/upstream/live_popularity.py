"""Live popularity: the embedding service's decayed counters, fetched every second or so, in catalogue order."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease
from twotower.errors import EmbeddingUnavailable, InvalidArgument
from twotower.features import Float64, Int64
from twotower.scoring import LiftScoring
from twotower.v1 import embedding_service_pb2, ranking_service_pb2
from twotower.wire import from_vector

_LOG = logging.getLogger(__name__)
_HELD_BYTES: Final = 64 * 2**20
_DAY_S: Final = 86_400
_RELEASE: Final = PopularitySnapshot()
_NONE: Final = PopularitySnapshot(source=ranking_service_pb2.POPULARITY_SOURCE_NONE)


@dataclass
class _Counters:
    """The latest counters, and what scores of one release hold of them."""

    product_ids: Sequence[str]
    weights: Float64
    as_of_ns: int
    fetched_at: float
    snapshot: PopularitySnapshot = _RELEASE


class PopularityFeed:
    """Keeps the latest popularity of each release that answers, and what the pages of rankings hold on to.

    Args:
        fetch: the counters of the products of an ALS space; raises EmbeddingUnavailable.
        releases: the releases to keep popularity for.
        interval_s: between two fetches.
        max_age_s: counters that could not be fetched anew for this long are no longer used.
        clock: seconds, monotonic.
        now_s: seconds since 1970.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[embedding_service_pb2.GetPopularityResponse]],
        releases: Callable[[], Iterable[ServedRelease]],
        *,
        interval_s: float,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._fetch = fetch
        self._releases = releases
        self._interval_s = interval_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._now_s = now_s
        self._latest: dict[str, _Counters] = {}
        self._held: OrderedDict[tuple[str, int], PopularitySnapshot] = OrderedDict()
        self._away = False

    def snapshot(self, served: ServedRelease) -> PopularitySnapshot:
        """Return the popularity that scores of a release are to hold now."""
        if not isinstance(served.scoring, LiftScoring):
            return _NONE
        latest = self._latest.get(served.release_id)
        if latest is None or self._clock() - latest.fetched_at > self._max_age_s:
            return _RELEASE
        log = latest.snapshot.log_popularity
        if log is not None and len(log) != len(served.catalogue):  # products were added since
            self._lay_out(served, latest)
        return latest.snapshot

    def hold(self, served: ServedRelease, snapshot: PopularitySnapshot) -> None:
        """Keep a snapshot for later pages; the least recently used go once all together exceed 64 MB."""
        if snapshot.log_popularity is None:
            return
        self._held[served.release_id, snapshot.version] = snapshot
        self._held.move_to_end((served.release_id, snapshot.version))
        while len(self._held) > 1 and len(self._held) * snapshot.log_popularity.nbytes > _HELD_BYTES:
            self._held.popitem(last=False)

    def held(self, served: ServedRelease, version: int) -> PopularitySnapshot:
        """Return the snapshot of an earlier page, or the present one if that is no longer there."""
        if version == 0:
            return _RELEASE if isinstance(served.scoring, LiftScoring) else _NONE
        held = self._held.get((served.release_id, version))
        if held is None or held.log_popularity is None:
            return self.snapshot(served)
        missing = len(served.catalogue) - len(held.log_popularity)
        if missing:
            padded = np.pad(held.log_popularity, (0, missing), constant_values=held.log_popularity.min())
            return PopularitySnapshot(padded, held.version, held.source)
        return held

    async def refresh(self) -> None:
        """Fetch the counters once for every release; what cannot be fetched stays as it was."""
        releases = [served for served in self._releases() if isinstance(served.scoring, LiftScoring)]
        self._latest = {
            served.release_id: self._latest[served.release_id]
            for served in releases
            if served.release_id in self._latest
        }
        for served in releases:
            try:
                await self._refresh(served)
            except (EmbeddingUnavailable, InvalidArgument) as error:
                if not self._away:
                    _LOG.warning("no live popularity: %s", error)
                self._away = True
            else:
                if self._away:
                    _LOG.info("live popularity is back")
                self._away = False

    async def run(self) -> None:
        """Fetch again and again until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:
                _LOG.exception("live popularity could not be refreshed")
            await asyncio.sleep(self._interval_s)

    async def _refresh(self, served: ServedRelease) -> None:
        response = await self._fetch(served.space.als_id)
        weights = from_vector(response.weights, len(response.product_ids), "weights").astype(np.float64)
        if not weights.any():
            # Nothing was reviewed yet: the release knows more.
            self._latest.pop(served.release_id, None)
            return
        counters = _Counters(list(response.product_ids), weights, response.as_of_time.ToNanoseconds(), self._clock())
        await asyncio.to_thread(self._lay_out, served, counters)
        self._latest[served.release_id] = counters

    def _lay_out(self, served: ServedRelease, counters: _Counters) -> None:
        """Weigh the counters, in catalogue order; products that the release does not have are left out."""
        scoring, catalogue = served.scoring, served.catalogue
        assert isinstance(scoring, LiftScoring)
        rows: Int64 = np.array([catalogue.row(product_id) for product_id in counters.product_ids], np.int64)
        in_catalogue = rows >= 0
        counts = np.zeros(len(catalogue))
        np.add.at(counts, rows[in_catalogue], counters.weights[in_catalogue])
        # The counters are as of the newest review; in the time since then they have faded.
        age_days = max(0.0, self._now_s() - counters.as_of_ns / 1e9) / _DAY_S
        log = scoring.live_log_popularity(counts * 2.0 ** (-age_days / scoring.half_life_days))
        counters.snapshot = PopularitySnapshot(log, counters.as_of_ns, ranking_service_pb2.POPULARITY_SOURCE_LIVE)
