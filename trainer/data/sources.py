"""Review files of several formats, one or many, as one set of columns."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from trainer.data.columns import Repeated, Strings
from trainer.data.delimited import read_delimited
from trainer.data.files import files_in
from trainer.data.metadata import with_metadata
from trainer.data.names import chosen_columns
from trainer.data.parquet import read_parquet
from trainer.data.raw import RawReviews, SourceOptions, joined
from trainer.data.records import read_records
from trainer.data.sniffing import Kind, kind_of

_CALLED: Final[dict[str, Kind]] = {"datafiniti": "csv", "amazon": "json"}
_WHOLE: Final = re.compile(r"\d+\.0")
_IDS: Final = ("id", "reviews.username", "reviews.id")


def read_source(paths: Path | Sequence[Path], options: SourceOptions) -> RawReviews:
    """Read review files; a folder means the files in it.

    Raises:
        InvalidFile: no such file, not of the format, or a column missing; an option names a column that the schema does
            not have; a file of products that has none of the reviews'.
    """
    chosen_columns(options.columns)
    files = files_in([paths] if isinstance(paths, Path) else paths)
    if options.metadata:
        files_in(options.metadata)
        meta = {file.resolve() for file in files_in(options.metadata)}
        files = [file for file in files if file.resolve() not in meta] or files
    raw = joined([(file, _read(file, options)) for file in files])
    columns, notes = _with_plain_ids(raw)
    raw = replace(raw, columns=columns, notes=(*raw.notes, *notes))
    if not options.metadata:
        return raw
    columns, digest, note = with_metadata(options.metadata, raw.columns, options)
    sha256 = hashlib.sha256(f"{raw.sha256} {digest}".encode()).hexdigest()
    return replace(raw, columns=columns, sha256=sha256, notes=(*raw.notes, note))


def _read(path: Path, options: SourceOptions) -> RawReviews:
    kind = kind_of(path) if options.format == "auto" else _CALLED.get(options.format, options.format)
    if kind == "json":
        return read_records(path, options)
    return read_parquet(path, options) if kind == "parquet" else read_delimited(path, options)


def _with_plain_ids(raw: RawReviews) -> tuple[dict[str, Repeated], list[str]]:
    """Ids without blanks around them, and whole numbers without the ``.0`` that a column with nulls gives them."""
    columns, notes = dict(raw.columns), []
    for name in _IDS:
        column = columns[name]
        padded = column.distinct.test(lambda value: value != value.strip() and bool(value.strip()))
        if padded.any():
            count = int(padded[column.code].sum())
            notes.append(f"{name}: blanks around it were taken away in {count:,} rows")
            column = _changed(column, [value.strip() for value in column.distinct])
        values = list(column.distinct) if len(column.distinct) and _WHOLE.fullmatch(_sample(column)) else []
        if values and all(_WHOLE.fullmatch(value) or not value.strip() for value in values):
            notes.append(f"{name}: whole numbers with .0 behind them are read without it")
            column = _changed(column, [value.removesuffix(".0") for value in values])
        columns[name] = column
    return columns, notes


def _sample(column: Repeated) -> str:
    """The first distinct value that is not blank."""
    return next((value for value in column.distinct if value.strip()), "")


def _changed(column: Repeated, values: list[str]) -> Repeated:
    renumbered = Strings.of(values).numbered()
    return Repeated(renumbered.distinct, np.asarray(renumbered.code[column.code], np.int32))
