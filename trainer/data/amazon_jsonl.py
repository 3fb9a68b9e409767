"""The public Amazon review dumps of 2014, 2018 and 2023: JSONL, one object per review or product.

===================  =========================  ====================
column               2014, 2018                 2023
===================  =========================  ====================
id                   ``asin``                   ``parent_asin``
reviews.username     ``reviewerID``             ``user_id``
reviews.rating       ``overall``                ``rating``
reviews.title        ``summary``                ``title``
reviews.text         ``reviewText``             ``text``
reviews.date         ``unixReviewTime``, s      ``timestamp``, ms
name                 ``title``                  ``title``
brand                ``brand``                  ``store``
categories           ``categories``,            ``categories``
                     ``category``
manufacturer         –                          ``details.Manufacturer``
===================  =========================  ====================
"""

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from trainer.data.columns import Builder
from trainer.data.raw import REQUIRED, REVIEW_ID, RawReviews, inspect_text, open_bytes
from twotower.errors import FieldViolation, InvalidFile

_REVIEW_KEYS: Final = {
    "id": ("parent_asin", "asin"),
    "reviews.username": ("reviewerID", "user_id"),
    "reviews.rating": ("overall", "rating"),
    "reviews.title": ("summary", "title"),
    "reviews.text": ("reviewText", "text"),
    "reviews.date": ("unixReviewTime", "timestamp", "sort_timestamp"),
}
_NEEDED: Final = ("id", "reviews.username", "reviews.rating")
_LATEST_SECONDS: Final = 10**11
"""A larger number is milliseconds: in seconds it would be after the year 5000."""


def read_amazon(path: Path, metadata: Path | None, names: Mapping[str, str]) -> RawReviews:
    """Read reviews and what the metadata says of their products.

    Args:
        path: reviews, gzipped or not.
        metadata: products; without it they have no name but their id.
        names: column → key, where the file calls it otherwise.

    Raises:
        InvalidFile: not UTF-8, broken gzip, a needed key that no line has, no rows, or a metadata line that is not a
            JSON object.
    """
    sha256 = inspect_text(path)
    products = _products(metadata) if metadata else {}
    keys = {name: (names[name],) if name in names else usual for name, usual in _REVIEW_KEYS.items()}
    columns = (*REQUIRED, REVIEW_ID)
    builder = Builder(columns)
    row_numbers = array("q")
    malformed: dict[int, int | str] = {}
    used: dict[str, str] = {}
    for number, line in _lines(path):
        row = _object(line)
        if row is None:
            malformed[number] = line
            continue
        values = {name: _first(row, keys[name], name, used) for name in keys}
        values["reviews.date"] = _date(values["reviews.date"])
        product = products.get(values["id"]) or {"name": values["id"]}
        builder.append(values[name] if name in values else product.get(name, "") for name in columns)
        row_numbers.append(number)
    if not row_numbers:
        raise InvalidFile(
            path, [FieldViolation("rows", f"must be at least 1, got 0; {len(malformed)} lines are no JSON objects")]
        )
    missing = [name for name in _NEEDED if name not in used]
    if missing:
        raise InvalidFile(path, [FieldViolation(" or ".join(keys[name]), "no line has this key") for name in missing])
    if metadata:
        sha256 = hashlib.sha256(f"{sha256} {inspect_text(metadata)}".encode()).hexdigest()
    return RawReviews(builder.finish(), row_numbers, malformed, 0, sha256, "must be a JSON object", used)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text:
                yield number, text


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _first(row: Mapping[str, Any], keys: tuple[str, ...], name: str, used: dict[str, str]) -> str:
    """The value of the first key that the row has, noting the key."""
    for key in keys:
        if key in row:
            used.setdefault(name, key)
            return "" if row[key] is None else str(row[key])
    return ""


def _date(value: str) -> str:
    """Unix seconds or milliseconds as ISO 8601; anything else as it is, for the cleaning rules to judge."""
    try:
        number = float(value)
        seconds = number if abs(number) < _LATEST_SECONDS else number / 1000
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return value


def _products(path: Path) -> dict[str, dict[str, str]]:
    inspect_text(path)
    products = {}
    broken = []
    for number, line in _lines(path):
        row = _object(line)
        if row is None:
            broken.append(number)
            continue
        details = row.get("details")
        maker = details.get("Manufacturer") if isinstance(details, dict) else None
        values = {
            "name": row.get("title"),
            "brand": row.get("brand") or row.get("store"),
            "categories": ",".join(dict.fromkeys(_flat(row.get("categories") or row.get("category")))),
            "manufacturer": row.get("manufacturer") or maker,
        }
        key = str(row.get("parent_asin") or row.get("asin") or "")
        products[key] = {name: str(value or "") for name, value in values.items()}
    if broken:
        shown = ", ".join(map(str, broken[:5]))
        raise InvalidFile(
            path, [FieldViolation("line", f"must be a JSON object, broken in {len(broken):,} lines ({shown})")]
        )
    return products


def _flat(value: Any) -> Iterator[str]:
    """Names in lists of lists, in order."""
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif value:
        yield str(value)
