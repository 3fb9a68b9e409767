"""The cleaning rules: what is filled, what is dropped, what is refused, and a report of all of it.

==================  =======================================  ==========================================
field               rule                                     otherwise
==================  =======================================  ==========================================
id                  1 to 256 bytes                           row dropped
reviews.rating      a number from 0 to 5, or on the scale    row dropped
reviews.username    not blank, at most 256 bytes             blank: the placeholder; too long: row dropped
reviews.title       not blank                                ``No Title``
reviews.text        not blank                                ``No Review``
reviews.date        of the column's one kind of date         kept *undated*: after all dated rows
manufacturer        not blank                                most frequent one of the training period
reviews.id          1 to 256 bytes, unique for the user      a hash of the review's content
==================  =======================================  ==========================================

Titles, texts and what is said of products lose HTML: tags go, entities become characters. A name that fills blanks and
stands for many rows is nobody: see :func:`is_shared_placeholder`.

A file of which more than `max_dropped` of the rows would be dropped is refused; with `strict`, one with any problem but
a missing ``reviews.id``, which no rule asks for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Repeated, Strings
from trainer.data.dates import FIRST_YEAR, LAST_YEAR, read_dates
from trainer.data.ordering import ordered
from trainer.data.raw import RawReviews, SourceOptions
from trainer.data.values import without_markup
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
from twotower.suppressions import Suppressions

_SHOWN: Final = 5
_DECIMAL_COMMA: Final = re.compile(r"^([+-]?\d+),(\d+)$")
_FEW_ROWS: Final = 10
_MANY_ROWS: Final = 100
_SMALL_SHARE: Final = 0.01
_MARKED_UP: Final = ("title", "text", "name", "brand", "categories", "manufacturer")
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
        suppressions: users who were deleted, whose rows from before are left out.
    """

    default_username: str = DEFAULT_USERNAME
    anonymous_names: tuple[str, ...] = ANONYMOUS_NAMES
    max_dropped: float = 0.01
    strict: bool = False
    suppressions: Suppressions = field(default_factory=Suppressions)

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
    examples: tuple[tuple[int | str, str], ...]

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
        notes: sentences on what was recognised, guessed, counted or left out.
    """

    rows_read: int
    rows_kept: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


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


def is_shared_placeholder(rows: int, of: int) -> bool:
    """Whether the name that fills blanks stands for so many rows that it is nobody.

    More than 100 rows, or more than 10 that are more than 1 % of all: one person would hardly have written them.
    """
    return rows > _MANY_ROWS or (rows > _FEW_ROWS and rows > _SMALL_SHARE * of)


def clean(
    path: Path | str, raw: RawReviews, options: CleaningOptions, source: SourceOptions | None = None
) -> tuple[CleanRows, CleaningReport, tuple[str, ...]]:
    """Apply the rules and order the rows.

    Returns:
        The rows, what was found, and the names that stand for anybody.

    Raises:
        InvalidFile: too many rows would be dropped, or any problem under `strict`, each named with its rows.
    """
    source = source or SourceOptions()
    columns = dict(raw.columns)
    notes = list(raw.notes)
    blank = {
        name: columns[name].distinct.test(lambda value: not value.strip()) for name in (*_FILLS, "id", "manufacturer")
    }
    problems = _Problems(raw)
    rating, usable, rated_rows = _ratings(raw, source, problems, notes)
    no_id = _too_long(columns["id"].distinct) | blank["id"]
    usable &= problems.report("id", no_id[columns["id"].code], "must be 1 to 256 bytes", "dropped")
    user = columns["reviews.username"]
    long_name = ~blank["reviews.username"] & _too_long(user.distinct)
    usable &= problems.report("reviews.username", long_name[user.code], "must be at most 256 bytes", "dropped")
    nameless = int((blank["reviews.username"][user.code] & usable).sum())
    for name, fill in {**_FILLS, "reviews.username": options.default_username}.items():
        problems.report(name, blank[name][columns[name].code], "must not be blank", f"filled with {fill!r}")
        columns[name] = columns[name].filled(blank[name], fill)
    no_maker = blank["manufacturer"][columns["manufacturer"].code]
    problems.report(
        "manufacturer", no_maker, "must not be blank", "filled with the most frequent one of the training period"
    )
    time_us, columns["reviews.date"], kind = read_dates(columns["reviews.date"], source.date_format)
    date_rule = f"must be a date from {FIRST_YEAR} to {LAST_YEAR}" + (f" ({kind})" if kind else "")
    problems.report("reviews.date", time_us == UNDATED, date_rule, "kept undated, after all dated rows")
    notes += _date_notes(raw, time_us, kind)
    anonymous_names = options.anonymous_names
    if is_shared_placeholder(nameless, int(usable.sum())) and not options.is_anonymous(options.default_username):
        anonymous_names = (*anonymous_names, options.default_username)
        notes.append(
            f"{nameless:,} rows have no user name: {options.default_username!r}, which fills them, counts as anonymous"
        )
    suppressed = _suppressed(columns["reviews.username"], time_us, options, anonymous_names) & usable
    if suppressed.any():
        usable, rated_rows = usable & ~suppressed, rated_rows - int(suppressed.sum())
        notes.append(f"{int(suppressed.sum()):,} rows of users who were deleted since are left out (--suppressions)")
    report = CleaningReport(rated_rows + len(raw.malformed), int(usable.sum()), tuple(problems.reported), tuple(notes))
    _refuse(path, report, options)
    rows = np.flatnonzero(usable)
    used = {name: column.take(rows) for name, column in columns.items()}
    order, review_id = ordered(used, time_us[rows])
    if repeats := _repeats(used):
        report = replace(report, notes=(*notes, f"{repeats:,} rows repeat another exactly: all are kept and count"))
    rows = rows[order]
    kept = {field: columns[column].take(rows) for field, column in _KEPT.items()}
    kept |= {field: _without_markup(kept[field]) for field in _MARKED_UP}
    cleaned = CleanRows(review_id=review_id, rating=rating[rows].astype(np.float32), time_us=time_us[rows], **kept)
    return cleaned, report, anonymous_names


def _suppressed(
    users: Repeated, time_us: Int64, options: CleaningOptions, anonymous_names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Which rows are from before their user was deleted, (rows,) bool; undated ones are."""
    if not options.suppressions:
        return np.zeros(len(time_us), bool)
    keys = anonymous_keys(anonymous_names)
    never = np.iinfo(np.int64).min
    deleted_us = np.array(
        [
            never if is_anonymous(name, keys) or (time := options.suppressions.deleted_us(name)) is None else time
            for name in users.distinct
        ],
        np.int64,
    )[users.code]
    return np.asarray((deleted_us != never) & ((time_us <= deleted_us) | (time_us == UNDATED)), bool)


def _ratings(
    raw: RawReviews, source: SourceOptions, problems: "_Problems", notes: list[str]
) -> tuple[Float64, NDArray[np.bool_], int]:
    """Stars of every row, (rows,) float64; which rows are usable; and how many were not left out as unrated."""
    given = _numbers(raw.columns["reviews.rating"])
    low, high = source.rating_scale or (MIN_RATING, MAX_RATING)
    zeros = int((given == 0).sum())
    unrated = (given == 0) & source.zero_is_unrated
    # False for NaN.
    rated = (given >= low) & (given <= high)
    problems.report("reviews.rating", ~rated & ~unrated, f"must be a number from {low:g} to {high:g}", "dropped")
    known = given[np.isfinite(given) & ~unrated]
    if len(known) and (known.min() < low or known.max() > high):
        hint = f"ratings reach from {known.min():g} to {known.max():g}: --rating-scale LOW-HIGH reads another scale"
        if zeros and not source.zero_is_unrated:
            hint += f"; {zeros:,} are 0: --zero-is-unrated leaves them out if that means not rated"
        notes.append(hint)
    if source.rating_scale:
        notes.append(f"ratings from {low:g} to {high:g} are read as {_stars(low, high)[0]:g} to {MAX_RATING:g} stars")
    if source.zero_is_unrated:
        notes.append(f"{zeros:,} rows with the rating 0 are left out as not rated")
    elif zeros and low <= 0 and len(known[known != 0]) and known[known != 0].min() >= 1:
        notes.append(f"{zeros:,} ratings are 0 and count as zero stars: --zero-is-unrated leaves such rows out")
    lowest, factor = _stars(low, high)
    stars = given if not source.rating_scale else np.clip(lowest + (given - low) * factor, MIN_RATING, MAX_RATING)
    return stars, rated & ~unrated, len(given) - int(unrated.sum())


def _stars(low: float, high: float) -> tuple[float, float]:
    """Stars of the lowest rating of a scale, and stars per point; a scale that ends at five stars is ours."""
    if low >= MIN_RATING and high == MAX_RATING:
        return low, 1.0
    lowest = 1.0 if low >= 1 else MIN_RATING
    return lowest, (MAX_RATING - lowest) / (high - low)


def _date_notes(raw: RawReviews, time_us: Int64, kind: str) -> list[str]:
    notes = []
    if kind and kind != "ISO 8601" and (time_us != UNDATED).any():
        notes.append(f"{raw.names.get('reviews.date', 'reviews.date')} is read as {kind}")
    if len(time_us) and (time_us == UNDATED).all():
        notes.append(
            "no row has a date that is read: the rows have no order, no user has a history while the network learns, "
            "and there is no temporal evaluation (--column date=… names the column, --date-format how it is written)"
        )
    return notes


def _repeats(columns: Mapping[str, Repeated]) -> int:
    """How many rows have the same user, product, rating, date, title and text as one before them."""
    import pandas as pd

    same = ("id", "reviews.username", "reviews.date", "reviews.rating", "reviews.title", "reviews.text", "reviews.id")
    return int(pd.DataFrame({name: columns[name].code for name in same}).duplicated().sum())


def _without_markup(column: Repeated) -> Repeated:
    import pyarrow.compute as pc

    marked = pc.match_substring_regex(column.distinct.array, "[<&]")
    if not pc.any(marked).as_py():
        return column
    plain = Strings.of(without_markup(value) if "<" in value or "&" in value else value for value in column.distinct)
    again = plain.numbered()
    return Repeated(again.distinct, again.code[column.code])


def _numbers(column: Repeated) -> Float64:
    """Read numbers: (rows,) float64, NaN where a string is no number; a comma may be the decimal sign."""
    import pandas as pd

    distinct = pd.Series([_DECIMAL_COMMA.sub(r"\1.\2", value.strip()) for value in column.distinct], dtype=object)
    values: Float64 = pd.to_numeric(distinct, errors="coerce").to_numpy(np.float64)
    return values[column.code]


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
            examples = tuple((self._raw.row_label(row), values[row]) for row in rows[:_SHOWN].tolist())
            self.reported.append(Problem(self._raw.names.get(field, field), rule, action, len(rows), examples))
        return ~broken


def _too_long(values: Strings) -> NDArray[np.bool_]:
    """Which strings are too long for an id or have a NUL, as :func:`twotower.features.id_problem` says of one."""
    import pyarrow.compute as pc

    bad = pc.or_(pc.greater(pc.binary_length(values.array), MAX_ID_BYTES), pc.match_substring(values.array, "\0"))
    return np.asarray(bad.to_numpy(zero_copy_only=False), bool)


def _refuse(path: Path | str, report: CleaningReport, options: CleaningOptions) -> None:
    dropped = report.rows_read - report.rows_kept
    refused = list(report.problems) if options.strict else []
    if not refused and (dropped > options.max_dropped * report.rows_read or not report.rows_kept):
        refused = [problem for problem in report.problems if problem.action == "dropped"]
    if refused:
        violations = [FieldViolation(problem.field, str(problem)) for problem in refused]
        if not options.strict:
            bound = f"must be at most {options.max_dropped:.1%} of the rows, got {dropped:,} of {report.rows_read:,}"
            violations.append(FieldViolation("dropped rows", bound))
            violations += [FieldViolation("--rating-scale", note) for note in report.notes if "--rating-scale" in note]
        raise InvalidFile(path, violations)
