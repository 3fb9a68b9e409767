"""CSV files of any delimiter, with a header or without, in whatever names their columns have."""

import contextlib
import csv
import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from trainer.data.columns import CHUNK_ROWS, Builder, Strings
from trainer.data.files import TextFile, inspect_text, refused
from trainer.data.names import NEEDED, USUAL, candidates, chosen_columns, plain, refuse_header
from trainer.data.raw import RawReviews, SourceOptions, absent_note, names_note, with_absent
from twotower.errors import InvalidFile

_DELIMITERS: Final = (",", ";", "\t", "|")
_CALLED: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "comma": ",", "semicolon": ";", "tab": "\t"}
_HEAD_CHARACTERS: Final = 2**16
_HEAD_ROWS: Final = 50
_KNOWN: Final = frozenset(plain(name) for names in USUAL.values() for name in names)


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written.

    Attributes:
        delimiter: one character.
        quoting: of :mod:`csv`.
        header: names of the columns.
        skip: rows before the first of data: 1 if the file has a header.
    """

    delimiter: str
    quoting: Any
    header: list[str]
    skip: int


def read_delimited(path: Path, options: SourceOptions | None = None) -> RawReviews:
    """Read a CSV file, packed or not (told by its content).

    Raises:
        InvalidFile: no such file, text that can't be decoded (with the offset and the line), a broken archive, not CSV,
            a needed column missing, or no rows.
    """
    options = options or SourceOptions()
    chosen = chosen_columns(options.columns)
    text = inspect_text(path, options.encoding)
    layout = layout_of(text, options)
    mapped = candidates(layout.header, chosen)
    if not layout.skip or not mapped.keys() & set(NEEDED):
        _refuse_data_as_header(text, layout, mapped)
    refuse_header(path, layout.header, mapped, chosen)
    columns = {name: own[0] for name, own in mapped.items()}
    notes = [*names_note(columns), *absent_note(columns)]
    if layout.delimiter != ",":
        notes.append(f"fields are separated by {_CALLED.get(layout.delimiter, repr(layout.delimiter))}")
    if text.guessed:
        notes.append("text is not UTF-8 and was read as Windows-1252, which is a guess: --encoding says it")
    indices = {name: layout.header.index(own) for name, own in columns.items()}
    builder = Builder(indices)
    row_numbers = array("q")
    malformed: dict[int | str, int | str] = {}
    empty = 0
    with _rows(text, layout) as numbered:
        while rows := list(islice(numbered, CHUNK_ROWS)):
            good = []
            for number, row in rows:
                if not any(row):
                    empty += 1
                elif len(row) == len(layout.header):
                    good.append(row)
                    row_numbers.append(number)
                else:
                    malformed[number] = len(row)
            builder.extend(Strings.of([row[index] for row in good]) for index in indices.values())
    if not row_numbers and not malformed:
        raise refused(path, "rows", "must be at least 1, got 0")
    if empty:
        notes.append(f"{empty:,} empty rows are left out")
    read = with_absent(builder.finish(), len(row_numbers))
    return RawReviews(read, row_numbers, malformed, len(layout.header), text.sha256, names=columns, notes=tuple(notes))


def read_table(path: Path, options: SourceOptions) -> Iterator[Mapping[str, str]]:
    """The rows of a CSV file by the names of its columns; rows of another width are left out."""
    text = inspect_text(path, options.encoding)
    layout = layout_of(text, SourceOptions())
    with _rows(text, layout) as rows:
        for _, row in rows:
            if len(row) == len(layout.header):
                yield dict(zip(layout.header, row, strict=True))


def layout_of(text: TextFile, options: SourceOptions) -> Layout:
    """Tell how a file is written by its first rows, where no option says it.

    Raises:
        InvalidFile: the file has no text.
    """
    with text.open("") as file:
        head = file.read(_HEAD_CHARACTERS)
        whole = not file.read(1)
    delimiter = _CALLED.get(options.delimiter, options.delimiter).replace("\\t", "\t")
    if len(delimiter) > 1 and delimiter not in _DELIMITERS:
        raise refused(text.path, "--delimiter", f"must be one character, comma, semicolon or tab, got {delimiter!r}")
    choices = [delimiter] if delimiter else list(_DELIMITERS)
    parsed = [(one, *_first_rows(head, one, whole=whole)) for one in choices]
    best, quoting, rows = max(parsed, key=lambda choice: _likeliness(choice[2]))
    if not rows:
        raise refused(text.path, "rows", "must be at least 1, got 0: the file has no text")
    if options.header:
        return Layout(best, quoting, [name.strip() for name in options.header], 0)
    if options.no_header:
        return Layout(best, quoting, [str(number) for number in range(1, len(rows[0]) + 1)], 0)
    return Layout(best, quoting, [name.strip() for name in rows[0]], 1)


def _first_rows(head: str, delimiter: str, *, whole: bool) -> tuple[Any, list[list[str]]]:
    """The quoting of a head, and its first rows that are not empty; the last may be cut off, so it is left out."""
    quoting: Any = csv.QUOTE_MINIMAL
    if delimiter == "\t" and f'"{delimiter}' not in head and f'{delimiter}"' not in head:
        quoting = csv.QUOTE_NONE
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter, quoting=quoting)
    with contextlib.suppress(csv.Error):
        rows.extend(row for row in islice(reader, _HEAD_ROWS) if any(row))
    return quoting, rows if whole or len(rows) < 2 else rows[: _HEAD_ROWS - 1]


def _likeliness(rows: list[list[str]]) -> tuple[int, float, int]:
    """How likely a delimiter is: known names in the first row, rows of its width, and its width."""
    if not rows:
        return (0, 0.0, 0)
    width = len(rows[0])
    alike = sum(len(row) == width for row in rows) / len(rows)
    return (sum(plain(name) in _KNOWN for name in rows[0]) if width > 1 else 0, alike if width > 1 else 0.0, width)


def _refuse_data_as_header(text: TextFile, layout: Layout, mapped: Mapping[str, Sequence[str]]) -> None:
    """Refuse a file without a header that is read as if it had one, or without saying which column is which."""
    if layout.skip:
        numbers = sum(_is_number(name) for name in layout.header)
        if not numbers or mapped.keys() & set(NEEDED):
            return
    elif not set(NEEDED) - mapped.keys():
        return
    with text.open("") as file:
        _, rows = _first_rows(file.read(_HEAD_CHARACTERS), layout.delimiter, whole=False)
    guess = _guess(rows)
    flag = "" if not layout.skip else "--no-header "
    first = layout.delimiter.join(rows[0])[:80]
    what = "the first line looks like data, not like names" if layout.skip else "no column is said to be the product"
    columns = guess if not layout.header[0] or layout.skip or layout.header[0] == "1" else {}
    options = " ".join(f"--column {name}={columns.get(name, 'NUMBER')}" for name in (*NEEDED, "reviews.date"))
    raise refused(text.path, "columns", f"{what}: {first!r}. Say which column is which: {flag}{options}")


def _guess(rows: list[list[str]]) -> dict[str, int]:
    """Which column is what, by values: small numbers are ratings, large ones or dates are dates."""
    columns = list(zip(*(row for row in rows if len(row) == len(rows[0])), strict=False))
    guess: dict[str, int] = {}
    rest = []
    for number, values in enumerate(columns, start=1):
        numeric = all(_is_number(value) for value in values)
        if numeric and max(map(float, values)) <= 100 and "reviews.rating" not in guess and len(set(values)) <= 21:
            guess["reviews.rating"] = number
        elif "reviews.date" not in guess and (
            (numeric and min(map(float, values)) > 1e8)
            or all(len(value) >= 8 and value[4:5] in "-/" for value in values)
        ):
            guess["reviews.date"] = number
        else:
            rest.append((len(set(values)), number))
    if len(rest) >= 2:
        # Files have more users than products more often than not; where they are as many, the user comes first.
        two = sorted(rest[:2], key=lambda item: (-item[0], item[1]))
        guess["reviews.username"], guess["id"] = two[0][1], two[1][1]
    return guess


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


class _rows:  # noqa: N801 - a context manager that reads like a function
    """The rows of a file with their numbers, as a spreadsheet shows them; errors name the row in which they begin."""

    def __init__(self, text: TextFile, layout: Layout) -> None:
        self._text, self._layout = text, layout
        self._opened = text.open("")

    def __enter__(self) -> Iterator[tuple[int, list[str]]]:
        return self._numbered(self._opened.__enter__())

    def __exit__(self, *error: Any) -> None:
        self._opened.__exit__(*error)

    def _numbered(self, file: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(file, delimiter=self._layout.delimiter, quoting=self._layout.quoting, strict=True)
        number, line = 0, 1
        try:
            for row in reader:
                number += 1
                if number > self._layout.skip:
                    yield number, row
                line = reader.line_num + 1
        except csv.Error as error:
            raise self._refused(error, number + 1, line, reader.line_num) from error

    def _refused(self, error: csv.Error, row: int, line: int, last: int) -> InvalidFile:
        field = f"line {line}"
        if "unexpected end" in str(error) or "field larger" in str(error):
            return refused(
                self._text.path, field, f"must be CSV: a quote opens in row {row} and is not closed by line {last}"
            )
        return refused(
            self._text.path, field, f"must be CSV: {error} in line {last}; the quote opens in row {row}, line {line}"
        )
