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

A file of which more than `max_dropped` of the rows would be dropped is refused; with `strict`, one with any problem but a missing
``reviews.id``, which no rule asks for.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from trainer.datafiniti import REVIEW_ID, RawReviews
from twotower.errors import FieldViolation, InvalidFile
from twotower.features import (
    ANONYMOUS_NAMES,
    DEFAULT_USERNAME,
    MAX_RATING,
    MIN_RATING,
    NO_TEXT,
    NO_TITLE,
    anonymous_keys,
    id_problem,
    is_anonymous,
)

if TYPE_CHECKING:
    import pandas as pd

_SHOWN: Final = 5
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True)
class CleaningOptions:
    """What a user may choose.

    Attributes:
        default_username: author of a review without a name.
        anonymous_names: names that strangers share, compared without case.
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
        """Whether strangers share the name."""
        return is_anonymous(name, self._keys)


@dataclass(frozen=True)
class Problem:
    """One broken rule in all rows that break it.

    Attributes:
        field: column.
        rule: what the value must be.
        action: what was done.
        row_count: rows that break the rule.
        examples: the first of them: row number as a spreadsheet shows it, and the value.
    """

    field: str
    rule: str
    action: str
    row_count: int
    examples: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        shown = ", ".join(f"row {row}: {value[:60]!r}" for row, value in self.examples)
        more = ", …" if self.row_count > len(self.examples) else ""
        return f"{self.rule}, broken in {self.row_count:,} row{'s'[: self.row_count > 1]} ({shown}{more}): {self.action}"


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


def clean(path: Path, raw: RawReviews, options: CleaningOptions) -> "tuple[pd.DataFrame, CleaningReport]":
    """Apply the rules and order the rows.

    Returns:
        Columns ``review_id user_id product_id rating time_us title text name brand categories manufacturer``, in the order
        of (time, review id, user id).

    Raises:
        InvalidFile: too many rows would be dropped, or any problem under `strict`, each named with its rows.
    """
    import pandas as pd

    frame = pd.DataFrame(raw.columns, dtype=object)
    blank = {name: np.array([not value.strip() for value in raw.columns[name]], bool) for name in raw.columns}
    problems = _Problems(raw)
    usable = problems.malformed(raw)
    rating = pd.to_numeric(frame["reviews.rating"].str.strip(), errors="coerce").to_numpy(np.float64)
    usable &= problems.found("reviews.rating", ~_within(rating), f"must be a number from {MIN_RATING:g} to {MAX_RATING:g}", "dropped")
    usable &= problems.found("id", _not_ids(raw.columns["id"]), "must be 1 to 256 bytes", "dropped")
    long_name = ~blank["reviews.username"] & _not_ids(raw.columns["reviews.username"])
    usable &= problems.found("reviews.username", long_name, "must be at most 256 bytes", "dropped")
    for column, fill in (("reviews.username", options.default_username), ("reviews.title", NO_TITLE), ("reviews.text", NO_TEXT)):
        problems.found(column, blank[column], "must not be blank", f"filled with {fill!r}")
        frame[column] = frame[column].where(~blank[column], fill)
    problems.found("manufacturer", blank["manufacturer"], "must not be blank", "filled with the most frequent one of the training period")
    dates = pd.to_datetime(frame["reviews.date"].str.strip(), utc=True, format="ISO8601", errors="coerce")
    problems.found("reviews.date", dates.isna().to_numpy(), "must be an ISO 8601 date", "kept undated, after all dated rows")
    report = CleaningReport(problems.rows_read, int(usable.sum()), problems.all())
    _refuse(path, report, options)
    undated = np.iinfo(np.int64).max
    microseconds = dates.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    frame["time_us"] = np.where(dates.isna().to_numpy(), undated, microseconds)
    frame["rating"] = rating.astype(np.float32)
    return _ordered(frame[usable]), report


class _Problems:
    """Collects problems with the numbers of their rows."""

    def __init__(self, raw: RawReviews) -> None:
        self._raw = raw
        self._all: list[Problem] = []
        self.rows_read = len(raw.row_numbers) + len(raw.malformed)

    def all(self) -> tuple[Problem, ...]:
        return tuple(self._all)

    def malformed(self, raw: RawReviews) -> NDArray[np.bool_]:
        """Report rows of another width than the header; they are not in the columns. All others are usable so far."""
        if raw.malformed:
            found = list(raw.malformed.items())[:_SHOWN]
            examples = tuple((row, wrong if isinstance(wrong, str) else f"{wrong} fields") for row, wrong in found)
            rule = raw.row_rule or f"must have {raw.fields} fields like the header"
            self._all.append(Problem("row", rule, "dropped", len(raw.malformed), examples))
        return np.ones(len(raw.row_numbers), bool)

    def found(self, field: str, broken: NDArray[np.bool_], rule: str, action: str) -> NDArray[np.bool_]:
        """Report the rows where `broken` is true; returns the others."""
        rows = np.flatnonzero(broken)
        if len(rows):
            values = self._raw.columns[field]
            examples = tuple((self._raw.row_numbers[row], values[row]) for row in rows[:_SHOWN].tolist())
            self._all.append(Problem(self._raw.names.get(field, field), rule, action, len(rows), examples))
        return ~broken


def _within(rating: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each rating is on the scale; false for NaN."""
    return (rating >= MIN_RATING) & (rating <= MAX_RATING)


def _not_ids(values: list[str]) -> NDArray[np.bool_]:
    good = {value: id_problem(value) is None and bool(value.strip()) for value in set(values)}
    return np.array([not good[value] for value in values], bool)


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


def _ordered(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Give every row a review id that is unique for its user, and sort."""
    content = ["id", "reviews.username", "reviews.date", "reviews.rating", "reviews.title", "reviews.text"]
    frame = frame.assign(content=[_hash(*row) for row in frame[content].itertuples(index=False)])
    given = [
        id_ if id_.strip() and id_problem(id_) is None else hash_ for id_, hash_ in zip(frame[REVIEW_ID], frame["content"], strict=True)
    ]
    # In time order, so that a later row with an id that is taken changes nothing of an earlier one.
    frame = frame.assign(review_id=given).sort_values(["time_us", "content"], kind="stable")
    repeat = frame.groupby(["reviews.username", "review_id"], sort=False).cumcount()
    frame["review_id"] = [_hash(id_, str(n)) if n else id_ for id_, n in zip(frame["review_id"], repeat, strict=True)]
    names = {"id": "product_id", "reviews.username": "user_id", "reviews.title": "title", "reviews.text": "text"}
    frame = frame.rename(columns=names).sort_values(["time_us", "review_id", "user_id"], kind="stable")
    kept = ["review_id", "user_id", "product_id", "rating", "time_us", "title", "text", "name", "brand", "categories", "manufacturer"]
    return frame[kept].reset_index(drop=True)


def _hash(*values: str) -> str:
    return hashlib.sha256(_SEPARATOR.join(values).encode()).hexdigest()[:32]
