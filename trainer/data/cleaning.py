"""The cleaning rules: what is filled, what is dropped, what is refused, and a report of all of it.

==================  =======================================  ==========================================
field               rule                                     otherwise
==================  =======================================  ==========================================
id                  1 to 256 bytes                           row dropped
reviews.rating      a number from 0 to 5                     row dropped
reviews.username    not blank, at most 256 bytes             blank: the placeholder; too long: row dropped
reviews.title       not blank                                ``No Title``
reviews.text        not blank                                ``No Review``
reviews.date        ISO 8601, with or without zone: UTC      kept *undated*: after all dated rows
manufacturer        not blank                                most frequent one of the training period
reviews.id          1 to 256 bytes, unique for the user      a hash of the review's content
==================  =======================================  ==========================================

A file of which more than `max_dropped` of the rows would be dropped is refused; with `strict`, one with any problem but
a missing ``reviews.id``, which no rule asks for.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import CHUNK_ROWS, Repeated, Strings
from trainer.data.ordering import ordered
from trainer.data.raw import RawReviews
from twotower.errors import FieldViolation, InvalidFile
from twotower.features import (
    ANONYMOUS_NAMES,
    DEFAULT_USERNAME,
    MAX_ID_BYTES,
    MAX_RATING,
    MIN_RATING,
    NO_TEXT,
    NO_TITLE,
    Float32,
    Float64,
    Int64,
    anonymous_keys,
    is_anonymous,
)
from twotower.release_users import UNDATED

_SHOWN: Final = 5
_FILLS: Final = {"reviews.username": DEFAULT_USERNAME, "reviews.title": NO_TITLE, "reviews.text": NO_TEXT}
_KEPT: Final = {
    "user_id": "reviews.username",
    "product_id": "id",
    "title": "reviews.title",
    "text": "reviews.text",
    "name": "name",
    "brand": "brand",
    "categories": "categories",
    "manufacturer": "manufacturer",
}


@dataclass(frozen=True)
class CleaningOptions:
    """What a user may choose.

    Attributes:
        default_username: author of a review without a name.
        anonymous_names: names that stand for anybody, compared without case.
        max_dropped: largest share of the rows that may be dropped, 0 to 1.
        strict: refuse a file with any problem.
    """

    default_username: str = DEFAULT_USERNAME
    anonymous_names: tuple[str, ...] = ANONYMOUS_NAMES
    max_dropped: float = 0.01
    strict: bool = False

    @cached_property
    def _keys(self) -> frozenset[str]:
        return anonymous_keys(self.anonymous_names)

    def is_anonymous(self, name: str) -> bool:
        """Whether the name stands for anybody."""
        return is_anonymous(name, self._keys)


@dataclass(frozen=True)
class Problem:
    """One broken rule, with all rows that break it.

    Attributes:
        field: the column.
        rule: what its value must be.
        action: what was done.
        row_count: rows that break the rule.
        examples: the first of these rows: number as a spreadsheet shows it, and value.
    """

    field: str
    rule: str
    action: str
    row_count: int
    examples: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        shown = ", ".join(f"row {row}: {value[:60]!r}" for row, value in self.examples)
        more = ", …" if self.row_count > len(self.examples) else ""
        return (
            f"{self.rule}, broken in {self.row_count:,} row{'s'[: self.row_count > 1]} ({shown}{more}): {self.action}"
        )


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning found.

    Attributes:
        rows_read: rows of the file.
        rows_kept: rows that are left.
        problems: in the order of the rules.
    """

    rows_read: int
    rows_kept: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class CleanRows:
    """Usable rows, in the order of (time, review id, user id).

    Attributes:
        review_id, user_id, product_id, title, text, name, brand, categories, manufacturer: one string per row.
        rating: (rows,) float32 stars.
        time_us: (rows,) int64, see :class:`~trainer.data.reviews.Reviews`.
    """

    review_id: Strings
    user_id: Repeated
    product_id: Repeated
    rating: Float32
    time_us: Int64
    title: Repeated
    text: Repeated
    name: Repeated
    brand: Repeated
    categories: Repeated
    manufacturer: Repeated


def clean(path: Path, raw: RawReviews, options: CleaningOptions) -> tuple[CleanRows, CleaningReport]:
    """Apply the rules and order the rows.

    Raises:
        InvalidFile: too many rows would be dropped, or any problem under `strict`, each named with its rows.
    """
    columns = dict(raw.columns)
    blank = {
        name: columns[name].distinct.test(lambda value: not value.strip()) for name in (*_FILLS, "id", "manufacturer")
    }
    problems = _Problems(raw)
    rating = _numbers(columns["reviews.rating"])
    # False for NaN.
    rated = (rating >= MIN_RATING) & (rating <= MAX_RATING)
    usable = problems.report(
        "reviews.rating", ~rated, f"must be a number from {MIN_RATING:g} to {MAX_RATING:g}", "dropped"
    )
    no_id = _too_long(columns["id"].distinct) | blank["id"]
    usable &= problems.report("id", no_id[columns["id"].code], "must be 1 to 256 bytes", "dropped")
    user = columns["reviews.username"]
    long_name = ~blank["reviews.username"] & _too_long(user.distinct)
    usable &= problems.report("reviews.username", long_name[user.code], "must be at most 256 bytes", "dropped")
    for name, fill in {**_FILLS, "reviews.username": options.default_username}.items():
        problems.report(name, blank[name][columns[name].code], "must not be blank", f"filled with {fill!r}")
        columns[name] = columns[name].filled(blank[name], fill)
    no_maker = blank["manufacturer"][columns["manufacturer"].code]
    problems.report(
        "manufacturer", no_maker, "must not be blank", "filled with the most frequent one of the training period"
    )
    time_us = _times(columns["reviews.date"])
    problems.report(
        "reviews.date", time_us == UNDATED, "must be an ISO 8601 date", "kept undated, after all dated rows"
    )
    report = CleaningReport(len(raw.row_numbers) + len(raw.malformed), int(usable.sum()), tuple(problems.reported))
    _refuse(path, report, options)
    rows = np.flatnonzero(usable)
    order, review_id = ordered({name: column.take(rows) for name, column in columns.items()}, time_us[rows])
    rows = rows[order]
    kept = {field: columns[column].take(rows) for field, column in _KEPT.items()}
    return CleanRows(review_id=review_id, rating=rating[rows].astype(np.float32), time_us=time_us[rows], **kept), report


def _numbers(column: Repeated) -> Float64:
    """Read numbers: (rows,) float64, NaN where a string is no number."""
    import pandas as pd

    distinct = pd.Series([value.strip() for value in column.distinct], dtype=object)
    values: Float64 = pd.to_numeric(distinct, errors="coerce").to_numpy(np.float64)
    return values[column.code]


def _times(column: Repeated) -> Int64:
    """Read dates: (rows,) int64 microseconds since 1970, UTC; :data:`UNDATED` where a string is no date."""
    import pandas as pd

    times_us = np.empty(len(column.distinct), np.int64)
    for start in range(0, len(times_us), CHUNK_ROWS):
        part = pd.Series([value.strip() for value in column.distinct[start : start + CHUNK_ROWS]], dtype=object)
        dates = pd.to_datetime(part, utc=True, format="ISO8601", errors="coerce")
        microseconds = dates.astype("datetime64[us, UTC]").astype("int64").to_numpy()
        times_us[start : start + CHUNK_ROWS] = np.where(dates.isna().to_numpy(), UNDATED, microseconds)
    return times_us[column.code]


class _Problems:
    """Collects problems with the numbers of their rows, those of malformed rows first."""

    def __init__(self, raw: RawReviews) -> None:
        self._raw = raw
        self.reported: list[Problem] = []
        if raw.malformed:
            shown = list(raw.malformed.items())[:_SHOWN]
            examples = tuple((row, wrong if isinstance(wrong, str) else f"{wrong} fields") for row, wrong in shown)
            rule = raw.row_rule or f"must have {raw.fields} fields like the header"
            self.reported.append(Problem("row", rule, "dropped", len(raw.malformed), examples))

    def report(self, field: str, broken: NDArray[np.bool_], rule: str, action: str) -> NDArray[np.bool_]:
        """Report the rows where `broken` is true; returns the others, (rows,) bool."""
        rows = np.flatnonzero(broken)
        if len(rows):
            values = self._raw.columns[field]
            examples = tuple((self._raw.row_numbers[row], values[row]) for row in rows[:_SHOWN].tolist())
            self.reported.append(Problem(self._raw.names.get(field, field), rule, action, len(rows), examples))
        return ~broken


def _too_long(values: Strings) -> NDArray[np.bool_]:
    """Which strings are too long for an id or have a NUL, as :func:`twotower.features.id_problem` says of one."""
    import pyarrow.compute as pc

    bad = pc.or_(pc.greater(pc.binary_length(values.array), MAX_ID_BYTES), pc.match_substring(values.array, "\0"))
    return np.asarray(bad.to_numpy(zero_copy_only=False), bool)


def _refuse(path: Path, report: CleaningReport, options: CleaningOptions) -> None:
    dropped = report.rows_read - report.rows_kept
    refused = list(report.problems) if options.strict else []
    if not refused and (dropped > options.max_dropped * report.rows_read or not report.rows_kept):
        refused = [problem for problem in report.problems if problem.action == "dropped"]
    if refused:
        violations = [FieldViolation(problem.field, str(problem)) for problem in refused]
        if not options.strict:
            bound = f"must be at most {options.max_dropped:.1%} of the rows, got {dropped:,} of {report.rows_read:,}"
            violations.append(FieldViolation("dropped rows", bound))
        raise InvalidFile(path, violations)
