"""Chooses the products of one user from their scores: filters, limits a brand, diversity, and going on where a page
ended.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranking_service.ranking.jobs import Selection
from ranking_service.release.catalogue import NO_BRAND, Catalogue
from twotower.features import Float32, Int64
from twotower.model import top_k

DIVERSE_POOL: Final = 1_000
"""Products that take part in maximal marginal relevance; a fixed number, so that pages go on with the same ones."""


def eligible(catalogue: Catalogue, selection: Selection) -> NDArray[np.bool_]:
    """The products, (products,) bool, that pass the rules which are the same for every user: all but seen products and
    predicted rating.
    """
    mask = catalogue.mask(selection.allowed) if selection.allowed else np.ones(len(catalogue), bool)
    if selection.categories:
        mask &= catalogue.of_categories(selection.categories)
    if selection.brands:
        mask &= catalogue.of_brands(selection.brands)
    if selection.denied:
        mask &= ~catalogue.mask(selection.denied)
    return mask


def choose(
    catalogue: Catalogue,
    selection: Selection,
    scores: Float32,
    allowed: NDArray[np.bool_],
    k: int,
    *,
    shown: Sequence[int] = (),
) -> list[int]:
    """The next k products of a ranking.

    Args:
        catalogue: of the release.
        selection: how they are chosen.
        scores: (products,) of one user.
        allowed: (products,) which may come back.
        k: at most this many.
        shown: the ranking so far, in order; those don't come back, and they count for brands and diversity.

    Returns:
        Catalogue rows, best first.
    """
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
    """Counts the products of each brand."""

    def __init__(self, catalogue: Catalogue, most: int, shown: Iterable[int]) -> None:
        self._most = most
        self._codes = catalogue.brand_codes if most else np.zeros(0, np.int64)
        self._counts: Counter[int] = Counter()
        for row in shown:
            self.take(row)

    def take(self, row: int) -> None:
        if self._most:
            self._counts[int(self._codes[row])] += 1

    def admits(self, row: int) -> bool:
        if not self._most:
            return True
        code = int(self._codes[row])
        return code == NO_BRAND or self._counts[code] < self._most


def _best_first(masked: Float32, count: int, first: int) -> Iterator[int]:
    """The `count` rows that are not masked, by (−score, row); more and more of them are ordered as they are asked
    for.
    """
    done = 0
    while done < count:
        ready = min(max(first, 2 * done), count)
        yield from top_k(masked[np.newaxis], ready)[0, done:].tolist()
        done = ready


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
    """Greedy maximal marginal relevance over the products of `pool`, best first (Carbonell and Goldstein, SIGIR 1998).

    ``argmax (1 − strength) · s(i) − strength · max over the products before it of cos(i, j)``, s being the pool's
    scores scaled to 0–1.
    """
    if not len(pool):
        return []
    directions = catalogue.directions[pool]
    own = scores[pool]
    spread = own[0] - own[-1]
    relevance = (own - own[-1]) / (spread if spread > 0 else np.float32(1))
    nearest = np.full(len(pool), -np.inf, np.float32)
    # One product at a time, also for those shown before, so that a page goes on with the very numbers that one long
    # ranking would have.
    for row in shown:
        np.maximum(nearest, directions @ catalogue.directions[row], out=nearest)
    free = ~np.isin(pool, shown)
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        penalty = np.float32(strength) * nearest if len(shown) or chosen else np.float32(0)
        worth = np.where(free, np.float32(1 - strength) * relevance - penalty, np.float32(-np.inf))
        best = int(worth.argmax())
        free[best] = False
        row = int(pool[best])
        if not limit.admits(row):
            continue
        limit.take(row)
        chosen.append(row)
        np.maximum(nearest, directions @ directions[best], out=nearest)
    return chosen
