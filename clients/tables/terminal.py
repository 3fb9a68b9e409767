"""What every answer on a terminal is made of."""

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rich.text import Text

from twotower.terminal import Column, Kind, Listing, age, console, count, fields_table, plain

__all__ = ["age", "console", "count", "fields_table", "latency_line", "listing", "plain", "timed"]

T = TypeVar("T")

_KINDS: Final[Mapping[str, Kind]] = {
    "Product": "name",
    "Before": "name",
    "After": "name",
    "Brand": "text",
    "Product id": "label",
    "Nearest reviewed product": "label",
    "Release": "label",
    "Ranking": "text",
    "Embedding": "text",
    "Preset": "label",
    "Moved": "label",
    "Written (UTC)": "label",
}
"""Columns of text by their title; all others hold numbers."""


def listing(*titles: str) -> Listing:
    """An empty table with these columns."""
    return Listing(*(Column(title, _KINDS.get(title, "number")) for title in titles))


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Make a call and time it: its answer and the milliseconds that it took, connecting included."""
    start = time.perf_counter()
    answer = call()
    return answer, (time.perf_counter() - start) * 1000


def latency_line(latency_ms: float) -> Text:
    """How fast an answer was."""
    return Text(f"answered in {latency_ms:.1f} ms", style="dim")
