"""Negative samples: products that a user never reviewed, drawn by popularity, with a made-up low rating."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import Float32, Int32, Int64

MAX_LABEL: Final = 2.0
"""Labels of negatives are uniform from 0 to this number."""
_WEIGHT_SCALE: Final = 2**24
CHUNK_ROWS: Final = 2**18


def popularity_weights(product: Int32, alpha: float) -> Int64:
    """Weights ∝ popularity^alpha as whole numbers, so that the exclusion below is exact.

    Args:
        product: (rows,) products reviewed in the training period.
        alpha: 0 is uniform, 1 proportional.

    Returns:
        (products,) int64 up to the last product that appears; 0 for one that does not appear, else at least 1.
    """
    counts = np.bincount(product).astype(np.float64)
    share = (counts / counts.max()) ** alpha
    return np.where(counts > 0, np.maximum(np.rint(share * _WEIGHT_SCALE), 1), 0).astype(np.int64)


def draw_negatives(
    user: Int32,
    reviewed: tuple[Int32, Int32],
    weights: Int64,
    *,
    k: int,
    rng: np.random.Generator,
    chunk_rows: int = CHUNK_ROWS,
) -> Int32:
    """Draw k products for every row, with P(product) ∝ weight among the products that the row's user never reviewed.

    One draw per sample, by inverting the cumulated weights with the user's own products cut out: no rejection, whatever
    the history. A user who has reviewed every product has no such product; then nothing is cut out.

    Args:
        user: (rows,) int32.
        reviewed: users and products, (pairs,) int32 each, of all reviews that exclude; repeats do no harm.
        weights: (products,) int64 from :func:`popularity_weights`.
        k: draws per row.
        rng: the only source of randomness.
        chunk_rows: rows that are drawn for at a time; the result is the same for any.

    Returns:
        (rows, k) int32; draws of one row are independent of each other.

    Raises:
        InvalidArgument: fewer than two products have weight.
    """
    if np.count_nonzero(weights) < 2:
        raise InvalidArgument(
            [FieldViolation("products", "must be at least 2 in the training period, or there are no negatives")]
        )
    cumulated = np.cumsum(weights)
    before, total = cumulated - weights, cumulated[-1]
    owner, owned = _distinct_pairs(*reviewed, weights)
    users = 1 + max(int(user.max(initial=0)), int(owner.max(initial=0)))
    lengths = np.bincount(owner, minlength=users)
    starts = np.cumsum(lengths) - lengths
    cut = np.bincount(owner, weights=weights[owned].astype(np.float64), minlength=users).astype(np.int64)
    lengths = np.where(cut < total, lengths, 0)
    allowed = total - np.where(cut < total, cut, 0)
    drawn = np.empty((len(user), k), np.int32)
    for first in range(0, len(user), chunk_rows):
        sample_user = np.repeat(user[first : first + chunk_rows], k)
        draw = rng.integers(0, allowed[sample_user])
        # Owned products ascend, so each that lies at or before the draw shifts it by its own weight.
        active, step = np.arange(len(draw)), 0
        while len(active):
            active = active[lengths[sample_user[active]] > step]
            product = owned[starts[sample_user[active]] + step]
            passed = draw[active] >= before[product]
            active = active[passed]
            draw[active] += weights[product[passed]]
            step += 1
        drawn[first : first + chunk_rows] = np.searchsorted(cumulated, draw, side="right").reshape(-1, k)
    return drawn


def _distinct_pairs(user: Int32, product: Int32, weights: Int64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct (user, product) pairs of products with weight, ordered by user, then product."""
    weighted = product < len(weights)
    weighted[weighted] = weights[product[weighted]] > 0
    pairs = np.unique(user[weighted].astype(np.int64) * len(weights) + product[weighted])
    return pairs // len(weights), pairs % len(weights)


def draw_labels(shape: tuple[int, ...], rng: np.random.Generator, chunk_rows: int = CHUNK_ROWS) -> Float32:
    """Labels uniform in [0, 2), float32; the same for any `chunk_rows` that are drawn at a time."""
    labels = np.empty(shape, np.float32)
    for first in range(0, len(labels), chunk_rows):
        part = labels[first : first + chunk_rows]
        part[:] = rng.uniform(0.0, MAX_LABEL, part.shape)
    return labels
