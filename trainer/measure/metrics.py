"""Ranking metrics of one relevant product among all candidates."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from twotower.features import Float32, Float64, Int64

Group = Literal["all", "warm", "cold"]
CUT: Final = 10
"""Length of the list that nDCG, hit rate, coverage and diversity look at."""


def group_masks(warm: NDArray[np.bool_]) -> dict[Group, NDArray[np.bool_]]:
    """Masks of the rows that each figure is given for: all, those of users with a history, and those of users without.

    Args:
        warm: (rows,) whether the row's user has a history.
    """
    return {"all": np.ones_like(warm), "warm": warm, "cold": ~warm}


def expected_ranks(scores: NDArray[np.floating], target: Int64, excluded: NDArray[np.bool_]) -> Float64:
    """Rank each row's target among the products that are not excluded: 1 is best, ties count at their expected rank.

    Args:
        scores: (rows, products).
        target: (rows,) product; never excluded.
        excluded: (rows, products), products that are no candidates.

    Returns:
        (rows,): 1 + products that score higher + half of the others that score the same.
    """
    own = np.take_along_axis(scores, target[:, np.newaxis], axis=1)
    better = ((scores > own) & ~excluded).sum(axis=1)
    equal = ((scores == own) & ~excluded).sum(axis=1) - 1
    ranks: Float64 = 1.0 + better + equal / 2.0
    return ranks


def ndcg(ranks: Float64, cut: int = CUT) -> Float64:
    """``1 / log2(1 + rank)`` up to rank `cut`, else 0: nDCG of a list with one relevant product."""
    return np.where(ranks <= cut, 1.0 / np.log2(1.0 + ranks), 0.0)


def hit(ranks: Float64, cut: int = CUT) -> Float64:
    """1 up to rank `cut`, else 0."""
    return (ranks <= cut).astype(np.float64)


def reciprocal(ranks: Float64) -> Float64:
    """``1 / rank``; its mean is MRR."""
    return 1.0 / ranks


@dataclass(frozen=True)
class ListQuality:
    """Quality of the lists that all rows together get.

    Attributes:
        coverage: share of the catalogue that is in at least one list.
        diversity: mean over lists of 1 − mean cosine between the texts of two products of the list.
    """

    coverage: float
    diversity: float


def list_quality(lists: Int64, product_vectors: Float32) -> ListQuality:
    """Measure coverage and intra-list diversity.

    Args:
        lists: (rows, n) products.
        product_vectors: (products, 384) text embeddings of unit length.
    """
    coverage = len(np.unique(lists)) / len(product_vectors)
    length = lists.shape[1]
    if length < 2:
        return ListQuality(coverage, 0.0)
    distinct, count = np.unique(np.sort(lists, axis=1), axis=0, return_counts=True)
    # Σ of all cosines, those of a product with itself included, is the squared length of the sum.
    total = np.array([float((product_vectors[row].astype(np.float64).sum(axis=0) ** 2).sum()) for row in distinct])
    own = np.array([float((product_vectors[row].astype(np.float64) ** 2).sum()) for row in distinct])
    cosine = (total - own) / (length * (length - 1))
    return ListQuality(coverage, float(1.0 - (cosine * count).sum() / count.sum()))
