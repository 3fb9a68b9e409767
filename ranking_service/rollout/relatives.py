"""What a product without a history inherits from the products whose texts are like its own, and who is to see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twotower.features import ALS_COLUMNS, ALS_DIM, FIXED_POINT_SCALE, Float32, Int16, Int64
from twotower.scoring import POPULARITY_FLOOR, LiftScoring

_ROWS: Final = 4096
"""Texts that are read at a time: 6 MB."""
_NEW_ROWS: Final = 512
"""New texts that are compared with them at a time: 8 MB of likenesses."""
_WIDTH: Final = 0.05
"""Likeness is 0 for any two products and 1 for the same text; one that is this much less like it counts 1 / e."""
_SURE: Final = 2 / 3
"""A preference that counts in full: ALS gives a reviewed product about 1 after one review, and less after many."""
_PLACE: Final = 3
"""New products are as popular as the product at this place, to a user who surely would choose their like."""


def inherited_factors(texts: Int16, factors: Float32, new_texts: Float32) -> Float32:
    """ALS factors for products that nobody has reviewed: a mean of those of the products with the most similar texts.

    The mean is multiplied by the square of how near the nearest is, 0 for a product that is no more like it than any
    two are like each other, 1 for the same text.

    Args:
        texts: (products, 384) embeddings of the catalogue's texts in fixed point; read in parts, it may be mapped.
        factors: (products, 64) ALS factors; zeros for a product without any.
        new_texts: (k, 384) of unit length.

    Returns:
        (k, 64) float32.
    """
    known = np.flatnonzero(factors.any(axis=1))
    if not len(known) or not len(new_texts):
        return np.zeros((len(new_texts), ALS_DIM), np.float32)
    rows = [known[start : start + _ROWS] for start in range(0, len(known), _ROWS)]
    mean = sum(texts[part].sum(axis=0, dtype=np.float64) for part in rows) / FIXED_POINT_SCALE / len(known)
    any_two = float(mean @ mean)
    blocks = [new_texts[start : start + _NEW_ROWS] for start in range(0, len(new_texts), _NEW_ROWS)]
    return np.concatenate([_inherited(texts, factors, rows, any_two, block) for block in blocks])


def _inherited(texts: Int16, factors: Float32, rows: Sequence[Int64], any_two: float, new_texts: Float32) -> Float32:
    """The mean over some rows of the catalogue for a few new texts; `any_two` is the mean cosine of two texts."""
    weights, total = np.zeros((len(new_texts), ALS_DIM)), np.zeros((len(new_texts), 1))
    nearest = np.zeros((len(new_texts), 1))
    for part in rows:
        likeness = (new_texts @ (texts[part].T / np.float32(FIXED_POINT_SCALE)) - any_two) / max(1.0 - any_two, 1e-9)
        near = np.exp((likeness - 1.0) / _WIDTH)
        weights += near @ factors[part]
        total += near.sum(axis=1, keepdims=True)
        nearest = np.maximum(nearest, likeness.max(axis=1, keepdims=True))
    inherited: Float32 = (np.minimum(nearest, 1.0) ** 2 * weights / np.maximum(total, 1e-300)).astype(np.float32)
    return inherited


@dataclass(frozen=True)
class Introduction:
    """Shows new products to the users who know their relatives.

    Popularity says nothing for a product that nobody could review yet. To a user who, by ALS, would choose what it is
    like, it is as popular as the third most popular product; to all others, as new products are; in between, as the
    mean of both by that preference.

    Attributes:
        factors: (k, 64) by :func:`inherited_factors`.
        odds: how many times as popular the third most popular product is.
        temperature: of the release's scores.
    """

    factors: Float32
    odds: float
    temperature: float

    @classmethod
    def of(cls, scoring: LiftScoring, factors: Float32) -> "Introduction":
        """The introduction of products with these factors to a release's users."""
        popular = np.sort(scoring.log_popularity)[-_PLACE:][0]
        odds = float(np.exp(popular)) / (POPULARITY_FLOOR + scoring.new_product_share)
        return cls(factors, max(odds, 1.0), scoring.temperature)

    def __call__(self, user_rows: Float32) -> Float32:
        """What the network's output is to have in addition, (users, 449) → (users, k) float32; 0 for cold users."""
        preference = np.clip(user_rows[:, ALS_COLUMNS] @ self.factors.T / np.float32(_SURE), 0, 1)
        added: Float32 = np.float32(self.temperature) * np.log1p(preference * np.float32(self.odds - 1))
        return added
