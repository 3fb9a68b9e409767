"""Review files of several formats, told apart by their content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from trainer.amazon import read_amazon
from trainer.columns import CHUNK_ROWS, Builder, Strings
from trainer.datafiniti import REQUIRED, REVIEW_ID, RawReviews, open_bytes, read_raw, with_review_id
from twotower.errors import FieldViolation, InvalidFile

Format = Literal["auto", "datafiniti", "amazon", "parquet"]
_PARQUET_MAGIC: Final = b"PAR1"
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True)
class SourceOptions:
    """What a file is.

    Attributes:
        format: ``datafiniti``: CSV in the 25-column schema; ``amazon``: review JSONL; ``parquet``; ``auto``: see the content.
        metadata: of the amazon format, the products' metadata JSONL.
        columns: column of the schema → column of the file, where the file calls it otherwise.
    """

    format: Format = "auto"
    metadata: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def read_source(path: Path, options: SourceOptions) -> RawReviews:
    """Read a review file.

    Raises:
        InvalidFile: not of the format, or a column missing; an option names a column that the schema does not have.
    """
    unknown = [name for name in options.columns if name not in (*REQUIRED, REVIEW_ID)]
    if unknown:
        allowed = ", ".join((*REQUIRED, REVIEW_ID))
        raise InvalidFile(path, [FieldViolation(f"--column {name}", f"must be one of {allowed}") for name in unknown])
    found = _format_of(path) if options.format == "auto" else options.format
    if found == "amazon":
        return read_amazon(path, options.metadata, options.columns)
    if options.metadata is not None:
        raise InvalidFile(path, [FieldViolation("--metadata", f"belongs to the amazon format, this file is {found}")])
    return _read_parquet(path, options.columns) if found == "parquet" else read_raw(path, options.columns)


def _format_of(path: Path) -> Format:
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    return "amazon" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "datafiniti"


def _read_parquet(path: Path, names: Mapping[str, str]) -> RawReviews:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        header = table.schema_arrow.names
        missing = [names.get(name, name) for name in REQUIRED if names.get(name, name) not in header]
        if missing:
            shown = ", ".join(header[:30])
            raise InvalidFile(path, [FieldViolation(name, f"column is missing; the file has: {shown}"[:500]) for name in missing])
        wanted = {name: names.get(name, name) for name in (*REQUIRED, REVIEW_ID) if names.get(name, name) in header}
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
