"""Training and validation samples: every review with its negatives, as indices into the feature tables."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.history import AsOfFeatures
from trainer.negatives import draw_labels, draw_negatives, popularity_weights
from trainer.reviews import Reviews
from twotower.features import Float32, Int32

NEGATIVES_PER_POSITIVE: Final = 3


@dataclass(frozen=True)
class Samples:
    """Samples of one period; each review is followed by its negatives.

    Attributes:
        state: (samples,) int32 row of the user table.
        product: (samples,) int32 row of the product table.
        label: (samples,) float32 rating.
    """

    state: Int32
    product: Int32
    label: Float32

    def __len__(self) -> int:
        return len(self.label)


def draw_samples(reviews: Reviews, rows: int, features: AsOfFeatures, alpha: float, seed: int) -> tuple[Samples, Samples]:
    """Samples of the training period and of the rest.

    A negative of the training period is a product that the user did not review *in the training period*; of the rest, one that the user
    never reviewed in the file. Popularity is that of the training period. The two periods have a random stream each, so nothing in the
    second changes the first.

    Args:
        reviews: in time order.
        rows: of the training period.
        features: as of every review.
        alpha: exponent of popularity.
        seed: of both streams.
    """
    weights = popularity_weights(reviews.product[:rows], alpha)
    training = np.random.default_rng([seed, 0])
    validation = np.random.default_rng([seed, 1])
    return (
        _samples(reviews, slice(0, rows), slice(0, rows), features, weights, training),
        _samples(reviews, slice(rows, None), slice(None), features, weights, validation),
    )


def _samples(
    reviews: Reviews, period: slice, excluding: slice, features: AsOfFeatures, weights: np.ndarray, rng: np.random.Generator
) -> Samples:
    user, product = reviews.user[period], reviews.product[period]
    shape = (len(user), NEGATIVES_PER_POSITIVE)
    negatives = np.empty(shape, np.int32)
    if len(user):
        negatives = draw_negatives(user, (reviews.user[excluding], reviews.product[excluding]), weights, shape[1], rng)
    labels = draw_labels(shape, rng)
    return Samples(
        np.repeat(features.state[period], 1 + shape[1]),
        np.concatenate([product[:, np.newaxis], negatives], axis=1).reshape(-1),
        np.concatenate([reviews.rating[period][:, np.newaxis], labels], axis=1).reshape(-1),
    )
