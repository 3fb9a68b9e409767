"""What every answer on a terminal is made of.

Text from outside is shown as it is, never as markup or as terminal control codes.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

_NARROW_WIDTH: Final = 100
_NAME: Final = {"overflow": "ellipsis", "no_wrap": True, "ratio": 1}
_ID: Final = {"overflow": "fold"}
_TEXT_COLUMNS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Product": _NAME,
    "Before": _NAME,
    "After": _NAME,
    "Brand": {"overflow": "ellipsis", "no_wrap": True, "max_width": 16},
    "Product id": _ID,
    "Nearest reviewed product": _ID,
    "Release": _ID,
    "Label": {},
    "Preset": {},
    "Moved": {},
    "Written (UTC)": {"no_wrap": True},
}
"""Columns of text by their title; all others hold numbers."""


def console() -> Console:
    """The terminal; a fixed width where there is none, so that a piped table keeps its columns."""
    result = Console(highlight=False, emoji=False, markup=False)
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


def listing(*titles: str, expand: bool = True) -> Table:
    """An empty table with these columns, as wide as the terminal if `expand`."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=expand)
    for title in titles:
        table.add_column(title, **_TEXT_COLUMNS.get(title, {"justify": "right"}))
    return table


def fields_table(fields: Mapping[str, str]) -> Table:
    """Names and values, one per line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, plain(value))
    return table


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Make a call and time it: its answer and the milliseconds that it took, connecting included."""
    start = time.perf_counter()
    answer = call()
    return answer, (time.perf_counter() - start) * 1000


def latency_line(latency_ms: float) -> Text:
    """How fast an answer was."""
    return Text(f"answered in {latency_ms:.1f} ms", style="dim")
