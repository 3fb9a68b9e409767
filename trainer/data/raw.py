"""A review file as it is, before any rule: its columns, and what every reader of a file is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np

from trainer.data.columns import Repeated, Strings
from trainer.data.files import fingerprint
from trainer.data.names import COLUMNS_READ

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
"""All columns of Datafiniti's schema, in its files' order."""
Format = Literal["auto", "csv", "json", "parquet", "datafiniti", "amazon"]


@dataclass(frozen=True)
class SourceOptions:
    """What a file is.

    Attributes:
        format: ``csv`` (any delimiter; also called ``datafiniti``), ``json`` (lines, an array or one object after
            another; also called ``amazon``) or ``parquet``; ``auto`` tells by the content.
        metadata: files of the products, of any of the formats.
        columns: column of the schema → column of the file, where the file calls it otherwise.
        delimiter: of CSV; told by the content if "".
        no_header: the first line is data, and the columns are called 1, 2, 3 …
        header: names of the columns of a file without a header.
        encoding: of CSV and JSON; told by the content if "".
        date_format: ``iso``, ``s``, ``ms``, ``us``, ``ns`` or a strptime format; told by the content if "".
        rating_scale: the lowest and the highest rating; stars as they are, 0 to 5, if None.
        zero_is_unrated: leave out the rows whose rating is 0.
    """

    format: Format = "auto"
    metadata: Sequence[Path] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    no_header: bool = False
    header: Sequence[str] = ()
    encoding: str = ""
    date_format: str = ""
    rating_scale: tuple[float, float] | None = None
    zero_is_unrated: bool = False


@dataclass(frozen=True)
class RawReviews:
    """A file as it is, before any rule.

    Attributes:
        columns: column → one string per row; all of :data:`~trainer.data.names.COLUMNS_READ`, blanks for those that
            the file does not have.
        row_numbers: (rows,) number of each row as a spreadsheet shows it: a header is row 1.
        malformed: rows that are left out, by number → how many fields such a row has in place of the header's, or its
            text.
        fields: number of fields of the header.
        sha256: of the unpacked bytes, hex.
        row_rule: what a row must be; that it has as many fields as the header if "".
        names: column → what the file calls it, where that differs.
        notes: sentences on what was recognised, guessed or absent.
        files: name of each file and how many rows come before it; of several files alone.
    """

    columns: dict[str, Repeated]
    row_numbers: Sequence[int]
    malformed: Mapping[int | str, int | str]
    fields: int
    sha256: str
    row_rule: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[tuple[str, int], ...] = ()

    def row_label(self, row: int) -> int | str:
        """Number of a row, and its file if there are several."""
        number = self.row_numbers[row]
        names = [name for name, first in self.files if first <= row]
        return f"{number} of {names[-1]}" if names else number


def with_absent(columns: dict[str, Repeated], rows: int) -> dict[str, Repeated]:
    """All columns that are read, blanks for those that a file does not have."""
    blank = Repeated(Strings.of([""]), np.zeros(rows, np.int32))
    return {name: columns.get(name, blank) for name in COLUMNS_READ}


def absent_note(columns: Mapping[str, object]) -> tuple[str, ...]:
    """A sentence on the columns that a file does not have, if it lacks any but the review's id."""
    absent = [name for name in COLUMNS_READ if name not in columns and name != "reviews.id"]
    return (f"columns that the file does not have, read as blank: {', '.join(absent)}",) if absent else ()


def names_note(names: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence on columns that were recognised by another name than the schema's."""
    pairs = [f"{column} is {own}" for column, own in names.items() if own != column]
    return (f"columns: {', '.join(pairs)}",) if pairs else ()


def joined(parts: Sequence[tuple[Path, RawReviews]]) -> RawReviews:
    """Several files as one: the rows of the first, then those of the second, and so on."""
    raws = [raw for _, raw in parts]
    if len(raws) == 1:
        return raws[0]
    columns = {}
    for name in COLUMNS_READ:
        distinct = Strings.joined(raw.columns[name].distinct for raw in raws).numbered()
        firsts = np.cumsum([0, *(len(raw.columns[name].distinct) for raw in raws)])
        codes = [
            distinct.code[first:last][raw.columns[name].code]
            for raw, (first, last) in zip(raws, pairwise(firsts), strict=True)
        ]
        columns[name] = Repeated(distinct.distinct, np.concatenate(codes))
    numbers = np.concatenate([np.asarray(raw.row_numbers, np.int64) for raw in raws])
    before = np.cumsum([0, *(len(raw.row_numbers) for raw in raws)]).tolist()
    malformed: dict[int | str, int | str] = {
        f"{number} of {path.name}": wrong if isinstance(wrong, str) else f"{wrong} fields in place of {raw.fields}"
        for path, raw in parts
        for number, wrong in raw.malformed.items()
    }
    return RawReviews(
        columns,
        numbers.tolist(),
        malformed,
        0,
        fingerprint([raw.sha256 for raw in raws]),
        "must be a row like the others of its file",
        {},
        tuple(f"{path.name}: {note}" for path, raw in parts for note in raw.notes),
        tuple((path.name, first) for (path, _), first in zip(parts, before, strict=False)),
    )
