"""Dates of a review file: a column is read as one kind of date, which is told.

==================  ==========================================================================
kind                what it looks like
==================  ==========================================================================
ISO                 ``2017-01-03T08:30:00Z``, ``2017-01-03 08:30:00 UTC``, ``2017/1/3 8:30``, ``20170103``
epoch               whole or broken numbers: seconds, ms, µs or ns since 1970, told by their size
Amazon              ``01 3, 2017``
names of months     ``3 January 2017``, ``Jan 3, 2017``
day first           ``13.01.2017``, ``13/1/2017 8:30``
month first         ``01/13/2017``
==================  ==========================================================================

Anything else, words such as ``today`` among it, is no date. A day before a month and a month before a day look alike:
days above 12 somewhere in the column tell which it is, and without one ``03/01/2017`` is read only where
``--date-format`` says how.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

import numpy as np

from trainer.data.columns import CHUNK_ROWS, Repeated, Strings
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import Int64
from twotower.release_users import UNDATED

_ISO: Final = re.compile(r"\d{4}-\d")
_UNPADDED: Final = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]+(\d{1,2})(:.*)?)?")
_YEAR_LAST: Final = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?:,?[T ]+(\d{1,2})(:.*)?)?")
_UTC: Final = re.compile(r"(?<=\d) ?(?:UTC|GMT)$")
"""How Rails and BigQuery end a time."""
_COMPACT: Final = re.compile(r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE]\+?\d+)?")
_MICROSECONDS: Final = {"s": Decimal(10**6), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
_CALLED: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_NAMES: Final = {"iso": "ISO 8601", "compact": "YYYYMMDD", "day": "day, month, year", "month": "month, day, year"}
_NAMED: Final = ("%m %d, %Y", "%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%d-%b-%Y")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 2199
"""Outside of these years a date stands for none, as 9999-12-31 does; one such row would make all others old."""
_FIRST_US: Final = (datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST_US: Final = (datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - 1
_SAMPLE: Final = 10_000
_DIGIT: Final = re.compile(r"\d")
Reader = Callable[[Sequence[str]], Int64]


def moment(time_us: int) -> datetime:
    """The time that a number of microseconds since 1970 stands for, exactly."""
    return _EPOCH + timedelta(microseconds=time_us)


def read_dates(column: Repeated, date_format: str = "") -> tuple[Int64, Repeated, str]:
    """Read a column as one kind of date.

    Args:
        column: the texts.
        date_format: ``iso``, ``s``, ``ms``, ``us``, ``ns`` or a strptime format; told by the values if "".

    Returns:
        (rows,) int64 microseconds since 1970, UTC, :data:`UNDATED` where a text is no date; the column with numbers
        written as ISO 8601; and the kind, "" for a column of blanks.
    """
    values = column.distinct
    kind = date_format or _kind(values)
    read = _reader(kind)
    times_us = np.full(len(values), UNDATED, np.int64)
    for start in range(0, len(values), CHUNK_ROWS):
        part = [value.strip() for value in values[start : start + CHUNK_ROWS]]
        times_us[start : start + CHUNK_ROWS] = read(part)
    inside = (times_us >= _FIRST_US) & (times_us <= _LAST_US)
    times_us = np.where(inside, times_us, UNDATED)
    if kind in _CALLED:
        # A review's id is made of its date as text: it is the same whichever way a file writes it.
        texts = (
            value if time_us == UNDATED else moment(time_us).isoformat()
            for value, time_us in zip(values, times_us.tolist(), strict=True)
        )
        column_of_texts = Strings.of(texts).numbered()
        return times_us[column.code], Repeated(column_of_texts.distinct, column_of_texts.code[column.code]), _told(kind)
    return times_us[column.code], column, _told(kind)


def _told(kind: str) -> str:
    return f"epoch {_CALLED[kind]}" if kind in _CALLED else _NAMES.get(kind, kind)


def _kind(values: Strings) -> str:
    """The kind of most of the first values."""
    sample = [value for text in values[:_SAMPLE] if (value := text.strip())]
    if not sample:
        return ""
    numbers = [number for value in sample if (number := _number(value)) is not None]
    if 2 * len(numbers) > len(sample):
        compact = sum(bool(_COMPACT.fullmatch(value)) for value in sample)
        if 20 * compact > 19 * len(sample):
            return "compact"
        size = float(np.median([abs(float(number)) for number in numbers]))
        return next(
            (unit for unit, least in (("ns", 1e17), ("us", 1e14), ("ms", 1e11), ("s", 1e8)) if size >= least), ""
        )
    iso = sum(bool(_ISO.match(value) or _UNPADDED.match(value)) for value in sample)
    best, most = "iso", iso
    numbers_first = [match.groups() for value in sample if (match := _YEAR_LAST.fullmatch(value))]
    if len(numbers_first) > most and (first := _first_of(numbers_first)):
        best, most = first, len(numbers_first)
    for name in _NAMED:
        count = int((_formatted(sample[:200], name) != UNDATED).sum()) * len(sample) // min(len(sample), 200)
        if count > most:
            best, most = name, count
    return best


def _first_of(dates: Sequence[tuple[str, ...]]) -> str:
    """Whether the day or the month comes first: numbers above 12 are days. "" if there are none, or on both places."""
    day_first, month_first = (any(int(date[place]) > 12 for date in dates) for place in (0, 1))
    return {(True, False): "day", (False, True): "month"}.get((day_first, month_first), "")


def _reader(kind: str) -> Reader:
    if kind in _MICROSECONDS:
        return lambda values: _epoch(values, _MICROSECONDS[kind])
    if kind == "iso":
        return _iso
    if kind in ("day", "month"):
        return lambda values: _iso([_year_first(value, kind) for value in values])
    if kind == "compact":
        return lambda values: _formatted([value if _COMPACT.fullmatch(value) else "" for value in values], "%Y%m%d")
    if kind:
        return lambda values: _formatted(values, kind)
    return lambda values: np.full(len(values), UNDATED, np.int64)


def _number(value: str) -> Decimal | None:
    if not _NUMBER.fullmatch(value):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _epoch(values: Sequence[str], unit: Decimal) -> Int64:
    times = []
    for value in values:
        number = _number(value)
        time_us = None if number is None else number * unit
        times.append(UNDATED if time_us is None or not _FIRST_US <= time_us <= _LAST_US else round(time_us))
    return np.array(times, np.int64)


def _iso(values: Sequence[str]) -> Int64:
    import pandas as pd

    texts = [_padded(value) for value in values]
    return _microseconds(pd.to_datetime(pd.Series(texts, dtype=object), utc=True, format="ISO8601", errors="coerce"))


def _year_first(value: str, first: str) -> str:
    """A date whose day or month comes first, with its year first; "" for what is none."""
    if not (match := _YEAR_LAST.fullmatch(value)):
        return ""
    one, other, year, hour, rest = match.groups()
    month, day = (other, one) if first == "day" else (one, other)
    return f"{year}-{month}-{day}" + (f" {hour}{rest or ''}" if hour else "")


def _padded(value: str) -> str | None:
    """A date as ISO 8601 writes it; None for what is none."""
    value = _UTC.sub("Z", value)
    if _ISO.match(value) and len(value) >= 10 and value[7] == "-":
        return value
    if not (match := _UNPADDED.fullmatch(value)):
        return value if _ISO.match(value) else None
    year, month, day, hour, rest = match.groups()
    return f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}{rest or ':00'}" if hour else "")


def _formatted(values: Sequence[str], date_format: str) -> Int64:
    import pandas as pd

    # Words alone are no date: pandas would take "today" for one, whatever the format.
    series = pd.Series([value if _DIGIT.search(value) else None for value in values], dtype=object)
    try:
        return _microseconds(pd.to_datetime(series, utc=True, format=date_format, errors="coerce"))
    except ValueError as error:
        message = f"must be iso, s, ms, us, ns or a format such as %d/%m/%Y, got {date_format!r}: {error}"
        raise InvalidArgument([FieldViolation("--date-format", message)]) from error


def _microseconds(dates: "object") -> Int64:
    import pandas as pd

    assert isinstance(dates, pd.Series)
    microseconds = dates.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    times: Int64 = np.where(dates.isna().to_numpy(), UNDATED, microseconds)
    return times
