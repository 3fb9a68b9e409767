"""A review file as it is, before any rule: its columns, and what every reader of a file does first."""

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

import numpy as np

from trainer.data.columns import Repeated, Strings
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
"""Column that is read where a file has it."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True)
class RawReviews:
    """A file as it is, before any rule.

    Attributes:
        columns: column → one string per row; those of :data:`REQUIRED` and :data:`REVIEW_ID` (blanks if the file has
            no such column).
        row_numbers: (rows,) number of each row as a spreadsheet shows it: the header is row 1.
        malformed: rows that are left out, by number → how many fields such a row has in place of the header's, or its
            text.
        fields: number of fields of the header.
        sha256: of the uncompressed bytes, hex.
        row_rule: what a row must be; that it has as many fields as the header if "".
        names: column → what the file calls it, where that differs.
    """

    columns: dict[str, Repeated]
    row_numbers: Sequence[int]
    malformed: Mapping[int, int | str]
    fields: int
    sha256: str
    row_rule: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


def columns_in(path: Path, header: Sequence[str], names: Mapping[str, str], owner: str) -> dict[str, str]:
    """Columns to read: column of the schema → column of the file.

    Args:
        path: the file.
        header: its columns.
        names: column of the schema → column of the file, where the file calls it otherwise.
        owner: of the columns, in the message of the error.

    Raises:
        InvalidFile: a column of :data:`REQUIRED` is missing.
    """
    called = {name: names.get(name, name) for name in (*REQUIRED, REVIEW_ID)}
    if missing := [called[name] for name in REQUIRED if called[name] not in header]:
        message = f"column is missing; the {owner} has: {', '.join(header[:30])}"[:500]
        raise InvalidFile(path, [FieldViolation(name, message) for name in missing])
    return {name: column for name, column in called.items() if column in header}


def with_review_id(columns: dict[str, Repeated], rows: int) -> dict[str, Repeated]:
    """Add a blank :data:`REVIEW_ID` to columns that have none."""
    return {REVIEW_ID: Repeated(Strings.of([""]), np.zeros(rows, np.int32)), **columns}


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, gzipped or not, to read its uncompressed bytes.

    Raises:
        InvalidFile: not readable, or a broken gzip stream; also while it is read.
    """
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
    """Hex sha256 of the uncompressed bytes.

    Raises:
        InvalidFile: not UTF-8, with the offset and the line, or a NUL byte.
    """
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
                line = lines + chunk[: max(0, error.start - pending)].count(b"\n")
                byte, position = error.object[error.start], offset - pending + error.start
                message = f"must be UTF-8, got byte 0x{byte:02x} at offset {position}, line {line}"
                raise InvalidFile(path, [FieldViolation("encoding", message)]) from error
            if b"\0" in chunk:
                position = offset + chunk.index(b"\0")
                message = f"must be CSV text, got a NUL byte at offset {position}"
                raise InvalidFile(path, [FieldViolation("file", message)])
            if not chunk:
                return digest.hexdigest()
            digest.update(chunk)
            offset += len(chunk)
            lines += chunk.count(b"\n")
