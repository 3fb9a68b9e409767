"""The use case of live popularity: time-decayed review counts of products."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedding_service.ports import HourlyCounts, PopularityStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from twotower.features import Float32, Float64

HORIZON_HALF_LIVES: Final = 24
"""A review older than this weighs less than 2^-24 of a new one, which float32 sums don't show."""
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


@dataclass(frozen=True)
class LivePopularity:
    """Weights of products at a moment.

    Attributes:
        product_ids: products with any weight, in catalogue order, then those that are not in the catalogue, by id.
        weights: (products,) float32.
        half_life_days: after this long a review counts half.
        as_of_us: the moment, µs since 1970.
    """

    product_ids: list[str]
    weights: Float32
    half_life_days: float
    as_of_us: int


class Popularity:
    """Answers with live popularity.

    Args:
        store: hourly counts.
        spaces: loaded releases.
        clock: seconds since 1970.
    """

    def __init__(self, store: PopularityStore, spaces: Spaces, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._spaces = spaces
        self._clock = clock

    async def live(self, als_id: str = "") -> LivePopularity:
        """Popularity now, in the product order of an ALS space; that of the active release if `als_id` is empty.

        The moment is now, or the end of the hour of the newest review if that is earlier: shares are the same at any
        later moment, and the weights of a feed that stood still for years would all be zero in float32.

        Raises:
            NotReady, SpaceMismatch, StoreUnavailable.
        """
        release = self._spaces.find_als(als_id)
        now_us = round(self._clock() * 1e6)
        await self._store.settle()
        counts = await self._store.hourly_counts(
            release.space.encoder_id, now_us, HORIZON_HALF_LIVES * release.half_life_days
        )
        begun = counts.hours * _HOUR_S <= now_us / 1e6
        newest_us = (int(counts.hours[begun].max()) + 1) * _HOUR_S * 1_000_000 if begun.any() else now_us
        as_of_us = min(now_us, newest_us)
        weights = decayed_weights(counts, as_of_us / 1e6, release.half_life_days)
        product_ids, sums = _by_product(counts, weights, release)
        return LivePopularity(product_ids, sums, release.half_life_days, as_of_us)


def decayed_weights(counts: HourlyCounts, as_of_s: float, half_life_days: float) -> Float64:
    """Weights of rows, (rows,) float64: count · 2^(−age of the mean time / half-life); 0 for an hour not begun yet.

    Taking the mean time for the times is wrong by at most (ln 2 · 0.5 h / half-life)² / 2 of the weight: 2.1e-6 for 7
    days, 1.1e-4 for one.
    """
    starts_s = counts.hours * float(_HOUR_S)
    ages_s = as_of_s - starts_s - counts.offsets_s / np.maximum(counts.counts, 1)
    decay = np.exp2(-np.maximum(ages_s, 0) / (half_life_days * _DAY_S))
    weights: Float64 = np.where(starts_s <= as_of_s, counts.counts * decay, 0.0)
    return weights


def _by_product(counts: HourlyCounts, weights: Float64, release: LoadedRelease) -> tuple[list[str], Float32]:
    sums: dict[str, float] = {}
    for product_id, weight in zip(counts.product_ids, weights.tolist(), strict=True):
        sums[product_id] = sums.get(product_id, 0.0) + weight
    order: Mapping[str, int] = release.catalogue_rows
    last = len(order)
    product_ids = sorted(
        (name for name, weight in sums.items() if weight > 0), key=lambda name: (order.get(name, last), name)
    )
    return product_ids, np.array([sums[name] for name in product_ids], np.float32)
