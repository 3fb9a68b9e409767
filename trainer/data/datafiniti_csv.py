"""CSV files in the Datafiniti review schema of 25 columns: ten are needed, an eleventh is taken where it is there."""

import csv
import io
from array import array
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from trainer.data.columns import CHUNK_ROWS, Builder, Strings
from trainer.data.raw import RawReviews, columns_in, inspect_text, open_bytes, with_review_id
from twotower.errors import FieldViolation, InvalidFile


def read_datafiniti(path: Path, names: Mapping[str, str] | None = None) -> RawReviews:
    """Read a CSV file, gzipped or not (told by its content).

    Args:
        path: the file.
        names: column of the schema → column of the file, where the file calls it otherwise.

    Raises:
        InvalidFile: no such file, not UTF-8 (with the offset and the line), a broken gzip stream, not CSV, a column
            missing, or no rows.
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
    indices = {name: header.index(column) for name, column in columns_in(path, header, names, "header").items()}
    builder = Builder(indices)
    row_numbers = array("q")
    malformed: dict[int, int | str] = {}
    first_number = 2
    while rows := list(islice(reader, CHUNK_ROWS)):
        good = []
        for number, row in enumerate(rows, start=first_number):
            if len(row) == len(header):
                good.append(row)
                row_numbers.append(number)
            elif row:  # a blank line is no row
                malformed[number] = len(row)
        builder.extend(Strings.of([row[index] for row in good]) for index in indices.values())
        first_number += len(rows)
    if not row_numbers and not malformed:
        raise InvalidFile(path, [FieldViolation("rows", "must be at least 1, got 0")])
    columns = with_review_id(builder.finish(), len(row_numbers))
    return RawReviews(columns, row_numbers, malformed, len(header), sha256, names=names)
