"""ALS item factors and fold-in: a user's vector from the products that the user reviewed.

Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equation 4: with confidence c
for each reviewed product and 1 for all others, the user vector that minimises the weighted squared error is

    x = (YᵀY + λI + Y_uᵀ (C_u − I) Y_u)⁻¹ Y_uᵀ c

where Y_u are the factors of the reviewed products. With P = YᵀY + λI fixed, the push-through identity turns the 64 × 64
solve into one as small as the number of reviewed products n (most users have one):

    x = P⁻¹ Y_uᵀ (I_n + (C_u − I) K)⁻¹ c,        K = Y_u P⁻¹ Y_uᵀ

Confidence is additive: c = confidence_per_star · Σ ratings of the product by the user, so the result depends on the set
of reviews and never on their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from twotower.features import Float32, Float64


@dataclass(frozen=True)
class ItemFactors:
    """A release's ALS space.

    Attributes:
        factors: (products, dim) float32; a zero row for a product without a review in the training period.
        regularization: λ.
        confidence_per_star: confidence that one star of one review adds.
    """

    factors: Float32
    regularization: float
    confidence_per_star: float

    @cached_property
    def gram(self) -> Float64:
        """YᵀY, (dim, dim) float64."""
        exact = self.factors.astype(np.float64)
        return exact.T @ exact

    @cached_property
    def _projected(self) -> Float64:
        """P⁻¹Yᵀ transposed: (products, dim) float64."""
        dim = self.factors.shape[1]
        system = self.gram + self.regularization * np.eye(dim)
        return np.ascontiguousarray(np.linalg.solve(system, self.factors.T.astype(np.float64)).T)


def fold_in(space: ItemFactors, histories: Sequence[Mapping[int, float]]) -> Float32:
    """ALS vectors of users from their histories.

    Args:
        space: the item factors.
        histories: for each user, product index → sum of the ratings that the user gave it. Products that the space does
            not know are left out by the caller.

    Returns:
        (users, dim) float32; zeros for an empty history. A batch equals its singles bit for bit: users of equal history
        length are solved together, each as a system of its own.
    """
    dim = space.factors.shape[1]
    result = np.zeros((len(histories), dim), np.float32)
    by_length: dict[int, list[int]] = {}
    for user, history in enumerate(histories):
        if history:
            by_length.setdefault(len(history), []).append(user)
    for length, users in by_length.items():
        # Sorted, so that equal sets give equal sums.
        items = np.array([sorted(histories[user]) for user in users])
        stars = np.array(
            [[histories[user][item] for item in row] for user, row in zip(users, items.tolist(), strict=True)],
            np.float64,
        )
        confidence = space.confidence_per_star * stars
        solve = _solve_small if length <= dim else _solve_large
        result[users] = solve(space, items, confidence)
    return result


def _solve_small(space: ItemFactors, items: np.ndarray, confidence: Float64) -> Float64:
    """Push-through form, one (n, n) system per user: items and confidence (users, n) → (users, dim)."""
    projected = space._projected[items]
    kernel = space.factors[items].astype(np.float64) @ projected.transpose(0, 2, 1)
    systems = np.eye(items.shape[1]) + (confidence - 1.0)[:, :, np.newaxis] * kernel
    weights: Float64 = np.linalg.solve(systems, confidence[:, :, np.newaxis])
    vectors: Float64 = (projected * weights).sum(axis=1)
    return vectors


def _solve_large(space: ItemFactors, items: np.ndarray, confidence: Float64) -> Float64:
    """Normal-equation form, one (dim, dim) system per user: items and confidence (users, n) → (users, dim)."""
    dim = space.factors.shape[1]
    base = space.gram + space.regularization * np.eye(dim)
    rows = []
    for user_items, user_confidence in zip(items, confidence, strict=True):
        Y = space.factors[user_items].astype(np.float64)
        rows.append(np.linalg.solve(base + Y.T @ ((user_confidence - 1.0)[:, np.newaxis] * Y), Y.T @ user_confidence))
    return np.array(rows)
