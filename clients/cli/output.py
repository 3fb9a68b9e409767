"""How commands print their answers: for people or as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
import numpy as np
from rich.console import RenderableType

from clients import tables


def show(answer: Any, *lines: RenderableType, as_json: bool, **fields: object) -> None:
    """Print an answer as these lines, or as one JSON object that begins with `fields`."""
    if as_json:
        print_json(answer, **fields)
        return
    out = tables.console()
    for line in lines:
        out.print(line)


def print_json(answer: Any, **first: object) -> None:
    """Print an answer, a dataclass or a mapping, as one JSON object that begins with the fields `first`."""
    fields = answer if isinstance(answer, Mapping) else vars(answer)
    click.echo(json.dumps({**first, **fields}, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return vars(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
