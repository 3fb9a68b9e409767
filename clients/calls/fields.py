"""Plain values to protobuf fields.

Each function raises InvalidArgument, naming the field, for a value of another type and for what the field could not
carry or could not tell apart.
"""

import math
from collections.abc import Iterable
from datetime import datetime
from numbers import Integral, Real
from typing import Final, NoReturn, TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from clients.errors import FieldViolation, InvalidArgument

T = TypeVar("T")

_MAX_UINT32: Final = 2**32 - 1
_MAX_DURATION_S: Final = 315_576_000_000
"""Ten thousand years, the bound of google.protobuf.Duration."""
_SHOWN: Final = 40


def refuse(field: str, rule: str, value: object) -> NoReturn:
    """Raise InvalidArgument: the field, what it must be, and what it is."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    kind = "" if value is None else f" ({type(value).__name__})"
    raise InvalidArgument([FieldViolation(field, f"{rule}, got {shown}{kind}")])


def uint32(value: object, field: str) -> int:
    """A whole number from 0 to 2^32 - 1."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        refuse(field, "must be a whole number", value)
    whole = int(value)
    if not 0 <= whole <= _MAX_UINT32:
        raise InvalidArgument([FieldViolation(field, f"must be 0 to {_MAX_UINT32}, got {whole}")])
    return whole


def number(value: object, field: str) -> float:
    """A number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        refuse(field, "must be a number", value)
    try:
        return float(value)
    except OverflowError:
        refuse(field, "must be a number that fits into 64 bits", value)


def flag(value: object, field: str) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        refuse(field, "must be True or False", value)
    return bool(value)


def text(value: object, field: str) -> str:
    """A text that is valid UTF-8."""
    if not isinstance(value, str):
        refuse(field, "must be a text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument([FieldViolation(field, "must be valid UTF-8")]) from error
    return value


def texts(values: object, field: str) -> list[str]:
    """A list of texts."""
    if isinstance(values, str):  # a text is a sequence of texts too, and one user would become a batch of letters
        raise InvalidArgument([FieldViolation(field, "must be a list of texts, not one text")])
    if not isinstance(values, Iterable):
        refuse(field, "must be a list of texts", values)
    return [text(value, f"{field}[{index}]") for index, value in enumerate(values)]


def instance(value: object, kind: type[T], field: str) -> T:
    """A value of the client's own type `kind`."""
    if not isinstance(value, kind):
        refuse(field, f"must be a {kind.__name__}", value)
    return value


def instances(values: object, kind: type[T], field: str) -> list[T]:
    """A list of values of the client's own type `kind`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        refuse(field, f"must be a list of {kind.__name__}", values)
    return [instance(value, kind, f"{field}[{index}]") for index, value in enumerate(values)]


def allow_list(values: object, field: str) -> list[str]:
    """The texts of a rule "only these"; None is no rule.

    Protobuf writes "no rule" as an empty list, so an empty list is refused: it would allow everything.
    """
    if values is None:
        return []
    if not (names := texts(values, field)):
        raise InvalidArgument([FieldViolation(field, "must name at least one; None is for no rule")])
    return names


def seconds(value: object, field: str) -> float:
    """A time to wait for an answer."""
    result = number(value, field)
    if not math.isfinite(result) or result < 0:
        raise InvalidArgument([FieldViolation(field, f"must be a finite number of seconds from 0 on, got {result:g}")])
    return result


def duration(value: object, field: str) -> Duration | None:
    """A time span in seconds; None stays unset."""
    if value is None:
        return None
    span = number(value, field)
    if not math.isfinite(span) or abs(span) > _MAX_DURATION_S:
        raise InvalidArgument(
            [FieldViolation(field, f"must be a finite number of seconds within 10,000 years, got {span:g}")]
        )
    result = Duration()
    result.FromNanoseconds(round(span * 1e9))
    return result


def timestamp(value: object, field: str) -> Timestamp | None:
    """A moment, which must have a time zone; None stays unset."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        refuse(field, "must be a datetime with a time zone", value)
    if value.utcoffset() is None:
        raise InvalidArgument([FieldViolation(field, "must have a time zone")])
    result = Timestamp()
    try:
        result.FromDatetime(value)
    except (OverflowError, ValueError):
        refuse(field, "must be in the years 1 to 9999 of UTC", value)
    return result
