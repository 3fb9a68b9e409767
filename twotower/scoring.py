"""From the network's output to the two numbers that a release answers with: the ranking score and the predicted rating.

``rating``: the network's output is both; it is clipped to 0–5 where it is shown as a rating.

``lift``: the score is what the network says of *this* user beyond a cold one, plus the log of popularity,

    score(u, i)  = (s(u, i) − s(cold, i)) / τ + log p(i)
    rating(u, i) = clip(base(i) + slope · (s(u, i) − s(cold, i)), 0, 5)

where p is live popularity, or the popularity at the end of the training period where there is no feed, and base is a
shrunk item mean. Both are one vector operation a user.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from twotower.features import Float32, Float64, Int64
from twotower.model import as_rating

PRIOR_REVIEWS: Final = 10
"""A product's mean rating counts as much as the overall mean when it has this many reviews."""
POPULARITY_FLOOR: Final = 1e-4
"""Added to a product's share of all weight, so that a product nobody has bought lately keeps a finite score."""
_FIRST_PLACES: Final = 10
_NEXT_PLACES: Final = 5
_QUIET: Final = 0.75
"""Part of `least_reviews` from which a shop is as it was seen in training; at 1 it would cost .0003 nDCG@10."""
_FEW_REVIEWS: Final = 4.0
"""Fewer are called silence, whatever training saw."""
_SILENT: Final = 1e-6
MS_PER_DAY: Final = 86_400_000
US_PER_DAY: Final = 1000 * MS_PER_DAY


def decayed_counts(
    product_indices: Int64, times_ms: Int64, as_of_ms: int, half_life_days: float, product_count: int
) -> Float64:
    """Time-decayed review counts: Σ 2^(−age / half-life) over the reviews of each product that are not younger than
    `as_of_ms`.

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
    counts: Float64 = np.bincount(product_indices, weights, product_count).astype(np.float64)
    return counts


def log_popularity(weights: Float64) -> Float32:
    """``log(share + 1e-4)`` of each product, (products,); equal for all products if nothing has any weight."""
    total = weights.sum()
    share = weights / total if total > 0 else np.zeros_like(weights)
    result: Float32 = np.log(share + POPULARITY_FLOOR).astype(np.float32)
    return result


def posterior_shares(prior: Float64, counts: Float64, prior_reviews: float, least_reviews: float) -> Float64:
    """Weigh live counts against the popularity that a release knows.

    ``(m·q + c) / (m + C)``, the mean of a Dirichlet posterior, with m = max(`prior_reviews`, `least_reviews` − C): what
    live counts lack in evidence, the prior fills up. So one review moves a product's share by 1 / `least_reviews` at
    most, however quiet the shop. Where C is smaller than training ever saw, m is larger (:func:`_quiet_mass`).

    Args:
        prior: (products,) shares at the end of the training period, q.
        counts: (products,) time-decayed counts of live reviews, c; C is their sum.
        prior_reviews: what the prior always weighs, in reviews.
        least_reviews: reviews that prior and live counts weigh together at least.

    Returns:
        (products,) shares.
    """
    total = float(counts.sum())
    mass = max(prior_reviews, least_reviews - total, _quiet_mass(prior, total, least_reviews))
    if mass + total <= 0:
        return prior
    shares: Float64 = (mass * prior + counts) / (mass + total)
    return shares


def _quiet_mass(prior: Float64, total: float, least_reviews: float) -> float:
    """What the prior weighs in a shop that is all but silent, in reviews.

    A single review, C = 1, moves a share by at most the gap between tenth and fifteenth place: it brings no product
    into the first ten that was not next to them. From there m + C falls as a power of C to `least_reviews`, which it
    reaches at 0.75 · `least_reviews`: a power, because then the weight of what was counted, C / (m + C), rises as one.

    Args:
        prior: (products,) shares.
        total: C.
        least_reviews: 0 for a release without a prior.
    """
    faded = max(_QUIET * least_reviews, _FEW_REVIEWS)
    places = len(prior)
    if least_reviews <= 0 or total >= faded or places <= _FIRST_PLACES:
        return 0.0
    fifteenth = min(_FIRST_PLACES + _NEXT_PLACES, places)
    shares = -np.partition(-prior, (_FIRST_PLACES - 1, fifteenth - 1))
    gap = max(float(shares[_FIRST_PLACES - 1] - shares[fifteenth - 1]), POPULARITY_FLOOR)
    at_one = 1.0 + 1.0 / gap
    power = np.log(at_one / least_reviews) / np.log(faded)
    return float(at_one * max(total, _SILENT) ** -power) - total


def shrunk_means(sums: Float64, counts: Float64, prior_mean: float) -> Float32:
    """Compute ``(n·r̄ + 10·μ) / (n + 10)`` of each product.

    Args:
        sums: (products,) sums of ratings, n·r̄.
        counts: (products,) numbers of ratings, n.
        prior_mean: μ, the overall mean rating.

    Returns:
        (products,) float32.
    """
    means: Float32 = ((sums + PRIOR_REVIEWS * prior_mean) / (counts + PRIOR_REVIEWS)).astype(np.float32)
    return means


class Scoring(Protocol):
    """How a release turns network outputs (users, products), the products being the whole catalogue, into its two
    numbers.
    """

    def scores(self, network: Float32, live_log_popularity: Float32 | None = None) -> Float32:
        """Ranking scores (users, products); `live_log_popularity` (products,) is None where there is no feed."""

    def ratings(self, network: Float32, products: Int64 | None = None) -> Float32:
        """Predicted ratings (users, products), 0–5; or of catalogue rows `products` (users, k), whose outputs are
        `network` (users, k).
        """


@dataclass(frozen=True)
class RatingScoring:
    """The network's output is both numbers."""

    def scores(self, network: Float32, live_log_popularity: Float32 | None = None) -> Float32:  # noqa: ARG002 - popularity is no part of it
        """The output as it is."""
        return network

    def ratings(self, network: Float32, products: Int64 | None = None) -> Float32:  # noqa: ARG002 - the same for every product
        """The output clipped to 0–5."""
        return as_rating(network)


@dataclass(frozen=True)
class LiftScoring:
    """Personal lift plus log popularity; a shrunk item mean plus the personal part.

    Attributes:
        temperature: τ.
        rating_slope: weight of the personal part in the predicted rating; 0 where it did not help on validation.
        half_life_days: of the popularity counters.
        cold_scores: (products,) network output for a cold named user.
        rating_base: (products,) shrunk item means.
        log_popularity: (products,) at the end of the training period.
        prior_mean: μ, the overall mean rating: the shrunk mean of a product without reviews.
        prior_reviews: reviews that the release's own popularity weighs beside live counts
            (:func:`posterior_shares`).
        least_reviews: reviews that both weigh together at least.
        new_product_share: share of all weight that products have in their first weeks, 0 to 1: the floor of one that is
            added while the release serves, and of which nothing else is known.
        popularity_floor: what is added to each share before the logarithm; () or (products,).
    """

    temperature: float
    rating_slope: float
    half_life_days: float
    cold_scores: Float32
    rating_base: Float32
    log_popularity: Float32
    prior_mean: float
    prior_reviews: float = 0.0
    least_reviews: float = 0.0
    new_product_share: float = 0.0
    popularity_floor: float | Float64 = POPULARITY_FLOOR

    def scores(self, network: Float32, live_log_popularity: Float32 | None = None) -> Float32:
        """``(network − cold) / τ + log p``; without a feed p is the release's own."""
        scores = network - self.cold_scores
        scores /= np.float32(self.temperature)
        scores += self.log_popularity if live_log_popularity is None else live_log_popularity
        return scores

    def live_log_popularity(self, counts: Float64) -> Float32:
        """Log popularity (products,) float32 by :func:`posterior_shares`.

        Args:
            counts: (products,) time-decayed counts of live reviews.
        """
        prior = np.maximum(np.exp(self.log_popularity.astype(np.float64)) - self.popularity_floor, 0.0)
        shares = posterior_shares(prior, counts, self.prior_reviews, self.least_reviews)
        log: Float32 = np.log(shares + self.popularity_floor).astype(np.float32)
        return log

    def ratings(self, network: Float32, products: Int64 | None = None) -> Float32:
        """``base + slope · (network − cold)``, clipped to 0–5."""
        base, cold = self.rating_base, self.cold_scores
        if products is not None:
            base, cold = base.take(products), cold.take(products)
        return as_rating(base + np.float32(self.rating_slope) * (network - cold))
