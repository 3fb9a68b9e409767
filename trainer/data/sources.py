"""Review files of several formats, told apart by their content."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from trainer.data.amazon_jsonl import read_amazon
from trainer.data.datafiniti_csv import read_datafiniti
from trainer.data.parquet import read_parquet
from trainer.data.raw import REQUIRED, REVIEW_ID, RawReviews, open_bytes
from twotower.errors import FieldViolation, InvalidFile

Format = Literal["auto", "datafiniti", "amazon", "parquet"]
_PARQUET_MAGIC: Final = b"PAR1"
_HEAD_BYTES: Final = 4096


@dataclass(frozen=True)
class SourceOptions:
    """What a file is.

    Attributes:
        format: ``datafiniti`` (CSV in the 25-column schema), ``amazon`` (review JSONL) or ``parquet``; ``auto`` tells
            by the content.
        metadata: the products' metadata JSONL, which only the amazon format has.
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
    kind = _format_of(path) if options.format == "auto" else options.format
    if kind == "amazon":
        return read_amazon(path, options.metadata, options.columns)
    if options.metadata is not None:
        raise InvalidFile(path, [FieldViolation("--metadata", f"belongs to the amazon format, this file is {kind}")])
    return read_parquet(path, options.columns) if kind == "parquet" else read_datafiniti(path, options.columns)


def _format_of(path: Path) -> Format:
    with open_bytes(path) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_PARQUET_MAGIC):
        return "parquet"
    return "amazon" if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else "datafiniti"
