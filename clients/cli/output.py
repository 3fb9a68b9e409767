"""How commands print their answers: for people or as JSON."""

from typing import Any

from rich.console import RenderableType

from clients import tables
from twotower.cli import print_json


def show(answer: Any, *lines: RenderableType, as_json: bool, **fields: object) -> None:
    """Print an answer as these lines, or as one JSON object that begins with `fields`."""
    if as_json:
        print_json(answer, **fields)
        return
    out = tables.console()
    for line in lines:
        out.print(line)
