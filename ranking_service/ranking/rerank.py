"""Chooses a user's products from their scores: filters, a limit per brand, diversity, and pages.

A new rule is a field of :class:`Selection` and lines in :func:`eligible` (for all users alike) or :func:`choose`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.release.catalogue import NO_BRAND, Catalogue
from twotower.features import Float32, Int64
from twotower.model import top_k

DIVERSE_POOL: Final = 1_000
"""Products that take part in maximal marginal relevance; a fixed number, so that pages go on with the same ones."""


@dataclass(frozen=True)
class Selection:
    """Which products may be ranked, and how the best of them are chosen.

    Attributes:
        allowed: the product ids that may come back; all if empty.
        denied: product ids that never come back.
        categories: products must be in one of these; any will do if empty.
        brands: products must be of one of these; any will do if empty.
        min_rating: least predicted rating.
        max_per_brand: most products of one brand; no limit if 0.
        diversity: strength of maximal marginal relevance, 0–1.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_rating: float = 0.0
    max_per_brand: int = 0
    diversity: float = 0.0


PLAIN = Selection()
"""The best k of the whole catalogue."""


def eligible(catalogue: Catalogue, selection: Selection) -> NDArray[np.bool_]:
    """Mark the products, (products,) bool, that pass the rules which are the same for every user."""
    mask = catalogue.product_mask(selection.allowed) if selection.allowed else np.ones(len(catalogue), bool)
    if selection.categories:
        mask &= catalogue.category_mask(selection.categories)
    if selection.brands:
        mask &= catalogue.brand_mask(selection.brands)
    if selection.denied:
        mask &= ~catalogue.product_mask(selection.denied)
    mask[list(catalogue.withdrawn)] = False
    return mask


def choose(
    catalogue: Catalogue,
    selection: Selection,
    candidates: NDArray[np.bool_],
    *,
    scores: Float32,
    ratings: Float32,
    hidden: Sequence[int],
    shown: Sequence[int],
    k: int,
) -> list[int]:
    """Choose the next k products of one user's ranking.

    Args:
        catalogue: of the release.
        selection: how they are chosen.
        candidates: (products,) which are eligible for every user.
        scores: (products,) float32 scores of the user.
        ratings: (products,) float32 predicted ratings.
        hidden: rows that must not come back, because the user has reviewed them.
        shown: the ranking so far, in order; those do not come back, and they count for brands and diversity.
        k: at most this many.

    Returns:
        Catalogue rows, best first.
    """
    allowed = candidates & (ratings >= np.float32(selection.min_rating))
    allowed[hidden] = False
    masked = np.where(allowed, scores, np.float32(-np.inf))
    count = int(np.count_nonzero(allowed))
    limit = _BrandLimit(catalogue, selection.max_per_brand, shown)
    taken = set(shown)
    chosen: list[int] = []
    if selection.diversity > 0:
        pool = top_k(masked[np.newaxis], min(DIVERSE_POOL, count))[0]
        chosen = _diverse(catalogue, selection.diversity, scores, pool, k, shown=shown, limit=limit)
        taken.update(chosen)
    for row in _best_first(masked, count, k + len(taken)):
        if len(chosen) == k:
            break
        if row not in taken and limit.admits(row):
            limit.take(row)
            chosen.append(row)
    return chosen


class _BrandLimit:
    """Counts the products of each brand; no brand is limited if `max_per_brand` is 0."""

    def __init__(self, catalogue: Catalogue, max_per_brand: int, shown: Iterable[int]) -> None:
        self._max_per_brand = max_per_brand
        self._codes = catalogue.brand_codes if max_per_brand else np.zeros(0, np.int64)
        self._counts: Counter[int] = Counter()
        for row in shown:
            self.take(row)

    def take(self, row: int) -> None:
        if self._max_per_brand:
            self._counts[int(self._codes[row])] += 1

    def admits(self, row: int) -> bool:
        if not self._max_per_brand:
            return True
        code = int(self._codes[row])
        return code == NO_BRAND or self._counts[code] < self._max_per_brand


def _best_first(masked: Float32, count: int, first: int) -> Iterator[int]:
    """Yield the `count` rows that are not masked, by (−score, row); `first` are ordered at once, more when needed."""
    done = 0
    while done < count:
        ordered = min(max(first, 2 * done), count)
        yield from top_k(masked[np.newaxis], ordered)[0, done:].tolist()
        done = ordered


def _diverse(
    catalogue: Catalogue,
    strength: float,
    scores: Float32,
    pool: Int64,
    k: int,
    *,
    shown: Sequence[int],
    limit: _BrandLimit,
) -> list[int]:
    """Choose from `pool`, best first, by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    ``argmax (1 − strength) · s(i) − strength · max over the products before it of cos(i, j)``, s being the pool's
    scores scaled to 0–1.
    """
    if not len(pool):
        return []
    directions = catalogue.directions[pool]
    pool_scores = scores[pool]
    spread = pool_scores[0] - pool_scores[-1]
    relevance = (pool_scores - pool_scores[-1]) / (spread if spread > 0 else np.float32(1))
    nearest = np.full(len(pool), -np.inf, np.float32)
    # One product at a time, also for those shown before, so that a page goes on with the very numbers that one long
    # ranking would have.
    for row in shown:
        np.maximum(nearest, directions @ catalogue.directions[row], out=nearest)
    free = ~np.isin(pool, shown)
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        penalty = np.float32(strength) * nearest if len(shown) or chosen else np.float32(0)
        marginal = np.where(free, np.float32(1 - strength) * relevance - penalty, np.float32(-np.inf))
        best = int(marginal.argmax())
        free[best] = False
        row = int(pool[best])
        if not limit.admits(row):
            continue
        limit.take(row)
        chosen.append(row)
        np.maximum(nearest, directions @ directions[best], out=nearest)
    return chosen
