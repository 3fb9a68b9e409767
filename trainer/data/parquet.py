"""Parquet files, in whatever names their columns have."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.data.columns import CHUNK_ROWS, Builder, Strings
from trainer.data.files import digest_of, open_bytes, refused
from trainer.data.names import candidates, chosen_columns, refuse_header
from trainer.data.raw import RawReviews, SourceOptions, absent_note, names_note, with_absent
from trainer.data.values import text_of


def read_parquet(path: Path, options: SourceOptions) -> RawReviews:
    """Read a Parquet file, packed or not; values of any type become strings, null becomes "".

    Raises:
        InvalidFile: not Parquet, a needed column missing, or no rows.
    """
    import pyarrow
    import pyarrow.parquet

    chosen = chosen_columns(options.columns)
    sha256 = digest_of(path)
    try:
        table = pyarrow.parquet.ParquetFile(_seekable(path))
        header = table.schema_arrow.names
        mapped = candidates(header, chosen)
        refuse_header(path, header, mapped, chosen)
        wanted = {name: own[0] for name, own in mapped.items()}
        builder = Builder(wanted)
        for batch in table.iter_batches(CHUNK_ROWS, columns=list(wanted.values())):
            builder.extend(_strings(batch.column(column)) for column in wanted.values())
    except (pyarrow.ArrowException, OSError) as error:
        raise refused(path, "file", f"must be readable Parquet: {error}") from error
    rows = table.metadata.num_rows
    if not rows:
        raise refused(path, "rows", "must be at least 1, got 0")
    notes = (*names_note(wanted), *absent_note(wanted))
    # As in a spreadsheet: the header is row 1.
    columns = with_absent(builder.finish(), rows)
    return RawReviews(columns, range(2, rows + 2), {}, len(header), sha256, names=wanted, notes=notes)


def read_table(path: Path) -> Iterator[Mapping[str, object]]:
    """The rows of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(_seekable(path)).iter_batches(CHUNK_ROWS):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise refused(path, "file", f"must be readable Parquet: {error}") from error


def _seekable(path: Path) -> Path | io.BytesIO:
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return path
    with open_bytes(path) as packed:
        return io.BytesIO(packed.read())


def _strings(column: Any) -> Strings:
    """A column of any type as strings."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return Strings(column.cast(pa.large_string()).fill_null(""))
    return Strings.of(text_of(value) for value in column.to_pylist())
