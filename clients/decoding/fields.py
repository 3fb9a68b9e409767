"""Protobuf fields to plain values: enums and time spans."""

from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, cast

from google.protobuf.duration_pb2 import Duration

EnumT = TypeVar("EnumT", bound=StrEnum)


def enum_value(kind: type[EnumT], wrapper: Any, number: int) -> EnumT:
    """Turn an enum's number into its member: ``USER_KIND_WARM`` is ``UserKind.WARM``.

    A number that this client does not know is UNSPECIFIED.

    Args:
        kind: the enum wanted.
        wrapper: the API's enum, ``types_pb2.UserKind``.
        number: its value in the message.
    """
    return cast(EnumT, _member(kind, wrapper, number))


@lru_cache(maxsize=256)  # a batch asks twice per user
def _member(kind: type[StrEnum], wrapper: Any, number: int) -> StrEnum:
    names: dict[int, str] = {value: name for name, value in wrapper.items()}
    prefix = wrapper.Name(0).removesuffix("UNSPECIFIED")
    member = names.get(number, "").removeprefix(prefix).lower()
    return kind(member if member in set(kind) else "unspecified")


def seconds(duration: Duration) -> float:
    """A time span in seconds."""
    return float(duration.ToNanoseconds() / 1e9)


def milliseconds(duration: Duration) -> float:
    """A time span in milliseconds."""
    return float(duration.ToNanoseconds() / 1e6)
