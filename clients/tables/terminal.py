"""What every answer on a terminal is made of. Text from outside is shown as it is, never as markup or as terminal
control codes.
"""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

_NARROW_WIDTH = 100


def console(*, error: bool = False) -> Console:
    """The terminal; a fixed width where there is none, so that a piped table keeps its columns."""
    result = Console(stderr=error, highlight=False, emoji=False, markup=False)
    if not result.is_terminal:
        result.width = max(result.width, _NARROW_WIDTH)
    return result


def plain(value: str) -> Text:
    """Text from outside: control characters are replaced."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value))


def age(seconds: float) -> str:
    """A time span in its largest sensible unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, noun: str) -> str:
    """``1 review``, ``2 reviews``."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def listing() -> Table:
    """An empty table with one row a thing."""
    return Table(box=None, header_style="bold", pad_edge=False, expand=True)


def latency_line(latency_ms: float) -> Text:
    """How fast an answer was."""
    return Text(f"answered in {latency_ms:.1f} ms", style="dim")


def fields_table(fields: Mapping[str, str]) -> Table:
    """Names and values, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, plain(value))
    return table
