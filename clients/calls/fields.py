"""Plain values to protobuf fields.

Each function raises InvalidArgument, naming the field, for what the field could not carry or could not tell apart.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from clients.errors import FieldViolation, InvalidArgument

_MAX_UINT32: Final = 2**32 - 1
_MAX_DURATION_S: Final = 315_576_000_000
"""Ten thousand years, the bound of google.protobuf.Duration."""


def uint32(value: int, field: str) -> int:
    """A whole number from 0 to 2^32 - 1."""
    if not 0 <= value <= _MAX_UINT32:
        raise InvalidArgument([FieldViolation(field, f"must be 0 to {_MAX_UINT32}, got {value}")])
    return value


def text(value: str, field: str) -> str:
    """A text that is valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument([FieldViolation(field, "must be valid UTF-8")]) from error
    return value


def texts(values: Sequence[str], field: str) -> list[str]:
    """A list of texts."""
    if isinstance(values, str):  # a text is a sequence of texts too, and one user would become a batch of letters
        raise InvalidArgument([FieldViolation(field, "must be a list of texts, not one text")])
    return [text(value, f"{field}[{index}]") for index, value in enumerate(values)]


def allow_list(values: Sequence[str] | None, field: str) -> list[str]:
    """The texts of a rule "only these"; None is no rule.

    Protobuf writes "no rule" as an empty list, so an empty list is refused: it would allow everything.
    """
    if values is None:
        return []
    if not (names := texts(values, field)):
        raise InvalidArgument([FieldViolation(field, "must name at least one; None is for no rule")])
    return names


def duration(seconds: float | None, field: str) -> Duration | None:
    """A time span; None stays unset."""
    if seconds is None:
        return None
    if not math.isfinite(seconds) or abs(seconds) > _MAX_DURATION_S:
        raise InvalidArgument(
            [FieldViolation(field, f"must be a finite number of seconds within 10,000 years, got {seconds:g}")]
        )
    result = Duration()
    result.FromNanoseconds(round(seconds * 1e9))
    return result


def timestamp(value: datetime | None, field: str) -> Timestamp | None:
    """A moment, which must have a time zone; None stays unset."""
    if value is None:
        return None
    if value.utcoffset() is None:
        raise InvalidArgument([FieldViolation(field, "must have a time zone")])
    result = Timestamp()
    result.FromDatetime(value)
    return result
