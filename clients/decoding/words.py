"""Enums and time spans of answers."""

from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, cast

from google.protobuf.duration_pb2 import Duration

E = TypeVar("E", bound=StrEnum)


def enum_value(kind: type[E], wrapper: Any, number: int) -> E:
    """An enum number as a word: ``USER_KIND_WARM`` is ``UserKind.WARM``; a number that this client does not know is
    UNSPECIFIED.
    """
    return cast(E, _member(kind, wrapper, number))


@lru_cache(maxsize=256)  # two a user of a batch
def _member(kind: type[StrEnum], wrapper: Any, number: int) -> StrEnum:
    names: dict[int, str] = {value: name for name, value in wrapper.items()}
    prefix = wrapper.Name(0).removesuffix("UNSPECIFIED")
    word = names.get(number, "").removeprefix(prefix).lower()
    return kind(word if word in set(kind) else "unspecified")


def seconds(duration: Duration) -> float:
    """A time span in seconds."""
    return float(duration.ToNanoseconds() / 1e9)


def milliseconds(duration: Duration) -> float:
    """A time span in milliseconds."""
    return float(duration.ToNanoseconds() / 1e6)
