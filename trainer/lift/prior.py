"""How much a release's own popularity weighs beside live counts, fitted on the training period alone.

Live counts are evidence, and a few of them are noise. So they are weighed against the popularity at the end of the
training period (:func:`twotower.scoring.posterior_shares`), in every store: one that knows all reviews, one that began
empty when the release was published, one of a shop that has gone quiet.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.data.reviews import Reviews
from trainer.features.history import first_of_moment, seen_mask
from trainer.features.popularity import frozen_counts, live_counts
from trainer.measure.folds import Fold
from trainer.measure.metrics import expected_ranks, ndcg
from twotower.features import Float64, Int64
from twotower.scoring import POPULARITY_FLOOR, US_PER_DAY, posterior_shares

PRIOR_REVIEWS: Final = (1.0, 3.0, 10.0, 30.0, 100.0)
NEW_PRODUCT_DAYS: Final = 30.0
_QUIETEST: Final = 0.01
_OF_THE_QUIETEST: Final = 0.4
"""Shops fade: at more than half of the quietest evidence that was seen, the prior would get in the way of the next
burst (docs/adr/0029-live-popularity-is-a-posterior.md)."""


@dataclass(frozen=True)
class PopularityPrior:
    """Weight of the release's own popularity.

    Attributes:
        prior_reviews: reviews that it weighs beside any number of live ones.
        least_reviews: reviews that prior and live counts weigh together at least: 0.4 of the evidence, in time-decayed
            counts, that 99 % of the reviews on the inner folds came upon.
        new_product_share: geometric mean of the shares of products in the first 30 days after their first review.
    """

    prior_reviews: float = 1.0
    least_reviews: float = 0.0
    new_product_share: float = 0.0


def fit_prior(reviews: Reviews, folds: list[Fold], half_life_days: float) -> PopularityPrior:
    """Fit the weights by how popularity alone ranks the next reviews, on folds of the training period.

    `prior_reviews` is the smallest whose nDCG@10 is within one standard error, of the paired difference, of the best.
    """
    test = np.concatenate([fold.test for fold in folds])
    evidence, new_product_share = _evidence(reviews, test, half_life_days)
    least_reviews = _OF_THE_QUIETEST * float(np.quantile(evidence, _QUIETEST))
    quality = np.concatenate([_quality(reviews, fold, half_life_days, least_reviews) for fold in folds], axis=1)
    losses = quality[int(quality.mean(axis=1).argmax())] - quality
    allowed = losses.std(axis=1) / np.sqrt(losses.shape[1])
    chosen = PRIOR_REVIEWS[int(np.flatnonzero(losses.mean(axis=1) <= allowed)[0])]
    return PopularityPrior(chosen, least_reviews, new_product_share)


def _quality(reviews: Reviews, fold: Fold, half_life_days: float, least_reviews: float) -> Float64:
    """nDCG@10 of a fold's test rows with each of :data:`PRIOR_REVIEWS`: (weights, test rows)."""
    before = first_of_moment(reviews, fold.test)
    target, seen = reviews.product[fold.test].astype(np.int64), seen_mask(reviews, before)
    seen[np.arange(len(fold.test)), target] = False
    prior = frozen_counts(reviews, fold.training, half_life_days)
    prior /= max(prior.sum(), 1e-12)
    scores = np.empty((len(PRIOR_REVIEWS), len(fold.test), len(prior)), np.float32)
    for row, counts in enumerate(live_counts(reviews, fold.test, half_life_days)):
        for weight, prior_reviews in enumerate(PRIOR_REVIEWS):
            scores[weight, row] = posterior_shares(prior, counts, prior_reviews, least_reviews)
    return np.stack([ndcg(expected_ranks(of_weight, target, seen)) for of_weight in scores])


def _evidence(reviews: Reviews, rows: Int64, half_life_days: float) -> tuple[Float64, float]:
    """Sum of live counts at the moment of each of `rows`, (rows,), and the share that new products have then.

    The share is the geometric mean over moments and over the products that had their first review lately.
    """
    first_us = np.full(len(reviews.products), np.iinfo(np.int64).max)
    np.minimum.at(first_us, reviews.product, reviews.time_us)
    sums, total, number = np.empty(len(rows)), 0.0, 0
    for index, counts in enumerate(live_counts(reviews, rows, half_life_days)):
        row, sums[index] = rows[index], counts.sum()
        age_days = (reviews.time_us[row] - first_us) / US_PER_DAY
        new = counts[(age_days > 0) & (age_days <= NEW_PRODUCT_DAYS)]
        total += float(np.log(new / max(sums[index], 1e-12) + POPULARITY_FLOOR).sum())
        number += len(new)
    return sums, max(0.0, float(np.exp(total / number)) - POPULARITY_FLOOR) if number else 0.0
