"""Popularity of products over time: frozen at a moment, or live as reviews arrive."""

from collections.abc import Callable, Iterator

import numpy as np

from trainer.data.reviews import Reviews
from twotower.features import Float32, Float64, Int64
from twotower.scoring import US_PER_DAY, decayed_counts, log_popularity, shrunk_means

_US_PER_MS = 1000


def frozen_counts(reviews: Reviews, rows: int, half_life_days: float) -> Float64:
    """Time-decayed counts at the end of the training period, its first `rows` reviews: (products,) float64.

    Undated reviews have no age and are left out. A half-life of infinity counts all reviews alike.
    """
    dated = reviews.dated[:rows]
    product, time_us = reviews.product[:rows][dated].astype(np.int64), reviews.time_us[:rows][dated]
    end_ms = int(time_us[-1] // _US_PER_MS) if len(time_us) else 0
    return decayed_counts(product, time_us // _US_PER_MS, end_ms, half_life_days, len(reviews.products))


def frozen_log_popularity(reviews: Reviews, rows: int, half_life_days: float) -> Float32:
    """Log popularity at the end of the training period, its first `rows` reviews: (products,) float32."""
    return log_popularity(frozen_counts(reviews, rows, half_life_days))


def live_counts(reviews: Reviews, rows: Int64, half_life_days: float, *, since: int = 0) -> Iterator[Float64]:
    """Time-decayed counts just before each of `rows`, ascending: what the online counters hold when it arrives.

    Args:
        reviews: in time order.
        rows: reviews.
        half_life_days: after this long a review counts half.
        since: the first review that is counted; later than 0 for a store that begins empty.

    Yields:
        (products,) float64 for each row, of all reviews of an earlier time: most files know the day only, and what else
        was bought that day is not known yet. The same array each time.
    """
    counts, counted, now = np.zeros(len(reviews.products)), since, 0
    product, time_us = reviews.product.tolist(), reviews.time_us.tolist()
    for row, first in zip(rows.tolist(), np.searchsorted(reviews.time_us, reviews.time_us[rows]).tolist(), strict=True):
        for earlier in range(counted, first):
            if time_us[earlier] > now:
                counts *= 2.0 ** (-(time_us[earlier] - now) / US_PER_DAY / half_life_days)
                now = time_us[earlier]
            counts[product[earlier]] += 1.0
        counted = max(counted, first)
        if time_us[row] > now:
            counts *= 2.0 ** (-(time_us[row] - now) / US_PER_DAY / half_life_days)
            now = time_us[row]
        yield counts


def live_matrix(
    reviews: Reviews, rows: Int64, half_life_days: float, log: Callable[[Float64], Float32] = log_popularity
) -> Float32:
    """Log popularity just before each of `rows`: (rows, products) float32.

    Args:
        reviews: in time order.
        rows: reviews, ascending.
        half_life_days: after this long a review counts half.
        log: from counts to log popularity; of shares alone by default.
    """
    result = np.empty((len(rows), len(reviews.products)), np.float32)
    for index, counts in enumerate(live_counts(reviews, rows, half_life_days)):
        result[index] = log(counts)
    return result


def prior_mean(reviews: Reviews, rows: int) -> float:
    """Mean rating of the first `rows` reviews."""
    return float(reviews.rating[:rows].astype(np.float64).mean())


def shrunk_item_means(reviews: Reviews, rows: int) -> Float32:
    """:func:`twotower.scoring.shrunk_means` of the products in the first `rows` reviews: (products,) float32."""
    product, rating = reviews.product[:rows], reviews.rating[:rows].astype(np.float64)
    counts: Float64 = np.bincount(product, minlength=len(reviews.products)).astype(np.float64)
    sums = np.bincount(product, rating, len(reviews.products)).astype(np.float64)
    return shrunk_means(sums, counts, prior_mean(reviews, rows))
