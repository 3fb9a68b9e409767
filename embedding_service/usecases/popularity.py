"""The use case of live popularity: time-decayed review counts of products."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedding_service.ports import HourlyCounts, PopularityStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from embedding_service.usecases.decayed_counts import HORIZON_HALF_LIVES, DecayedCounts
from twotower.features import Float32

MOST_OTHERS: Final = 1000
"""Products in an answer that are not in the catalogue: those that were added since, and what people made up."""
_DAY_S: Final = 86_400
_PRUNE_EVERY_S: Final = 3600.0
_PRUNE_MARGIN_DAYS: Final = 30


@dataclass(frozen=True)
class LivePopularity:
    """Weights of products at a moment.

    Attributes:
        product_ids: products with any weight, in catalogue order, then the heaviest that are not in the catalogue.
        weights: (products,) float32.
        half_life_days: after this long a review counts half.
        as_of_us: the moment, µs since 1970.
    """

    product_ids: list[str]
    weights: Float32
    half_life_days: float
    as_of_us: int


class _Feed:
    """The counts of one release's products, which follow the store: only what has changed is read.

    Args:
        store: hourly counts.
        release: its products and half-life.
    """

    def __init__(self, store: PopularityStore, release: LoadedRelease) -> None:
        self._store = store
        self._encoder_id = release.space.encoder_id
        self.counts = DecayedCounts(release.catalogue_rows, release.half_life_days)
        self._horizon_days = HORIZON_HALF_LIVES * release.half_life_days
        self._position: int | None = None
        self._day_positions: dict[int, int] = {}
        self._loaded_until = 0
        self._following: asyncio.Task[None] | None = None

    async def follow(self, now_s: float) -> None:
        """Bring the counts up to a moment; callers of one time share the work, which goes on if they leave."""
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(now_s))
            # Whoever asked may have left: the error is theirs, and the next caller's attempt is a new one.
            self._following.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._following)

    async def _follow(self, now_s: float) -> None:
        if self._position is None:
            await self._load(now_s)
        while (changes := await self._store.changes(self._encoder_id, self._position or 0)) is not None:
            if not len(changes.hours):
                break
            self._add(changes)
            await asyncio.sleep(0)
        else:  # more has changed than the store remembers
            await self._load(now_s)
        tomorrow = int(now_s // _DAY_S) + 1
        while self._loaded_until < tomorrow:
            self._loaded_until += 1
            await self._load_day(self._loaded_until)
        if not self.counts.advance(now_s):
            await self._load(now_s)
            self.counts.advance(now_s)

    def _add(self, changes: HourlyCounts) -> None:
        assert self._position is not None
        days = changes.hours // 24
        positions = self._position + np.arange(len(days))
        loaded_at = np.array([self._day_positions.get(day, 0) for day in days.tolist()], np.int64)
        self.counts.add(changes.rows((positions >= loaded_at) & (days <= self._loaded_until)))
        self._position += len(days)

    async def _load(self, now_s: float) -> None:
        """Read all days within the horizon, one at a time."""
        self._position = None
        self.counts.clear()
        self._day_positions.clear()
        today = int(now_s // _DAY_S)
        position, days = await self._store.days(self._encoder_id)
        self._loaded_until = today + 1  # what is written of later days is read when they come
        newest = max((day for day in days if day <= today), default=today)
        self.counts.advance(now_s)
        for day in days:
            if newest - self._horizon_days <= day <= self._loaded_until:
                await self._load_day(day)
        self._position = position

    async def _load_day(self, day: int) -> None:
        self._day_positions[day], counts = await self._store.day(self._encoder_id, day)
        self.counts.add(counts)


class Popularity:
    """Answers with live popularity, from memory.

    Args:
        store: hourly counts.
        spaces: loaded releases.
        clock: seconds since 1970.
    """

    def __init__(self, store: PopularityStore, spaces: Spaces, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._spaces = spaces
        self._clock = clock
        self._feeds: dict[str, _Feed] = {}
        self._pruned_at: dict[str, float] = {}

    async def live(self, als_id: str = "") -> LivePopularity:
        """Popularity now, in the product order of an ALS space; that of the active release if `als_id` is empty.

        The moment is now, or the end of the hour of the newest review if that is earlier: shares are the same at any
        later moment, and the weights of a feed that stood still for years would all be zero in float32.

        Raises:
            NotReady, SpaceMismatch, StoreUnavailable.
        """
        release = self._spaces.find_als(als_id)
        feed = self._feed(release)
        await self._store.settle()
        now_s = self._clock()
        await feed.follow(now_s)
        newest_s = feed.counts.newest_end_s(now_s)
        await self._prune(release.space.encoder_id, now_s, newest_s)
        as_of_s = now_s if newest_s is None else min(now_s, newest_s)
        product_ids, weights = feed.counts.weights(as_of_s, MOST_OTHERS)
        return LivePopularity(product_ids, weights.astype(np.float32), release.half_life_days, round(as_of_s * 1e6))

    def _feed(self, release: LoadedRelease) -> _Feed:
        held = {loaded.release_id for loaded in self._spaces.held} | {release.release_id}
        self._feeds = {release_id: feed for release_id, feed in self._feeds.items() if release_id in held}
        return self._feeds.setdefault(release.release_id, _Feed(self._store, release))

    async def _prune(self, encoder_id: str, now_s: float, newest_s: float | None) -> None:
        """Let the store forget days that no release's half-life lets count, now and then."""
        if newest_s is None or now_s - self._pruned_at.get(encoder_id, 0.0) < _PRUNE_EVERY_S:
            return
        self._pruned_at[encoder_id] = now_s
        half_life_days = max((release.half_life_days for release in self._spaces.held), default=np.inf)
        margin_days = HORIZON_HALF_LIVES * half_life_days + _PRUNE_MARGIN_DAYS
        if np.isfinite(margin_days):
            await self._store.prune(encoder_id, int((newest_s - 1) // _DAY_S - margin_days))
