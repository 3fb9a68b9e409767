"""What every command does with its answer: take the time, print JSON."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import click
import numpy as np

T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """A call's answer and its milliseconds, connecting included."""
    start = time.perf_counter()
    answer = call()
    return answer, (time.perf_counter() - start) * 1000


def print_json(answer: Any, **more: object) -> None:
    """An answer, a dataclass or a mapping, as one JSON object after the fields `more`."""
    fields = answer if isinstance(answer, Mapping) else dataclasses.asdict(answer)
    click.echo(json.dumps({**more, **fields}, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
