"""Constants of the data, fitted on the training period alone: half-life of popularity, weight of text similarity."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.reviews import Reviews
from trainer.features.history import FIRST_WARM, first_of_moment, seen_mask
from trainer.features.popularity import frozen_log_popularity, live_matrix
from trainer.lift.inputs import LiftInputs
from trainer.lift.prior import PopularityPrior, fit_prior
from trainer.measure.folds import Fold, rolling_folds
from trainer.measure.metrics import expected_ranks, ndcg
from twotower.features import BERT_COLUMNS, Float32, Float64

HALF_LIVES_DAYS: Final = (3.0, 5.0, 7.0, 10.0, 14.0, 30.0, 60.0, 120.0, 365.0, 1095.0)
SIMILARITY_WEIGHTS: Final = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4)
MAX_CELLS: Final = 40_000_000
"""Scores of so many (test row, product) pairs are looked at: 160 MB."""
_INNER_FOLDS: Final = 4


@dataclass(frozen=True)
class Calibration:
    """What differs from one shop to the next.

    Attributes:
        half_life_days: with which popularity, counted as reviews arrive, ranks the next review best. Popularity frozen
            at the end of a period has the same one: how it ranks the next period rests on a handful of moments and says
            less.
        similarity_weight: standard deviations of text similarity, beside log popularity, that rank best for users with
            a history.
        prior: how much the release's own popularity weighs beside live counts.
    """

    half_life_days: float
    similarity_weight: float
    prior: PopularityPrior

    def constants(self) -> dict[str, float]:
        """All numbers by name."""
        return {
            "half_life_days": self.half_life_days,
            "similarity_weight": self.similarity_weight,
            **asdict(self.prior),
        }

    def with_half_life(self, half_life_days: float | None) -> "Calibration":
        """The same with another half-life; with the fitted one if that is None."""
        if half_life_days is None or half_life_days == self.half_life_days:
            return self
        # Evidence, the sum of decayed counts, grows with the half-life.
        least_reviews = self.prior.least_reviews * half_life_days / self.half_life_days
        return replace(self, half_life_days=half_life_days, prior=replace(self.prior, least_reviews=least_reviews))


def fit_calibration(inputs: LiftInputs) -> Calibration:
    """Choose each constant by nDCG@10 on rolling folds inside the training period; nothing later is looked at."""
    reviews, features = inputs.reviews, inputs.features
    dated = int(reviews.dated[: inputs.rows].sum())
    folds = thinned(rolling_folds(dated, _INNER_FOLDS), len(reviews.products))
    tests = np.concatenate([fold.test for fold in folds])
    before = first_of_moment(reviews, tests)
    target, seen = reviews.product[tests].astype(np.int64), seen_mask(reviews, before)
    # A product that was reviewed before is ranked all the same where it is the answer.
    seen[np.arange(len(tests)), target] = False

    def quality(scores: Float32) -> Float64:
        return ndcg(expected_ranks(scores, target, seen))

    half_life = max(HALF_LIVES_DAYS, key=lambda value: float(quality(live_matrix(reviews, tests, value)).mean()))
    prior = fit_prior(reviews, folds, half_life)
    warm = features.state[before] >= FIRST_WARM
    if not warm.any():
        return Calibration(half_life, 0.0, prior)
    similarity = standardised_similarity(features.states[features.state[before]], inputs.product_vectors)
    frozen = _frozen_popularity(reviews, folds, half_life)
    weight = max(
        SIMILARITY_WEIGHTS, key=lambda value: float(quality(frozen + np.float32(value) * similarity)[warm].mean())
    )
    return Calibration(half_life, weight, prior)


def thinned(folds: list[Fold], products: int, max_cells: int = MAX_CELLS) -> list[Fold]:
    """Folds that test on every n-th row only, where all rows × products would be more than `max_cells`."""
    every = -(-sum(len(fold.test) for fold in folds) * products // max_cells)
    return [Fold(fold.training, fold.test[::every]) for fold in folds]


def _frozen_popularity(reviews: Reviews, folds: list[Fold], half_life_days: float) -> Float32:
    """Log popularity at the start of each row's fold: (test rows of all folds, products) float32."""
    return np.concatenate(
        [np.tile(frozen_log_popularity(reviews, fold.training, half_life_days), (len(fold.test), 1)) for fold in folds]
    )


def standardised_similarity(users: Float32, product_vectors: Float32) -> Float32:
    """Cosine of each user's mean embedding to each product's text, standardised over the catalogue.

    Args:
        users: (users, 449) user rows.
        product_vectors: (products, 384) of unit length.

    Returns:
        (users, products) float32, of mean 0 and deviation 1 in each row.
    """
    means = users[:, BERT_COLUMNS]
    cosine = (means @ product_vectors.T) / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return standardised(cosine)


def standardised(signal: NDArray[np.floating[Any]]) -> Float32:
    """Shift and scale each row of (users, products) to mean 0 and deviation 1; zeros where all products are alike."""
    deviation = np.maximum(signal.std(axis=1, keepdims=True), 1e-9)
    result: Float32 = ((signal - signal.mean(axis=1, keepdims=True)) / deviation).astype(np.float32)
    return result


def effective_rows(weights: Float64) -> float:
    """``(Σ w)² / Σ w²``: how many equally weighted rows are as informative."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if len(weights) else 0.0


def row_half_life_days(ages_days: Float64, at_least_rows: int, shortest: float = 180.0) -> float:
    """Half-life with which the weights of old rows fade.

    It is the shortest that still leaves `at_least_rows` effective rows, or half of all if they are fewer.
    """
    half_life, enough = shortest, min(at_least_rows, 0.5 * len(ages_days))
    while half_life < 2**20 and effective_rows(np.exp2(-ages_days / half_life)) < enough:
        half_life *= 2.0
    return half_life
