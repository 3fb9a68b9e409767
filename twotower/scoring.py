"""From the network's output to the two numbers that a release answers with: the ranking score and the predicted rating.

``rating``: the network's output is both; it is clipped to 0–5 where it is shown as a rating.

``lift``: the score is what the network says of *this* user beyond a cold one, plus the log of popularity,

    score(u, i)  = (s(u, i) − s(cold, i)) / τ + log p(i)
    rating(u, i) = clip(base(i) + slope · (s(u, i) − s(cold, i)), 0, 5)

where p is live popularity, or the popularity at the end of the training period where there is no feed, and base is a shrunk item mean. Both are one
vector operation a user.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from twotower.features import Float32, Float64, Int64
from twotower.model import as_rating

POPULARITY_FLOOR: Final = 1e-4
"""Added to a product's share of all weight, so that a product nobody has bought lately keeps a finite score."""
MS_PER_DAY: Final = 86_400_000


def decayed_counts(product_indices: Int64, times_ms: Int64, as_of_ms: int, half_life_days: float, product_count: int) -> Float64:
    """Time-decayed review counts: Σ 2^(−age / half-life) over the reviews of each product that are not younger than `as_of_ms`.

    Args:
        product_indices: (reviews,) row of each review's product.
        times_ms: (reviews,) Unix time in milliseconds.
        as_of_ms: the moment to decay to; later reviews do not count.
        half_life_days: after this long a review counts half.
        product_count: length of the result.

    Returns:
        (product_count,) float64.
    """
    age_days = (as_of_ms - times_ms) / MS_PER_DAY
    weights = np.where(age_days >= 0, np.exp2(-np.maximum(age_days, 0) / half_life_days), 0.0)
    return np.bincount(product_indices, weights, product_count)


def log_popularity(weights: Float64) -> Float32:
    """``log(share + 1e-4)`` of each product, (products,); equal for all products if nothing has any weight."""
    total = weights.sum()
    share = weights / total if total > 0 else np.zeros_like(weights)
    result: Float32 = np.log(share + POPULARITY_FLOOR).astype(np.float32)
    return result


@dataclass(frozen=True)
class Scoring:
    """How a release turns the network's output into scores and ratings.

    Attributes:
        kind: ``rating`` or ``lift``; the rest is for ``lift`` only.
        temperature: τ.
        rating_slope: weight of the personal part in the predicted rating; 0 where it did not help on validation.
        half_life_days: of the popularity counters.
        cold_scores: (products,) network output for a cold named user.
        rating_base: (products,) shrunk item means.
        log_popularity: (products,) at the end of the training period.
    """

    kind: Literal["rating", "lift"] = "rating"
    temperature: float = 1.0
    rating_slope: float = 0.0
    half_life_days: float = 7.0
    cold_scores: Float32 | None = None
    rating_base: Float32 | None = None
    log_popularity: Float32 | None = None

    def scores(self, network: Float32, live_log_popularity: Float32 | None = None) -> Float32:
        """Ranking scores (users, products) from network outputs (users, products); without a feed the release's own popularity counts."""
        if self.kind == "rating":
            return network
        popularity = self.log_popularity if live_log_popularity is None else live_log_popularity
        return (network - self.cold_scores) / np.float32(self.temperature) + popularity

    def ratings(self, network: Float32) -> Float32:
        """Predicted ratings, 0–5, in the shape of `network`, whose last axis is the whole catalogue."""
        if self.kind == "rating":
            return as_rating(network)
        assert self.rating_base is not None
        return as_rating(self.rating_base + np.float32(self.rating_slope) * (network - self.cold_scores))
