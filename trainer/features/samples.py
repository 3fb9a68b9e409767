"""Training and validation samples: every review with its negatives, as indices into the feature tables."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.data.reviews import Reviews
from trainer.features.history import AsOfFeatures
from trainer.features.negatives import draw_labels, draw_negatives, popularity_weights
from twotower.features import Float32, Int32

NEGATIVES_PER_POSITIVE: Final = 3
SAMPLES_PER_REVIEW: Final = 1 + NEGATIVES_PER_POSITIVE
"""The review itself, then its negatives."""


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

    def thinned(self, max_samples: int) -> "Samples":
        """Every n-th review with its negatives, so that there are at most `max_samples`."""
        every = -(-len(self) // max_samples)
        if every <= 1:
            return self
        rows = np.arange(len(self)).reshape(-1, SAMPLES_PER_REVIEW)[::every].reshape(-1)
        return Samples(self.state[rows], self.product[rows], self.label[rows])


def draw_samples(
    reviews: Reviews, rows: int, features: AsOfFeatures, alpha: float, seed: int
) -> tuple[Samples, Samples]:
    """Draw the samples of the training period and those of the rest.

    A negative of the training period is a product that the user did not review *in the training period*; a negative of
    the rest is one that the user never reviewed in the file. Popularity is that of the training period. The two periods
    have a random stream each, so nothing in the second changes the first.

    Args:
        reviews: in time order.
        rows: of the training period.
        features: as of every review.
        alpha: exponent of popularity.
        seed: of both streams.
    """
    user, product = reviews.user, reviews.product
    weights = popularity_weights(product[:rows], alpha)
    periods = []
    for stream, period, excluding in ((0, slice(0, rows), slice(0, rows)), (1, slice(rows, None), slice(None))):
        rng = np.random.default_rng([seed, stream])
        negatives = draw_negatives(
            user[period], (user[excluding], product[excluding]), weights, k=NEGATIVES_PER_POSITIVE, rng=rng
        )
        labels = draw_labels(negatives.shape, rng)
        periods.append(_interleave(reviews, features, period, negatives, labels))
    return periods[0], periods[1]


def _interleave(reviews: Reviews, features: AsOfFeatures, period: slice, negatives: Int32, labels: Float32) -> Samples:
    """Put each review of the period before its negatives."""
    return Samples(
        np.repeat(features.state[period], SAMPLES_PER_REVIEW),
        np.concatenate([reviews.product[period][:, np.newaxis], negatives], axis=1).reshape(-1),
        np.concatenate([reviews.rating[period][:, np.newaxis], labels], axis=1).reshape(-1),
    )
