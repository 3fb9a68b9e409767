"""The Datafiniti review schema, 25 columns, and its reader. The trainer needs ten of them and takes an eleventh where it is there."""

import codecs
import csv
import gzip
import hashlib
import io
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Final, cast

import numpy as np

from trainer.columns import CHUNK_ROWS, Builder, Repeated, Strings
from twotower.errors import FieldViolation, InvalidFile

COLUMNS: Final = (
    "id",
    "brand",
    "categories",
    "dateAdded",
    "dateUpdated",
    "ean",
    "keys",
    "manufacturer",
    "manufacturerNumber",
    "name",
    "reviews.date",
    "reviews.dateAdded",
    "reviews.dateSeen",
    "reviews.didPurchase",
    "reviews.doRecommend",
    "reviews.id",
    "reviews.numHelpful",
    "reviews.rating",
    "reviews.sourceURLs",
    "reviews.text",
    "reviews.title",
    "reviews.userCity",
    "reviews.userProvince",
    "reviews.username",
    "upc",
)
"""All columns, in the file's order."""

REQUIRED: Final = (
    "id",
    "name",
    "brand",
    "categories",
    "manufacturer",
    "reviews.date",
    "reviews.rating",
    "reviews.text",
    "reviews.title",
    "reviews.username",
)
"""Columns that a file must have."""

REVIEW_ID: Final = "reviews.id"
"""Read where it is there."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True)
class RawReviews:
    """A file as it is, before any rule.

    Attributes:
        columns: column → one string a row; those of :data:`REQUIRED` and :data:`REVIEW_ID` (blanks if the file has no such column).
        row_numbers: (rows,) number of each row as a spreadsheet shows it: the header is row 1.
        malformed: rows left out because they have another number of fields than the header: row number → fields, or what else is wrong.
        fields: fields of the header.
        sha256: of the uncompressed bytes, hex.
        row_rule: what a row must be; told by `fields` if "".
        names: column → what the file calls it, where that differs.
    """

    columns: dict[str, Repeated]
    row_numbers: Sequence[int]
    malformed: Mapping[int, int | str]
    fields: int
    sha256: str
    row_rule: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def read_raw(path: Path, names: Mapping[str, str] | None = None) -> RawReviews:
    """Read a CSV file, gzipped or not (told by its content).

    Args:
        path: the file.
        names: column of the schema → column of the file, where the file calls it otherwise.

    Raises:
        InvalidFile: no such file, not UTF-8 (with the offset and the line), a broken gzip stream, not CSV, a column missing, or no rows.
    """
    sha256 = inspect_text(path)
    with open_bytes(path) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            return _read_rows(path, reader, sha256, names or {})
        except csv.Error as error:
            raise InvalidFile(path, [FieldViolation(f"line {reader.line_num}", f"must be CSV: {error}")]) from error


def _read_rows(path: Path, reader: "Iterator[list[str]]", sha256: str, names: Mapping[str, str]) -> RawReviews:
    header = next(reader, [])
    missing = [names.get(name, name) for name in REQUIRED if names.get(name, name) not in header]
    if missing:
        found = ", ".join(header[:30])
        raise InvalidFile(path, [FieldViolation(name, f"column is missing; the header has: {found}"[:500]) for name in missing])
    places = {name: header.index(names.get(name, name)) for name in (*REQUIRED, REVIEW_ID) if names.get(name, name) in header}
    builder = Builder(places)
    row_numbers = array("q")
    malformed: dict[int, int | str] = {}
    number = 2
    while rows := list(islice(reader, CHUNK_ROWS)):
        good = []
        for place, row in enumerate(rows, start=number):
            if len(row) == len(header):
                good.append(row)
                row_numbers.append(place)
            elif row:  # a blank line is no row
                malformed[place] = len(row)
        builder.extend(Strings.of([row[place] for row in good]) for place in places.values())
        number += len(rows)
    if not row_numbers and not malformed:
        raise InvalidFile(path, [FieldViolation("rows", "must be at least 1, got 0")])
    columns = with_review_id(builder.finish(), len(row_numbers))
    return RawReviews(columns, row_numbers, malformed, len(header), sha256, names=names)


def with_review_id(columns: dict[str, Repeated], rows: int) -> dict[str, Repeated]:
    """Columns with a blank :data:`REVIEW_ID` if they have none."""
    return {REVIEW_ID: Repeated(Strings.of([""]), np.zeros(rows, np.int32)), **columns}


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The uncompressed bytes of a file."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield cast(IO[bytes], unpacked)
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be whole gzip: {error}")]) from error
    except OSError as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be readable: {error.strerror or error}")]) from error


def inspect_text(path: Path) -> str:
    """Hex sha256 of the uncompressed bytes; refuses what is not UTF-8 text."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, lines = 0, 1
    with open_bytes(path) as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                bad = offset - pending + error.start
                line = lines + chunk[: max(0, error.start - pending)].count(b"\n")
                byte = error.object[error.start]
                raise InvalidFile(
                    path, [FieldViolation("encoding", f"must be UTF-8, got byte 0x{byte:02x} at offset {bad}, line {line}")]
                ) from error
            if b"\0" in chunk:
                place = offset + chunk.index(b"\0")
                raise InvalidFile(path, [FieldViolation("file", f"must be CSV text, got a NUL byte at offset {place}")])
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            offset += len(chunk)
            lines += chunk.count(b"\n")
