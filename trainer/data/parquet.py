"""Parquet files with the columns of the review schema."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.data.columns import CHUNK_ROWS, Builder, Strings
from trainer.data.raw import RawReviews, columns_in, with_review_id
from twotower.errors import FieldViolation, InvalidFile


def read_parquet(path: Path, names: Mapping[str, str]) -> RawReviews:
    """Read a Parquet file; values of any type become strings, null becomes "".

    Args:
        path: the file.
        names: column of the schema → column of the file, where the file calls it otherwise.

    Raises:
        InvalidFile: not Parquet, a column missing, or no rows.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        header = table.schema_arrow.names
        wanted = columns_in(path, header, names, "file")
        builder = Builder(wanted)
        for batch in table.iter_batches(CHUNK_ROWS, columns=list(wanted.values())):
            builder.extend(_strings(batch.column(column)) for column in wanted.values())
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidFile(path, [FieldViolation("file", f"must be readable Parquet: {error}")]) from error
    rows = table.metadata.num_rows
    if not rows:
        raise InvalidFile(path, [FieldViolation("rows", "must be at least 1, got 0")])
    columns = with_review_id(builder.finish(), rows)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    # As in a spreadsheet: the header is row 1.
    return RawReviews(columns, range(2, rows + 2), {}, len(header), sha256, names=names)


def _strings(column: Any) -> Strings:
    """A column of any type as strings."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return Strings(column.cast(pa.large_string()).fill_null(""))
    return Strings.of(_text(value) for value in column.to_pylist())


def _text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat() if isoformat else value)
