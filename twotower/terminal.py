"""How commands show things to people: tables that show everything at any width, and text from outside as it is.

On a terminal, names are wrapped, and a table that is still too wide is folded: its columns are printed group by group,
the first one again beside each group. Into a file or a pipe, lines are whole and as wide as they need to be, so that
`grep` and `awk` find one row in one line.

Needs rich, which the extras `clients` and `trainer` bring.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

Kind = Literal["number", "label", "text", "name"]

_GAP: Final = 2
_ENDLESS: Final = 2**20
_RULE_WIDTH: Final = 80
_KEPT_WIDTH: Final = {"label": 32, "text": 12, "name": 16}
"""What a column keeps, if its cells are that long, before the table is folded; numbers are always kept whole."""
_NAME_LINES: Final = 3
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but letters and emoji are joined by them."""
_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"


def console(*, stderr: bool = False) -> Console:
    """Standard output or standard error, without an end of the line where it is no terminal."""
    result = Console(highlight=False, emoji=False, markup=False, stderr=stderr)
    if not result.is_terminal:
        result.width = _ENDLESS
    return result


def plain(value: str) -> Text:
    """Text from outside: control characters are replaced, invisible ones left out, all spaces are plain ones."""
    return Text("".join(map(_shown, value)))


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    category = unicodedata.category(character)
    # Also U+2028, which ends a line for some programs. Marks of direction could turn around what follows them.
    return " " if category.startswith("Z") else "" if category == "Cf" else "\N{REPLACEMENT CHARACTER}"


def age(seconds: float) -> str:
    """A time span in its largest sensible unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, noun: str) -> str:
    """``1 review``, ``2 reviews``."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


class Heading:
    """A title with a line behind it."""

    def __init__(self, title: str = "") -> None:
        self._title = title

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        width = min(options.max_width, _RULE_WIDTH)
        line = ("-" if options.ascii_only else "─") * max(3, width - cell_len(self._title) - 1)
        yield Text(f"{self._title} {line}".lstrip())


@dataclass(frozen=True)
class Column:
    """A column of a listing.

    Attributes:
        title: its header.
        kind: numbers are kept whole and stand at the right; labels are kept whole up to 32 columns, and longer ones and
            texts are wrapped; names are wrapped to three lines at most, and longer ones are shortened in the middle as
            far as they stay apart.
    """

    title: str
    kind: Kind = "number"

    def least(self, widest: int) -> int:
        """The width that it keeps before the table is folded, where its cells are up to `widest`."""
        header = max(map(cell_len, self.title.split()), default=0)
        return max(header, min(widest, _KEPT_WIDTH.get(self.kind, widest)))


class Listing:
    """A table whose rows are added one by one."""

    def __init__(self, *columns: Column, header: bool = True) -> None:
        self._columns = columns
        self._header = header
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row, a cell for each column."""
        self._rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it, in groups of columns if it must be folded."""
        for number, group in enumerate(self._groups(options.max_width)):
            if number:
                yield Text("")
            yield from self._drawn(out, group, self._widths(group, options.max_width))

    def _widest(self, column: int) -> int:
        return max((row[column].cell_len for row in self._rows), default=0)

    def _whole(self, column: int) -> int:
        return max(self._widest(column), cell_len(self._columns[column].title))

    def _least(self, column: int) -> int:
        return self._columns[column].least(self._widest(column))

    def _groups(self, width: int) -> list[list[int]]:
        """The columns that stand side by side; the first one stands in every group."""
        groups = [[0]]
        for column in range(1, len(self._columns)):
            group = [*groups[-1], column]
            fits = sum(map(self._least, group)) + _GAP * (len(group) - 1) <= width
            if fits or len(groups[-1]) == 1:
                groups[-1] = group
            else:
                groups.append([0, column])
        return groups

    def _widths(self, group: list[int], width: int) -> dict[int, int]:
        """The width of each column: what it keeps at least, and what is left over for those that want more."""
        widths = {column: self._least(column) for column in group}
        spare = width - sum(widths.values()) - _GAP * (len(group) - 1)
        # On a terminal that is narrower than the first column and one more, texts give way first.
        while spare < 0 and (wide := [column for column in group if widths[column] > 1]):
            widths[max(wide, key=lambda column: (self._columns[column].kind in ("text", "name"), widths[column]))] -= 1
            spare += 1
        for wanted in (self._widest, self._whole):  # cells before headers, which may stand in two lines
            while spare > 0:
                short = {column: wanted(column) - have for column, have in widths.items()}
                column = max(short, key=lambda column: short[column])
                if short[column] <= 0:
                    break
                step = max(1, min(short[column], spare) // len(group))
                widths[column] += step
                spare -= step
        return widths

    def _drawn(self, out: Console, group: list[int], widths: Mapping[int, int]) -> Iterator[Text]:
        if self._header:
            yield from _lines(
                out, [Text(self._columns[c].title, style="bold") for c in group], self._pick(group), widths
            )
        cells = {column: self._cells(out, column, widths[column]) for column in group}
        for row in range(len(self._rows)):
            yield from _lines(out, [cells[column][row] for column in group], self._pick(group), widths)

    def _pick(self, group: list[int]) -> dict[int, Column]:
        return {column: self._columns[column] for column in group}

    def _cells(self, out: Console, column: int, width: int) -> list[Text]:
        cells = [row[column] for row in self._rows]
        if self._columns[column].kind != "name" or not out.is_terminal:
            return cells
        return [Text(name) for name in shortened([cell.plain for cell in cells], _NAME_LINES * width)]


def _lines(
    out: Console, cells: Sequence[Text], columns: Mapping[int, Column], widths: Mapping[int, int]
) -> Iterator[Text]:
    """A row of cells as the lines that it takes."""
    wrapped = [list(cell.wrap(out, widths[key], overflow="fold")) for cell, key in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        line = Text()
        for lines, (key, column) in zip(wrapped, columns.items(), strict=True):
            part = lines[number] if number < len(lines) else Text()
            part.rstrip()
            blank = " " * (widths[key] - part.cell_len)
            shown = _isolated(part) if out.is_terminal and column.kind in ("name", "text") else part
            line.append_text(Text.assemble(blank, shown) if column.kind == "number" else Text.assemble(shown, blank))
            line.append(" " * _GAP)
        line.rstrip()
        yield line


def _isolated(text: Text) -> Text:
    """Keep a right-to-left text from turning around the numbers beside it, on terminals that reorder."""
    if not any(unicodedata.bidirectional(character) in ("R", "AL") for character in text.plain):
        return text
    return Text.assemble(_ISOLATE, text, _POP_ISOLATE)


def fields_table(fields: Mapping[str, str]) -> Listing:
    """Names and values, one per line."""
    table = Listing(Column("", "label"), Column("", "text"), header=False)
    for name, value in fields.items():
        table.add_row(Text(name, style="bold"), plain(value))
    return table


def shortened(names: Sequence[str], size: int) -> list[str]:
    """Names of at most `size` columns: the middle of a longer one is left out, unless two would then look alike."""
    short = {name: _without_middle(name, size) for name in names}
    seen: dict[str, set[str]] = {}
    for name, shown in short.items():
        seen.setdefault(shown, set()).add(name)
    return [short[name] if len(seen[short[name]]) == 1 else name for name in names]


def _without_middle(name: str, size: int) -> str:
    if cell_len(name) <= size:
        return name
    head = _longest(name, (size - 1) - (size - 1) // 2)
    tail = _longest(name[::-1], (size - 1) // 2)[::-1]
    while tail and (unicodedata.combining(tail[0]) or tail[0] in _JOINERS):  # marks of a letter that is left out
        tail = tail[1:]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _longest(text: str, size: int) -> str:
    """The longest beginning of at most `size` columns."""
    end = width = 0
    while end < len(text) and (width := width + cell_len(text[end])) <= size:
        end += 1
    return text[:end]
