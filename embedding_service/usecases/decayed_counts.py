"""Time-decayed review counts of products, kept in memory and changed review by review."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from embedding_service.ports import HourlyCounts
from twotower.features import Float64, Int64

HORIZON_HALF_LIVES: Final = 24
"""A review older than this weighs less than 2^-24 of a new one, which float32 sums don't show."""
MAX_OTHERS: Final = 20_000
"""Products that are not in the catalogue and are counted all the same, because they may be added ones."""
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_HOURS: Final = 24
_HALF_SECOND: Final = 0.5
_NEVER: Final = -(2**53)  # days or hours since 1970


@dataclass
class _Day:
    """The closed hours of a day: for each product with reviews its row, their number, and their decayed sum as of the
    day's beginning.
    """

    rows: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    sums: Float64 = field(default_factory=lambda: np.zeros(0))
    hours: Int64 = field(default_factory=lambda: np.zeros(_HOURS, np.int64))

    def add(self, rows: Int64, counts: Int64, sums: Float64) -> None:
        """Add to products, those that are there and others."""
        self.rows, places = np.unique(np.concatenate([self.rows, rows]), return_inverse=True)
        self.counts = np.bincount(places, np.concatenate([self.counts, counts])).astype(np.int64)
        self.sums = np.bincount(places, np.concatenate([self.sums, sums])).astype(np.float64)


class DecayedCounts:
    """Sums of 2^(−age / half-life) over reviews, as of any moment.

    An hour's reviews of a product are known by their number and the sum of their whole seconds. Each is weighed by the
    straight line next to the decay within its hour, so that what is added can be taken away again exactly: wrong by at
    most (ln 2 · 0.5 h / half-life)² / 4 of the weight, 1.1e-6 for 7 days, and by half a second. The hour that has just
    begun, and those to come, are kept apart.

    Args:
        catalogue_rows: product id → row.
        half_life_days: after this long a review counts half.
    """

    def __init__(self, catalogue_rows: Mapping[str, int], half_life_days: float) -> None:
        self._catalogue = catalogue_rows
        self._names = list(catalogue_rows)
        self._half_life_s = half_life_days * _DAY_S
        self._horizon_days = HORIZON_HALF_LIVES * half_life_days
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._others: dict[str, int] = {}
        self._days: dict[int, _Day] = {}
        self._open: dict[int, dict[int, tuple[int, int]]] = {}
        self._closed_before = self._newest_day = _NEVER
        self._counts, self._sums = np.zeros(0, np.int64), np.zeros(0)
        self._is_total = False

    def add(self, changes: HourlyCounts) -> None:
        """Add reviews, or take them away where counts are negative."""
        if not len(changes.hours):
            return
        rows = np.array([self._row(product_id) for product_id in changes.product_ids], np.int64)
        is_open = (changes.hours >= self._closed_before) & (rows >= 0)
        for at in np.flatnonzero(is_open).tolist():
            reviews = self._open.setdefault(int(changes.hours[at]), {})
            count, offset_s = reviews.get(int(rows[at]), (0, 0))
            reviews[int(rows[at])] = count + int(changes.counts[at]), offset_s + int(changes.offsets_s[at])
        is_closed = (changes.hours < self._closed_before) & (rows >= 0)
        self._close(rows[is_closed], changes.hours[is_closed], changes.counts[is_closed], changes.offsets_s[is_closed])

    def advance(self, now_s: float) -> bool:
        """Close the hours that are over; false if reviews that were left out as too old must be loaded again."""
        hour = int(now_s // _HOUR_S)
        if hour > self._closed_before:
            self._closed_before = hour
            over = [(h, *item) for h in list(self._open) if h < hour for item in self._open.pop(h).items()]
            if over:
                hours, rows, reviews = (np.array(column, np.int64) for column in zip(*over, strict=True))
                self._close(rows, hours, reviews[:, 0], reviews[:, 1])
        newest_s = self.newest_end_s(now_s)
        newest_day = _NEVER if newest_s is None else int(newest_s - 1) // _DAY_S
        before, self._newest_day = self._newest_day, newest_day
        if newest_day != before:
            self._is_total = False
            self._days = {day: counts for day, counts in self._days.items() if day >= newest_day - self._horizon_days}
            return newest_day > before and len(self._others) < MAX_OTHERS
        return True

    def newest_end_s(self, now_s: float) -> float | None:
        """End of the newest hour that has begun and has reviews."""
        begun = int(now_s // _HOUR_S)
        hours = [h for h, rows in self._open.items() if h <= begun and any(count > 0 for count, _ in rows.values())]
        for day in sorted(self._days, reverse=True):
            if hours and max(hours) >= _HOURS * (day + 1):
                break
            if (reviewed := np.flatnonzero(self._days[day].hours > 0)).size:
                hours.append(_HOURS * day + int(reviewed[-1]))
                break
        return float(_HOUR_S * (max(hours) + 1)) if hours else None

    def weights(self, as_of_s: float, most_others: int) -> tuple[list[str], Float64]:
        """Products with any weight at a moment, not before the last one of `advance`, and their weights.

        Those of the catalogue come in its order, then at most so many others, the heaviest first.
        """
        if not self._is_total:
            self._total()
        faded = 2.0 ** ((_DAY_S * self._newest_day - as_of_s) / self._half_life_s)
        counts, weights = self._counts.copy(), self._sums * faded
        for hour, reviews in self._open.items():
            if hour * _HOUR_S > as_of_s:
                continue
            for row, (count, offset_s) in reviews.items():
                age_s = max(0.0, as_of_s - hour * _HOUR_S - offset_s / count - _HALF_SECOND) if count else 0.0
                counts[row] += count
                weights[row] += count * 2.0 ** (-age_s / self._half_life_s)
        rows = np.flatnonzero((counts > 0) & (weights > 0))
        size = len(self._catalogue)
        known, others = rows[rows < size], rows[rows >= size]
        others = others[np.argsort(-weights[others], kind="stable")][:most_others]
        names = list(self._others)
        product_ids = [self._names[row] for row in known.tolist()] + [names[row - size] for row in others.tolist()]
        return product_ids, weights[np.concatenate([known, others])]

    def _row(self, product_id: str) -> int:
        row = self._catalogue.get(product_id)
        if row is None:
            row = self._others.get(product_id, -1)
            if row < 0 and len(self._others) < MAX_OTHERS:
                row = self._others[product_id] = len(self._catalogue) + len(self._others)
                if self._is_total:
                    self._counts, self._sums = np.append(self._counts, 0), np.append(self._sums, 0.0)
        return row

    def _close(self, rows: Int64, hours: Int64, counts: Int64, offsets_s: Int64) -> None:
        days = hours // _HOURS
        per_second = np.log(2) / self._half_life_s
        since_day_s = (hours - _HOURS * days) * _HOUR_S + _HOUR_S / 2
        line = (
            1 + (per_second * _HOUR_S / 2) ** 2 / 4
        )  # half of what the decay bends away from its tangent at both ends
        since_middle_s = offsets_s + (_HALF_SECOND - _HOUR_S / 2) * counts
        sums = 2.0 ** (since_day_s / self._half_life_s) * (line * counts + per_second * since_middle_s)
        for day in np.unique(days).tolist():
            of_day = days == day
            stored = self._days.setdefault(day, _Day())
            stored.add(rows[of_day], counts[of_day], sums[of_day])
            np.add.at(stored.hours, hours[of_day] - _HOURS * day, counts[of_day])
            if day > self._newest_day:
                self._is_total = False
            elif self._is_total and day >= self._newest_day - self._horizon_days:
                np.add.at(self._counts, rows[of_day], counts[of_day])
                np.add.at(self._sums, rows[of_day], sums[of_day] * self._factor(day))

    def _factor(self, day: int) -> float:
        """What a sum as of a day's beginning is as of the beginning of the newest day."""
        return float(2.0 ** ((day - self._newest_day) * _DAY_S / self._half_life_s))

    def _total(self) -> None:
        """Sum the days up, as of the beginning of the newest one; what was written later is taken back again."""
        oldest = self._newest_day - self._horizon_days
        days = [(day, counts) for day, counts in self._days.items() if oldest <= day <= self._newest_day]
        size = len(self._catalogue) + len(self._others)
        none = np.zeros(0)
        rows = np.concatenate([none, *(counts.rows for _, counts in days)]).astype(np.int64)
        sums = np.concatenate([none, *(counts.sums * self._factor(day) for day, counts in days)])
        reviews = np.concatenate([none, *(counts.counts for _, counts in days)])
        self._sums = np.bincount(rows, sums, size).astype(np.float64)
        self._counts = np.bincount(rows, reviews, size).astype(np.int64)
        self._is_total = True
