"""Popularity of products over time: frozen at a moment, or live as reviews arrive."""

from collections.abc import Iterator

import numpy as np

from trainer.data.reviews import Reviews
from twotower.features import Float32, Float64, Int64
from twotower.scoring import US_PER_DAY, decayed_counts, log_popularity, shrunk_means

_US_PER_MS = 1000


def frozen_log_popularity(reviews: Reviews, rows: int, half_life_days: float) -> Float32:
    """Log popularity at the end of the training period, its first `rows` reviews: (products,) float32.

    Undated reviews have no age and are left out. A half-life of infinity counts all reviews alike.
    """
    dated = reviews.dated[:rows]
    product, time_us = reviews.product[:rows][dated].astype(np.int64), reviews.time_us[:rows][dated]
    end_ms = int(time_us[-1] // _US_PER_MS) if len(time_us) else 0
    counts = decayed_counts(product, time_us // _US_PER_MS, end_ms, half_life_days, len(reviews.products))
    return log_popularity(counts)


def live_log_popularity(reviews: Reviews, rows: Int64, half_life_days: float) -> Iterator[Float32]:
    """Log popularity just before each of `rows`, ascending: what the online counters hold when that review arrives.

    Yields:
        (products,) float32 for each row, of all reviews of an earlier time: most files know the day only, and what else
        was bought that day is not known yet.
    """
    weights, counted, now = np.zeros(len(reviews.products)), 0, 0
    product, time_us = reviews.product.tolist(), reviews.time_us.tolist()
    for row in np.searchsorted(reviews.time_us, reviews.time_us[rows]).tolist():
        for earlier in range(counted, row):
            if time_us[earlier] > now:
                weights *= 2.0 ** (-(time_us[earlier] - now) / US_PER_DAY / half_life_days)
                now = time_us[earlier]
            weights[product[earlier]] += 1.0
        counted = row
        # Decay up to the row would change no share, and only shares are used.
        yield log_popularity(weights)


def live_matrix(reviews: Reviews, rows: Int64, half_life_days: float) -> Float32:
    """:func:`live_log_popularity` of all `rows`: (rows, products) float32."""
    result = np.empty((len(rows), len(reviews.products)), np.float32)
    for index, values in enumerate(live_log_popularity(reviews, rows, half_life_days)):
        result[index] = values
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
