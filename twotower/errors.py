"""Domain errors and the one table that maps them to gRPC statuses.

::

    TwotowerError
    ├── InvalidArgument       a request or a file breaks a rule; names each field and its bound
    │   └── InvalidFile       … in a file; names the file
    ├── NotFound              a product, release or review that does not exist
    ├── SpaceMismatch         features or vectors of another embedding space
    ├── ReleaseInvalid        a release that must not be served; names the file or the golden request
    ├── NotReady              no release is loaded yet
    ├── StoreUnavailable      Redis is away; nothing was half done
    ├── EmbeddingUnavailable  the embedding service is away, too slow or failing; ranking does without where it can
    ├── Overloaded            a bounded queue is full; says when to come back
    ├── Unauthenticated       a caller who does not say who it is, or says it in a way that is not believed
    ├── PermissionDenied      a caller who may not do that, or not at this listener
    ├── IdleStream            a caller who opened a stream and says nothing
    └── NotBuilt              a method of the API that this version does not have
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

MAX_VIOLATIONS: Final = 20
"""Enough to mend a request by; thousands would not fit into the status that carries them."""


@dataclass(frozen=True)
class FieldViolation:
    """One broken rule: the field's path (``review.rating``, ``user_ids[3]``) and what it must be."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}"


class TwotowerError(Exception):
    """Base of all errors whose message may be shown to a caller."""


class InvalidArgument(TwotowerError):
    """Input that breaks a rule.

    At most :data:`MAX_VIOLATIONS` are listed; behind them one says how many more there are.
    """

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        listed = list(violations[:MAX_VIOLATIONS])
        if more := len(violations) - len(listed):
            listed.append(FieldViolation(violations[MAX_VIOLATIONS].field, f"and {more} more violations from here on"))
        super().__init__("; ".join(map(str, listed)))
        self.violations = tuple(listed)


class InvalidFile(InvalidArgument):
    """A file that breaks a rule."""

    def __init__(self, path: object, violations: Sequence[FieldViolation]) -> None:
        super().__init__(violations)
        self.path = str(path)

    def __str__(self) -> str:
        return f"{self.path}: {super().__str__()}"


class NotFound(TwotowerError):
    """Something named in the request does not exist."""


class SpaceMismatch(TwotowerError):
    """Features of one embedding space met a model of another."""


class ReleaseInvalid(TwotowerError):
    """A release that fails verification."""


class NotReady(TwotowerError):
    """The service has no release yet."""


class StoreUnavailable(TwotowerError):
    """The user store does not answer."""


class EmbeddingUnavailable(TwotowerError):
    """The embedding service does not answer."""


class Overloaded(TwotowerError):
    """A bounded queue is full."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unauthenticated(TwotowerError):
    """The caller is not known."""


class PermissionDenied(TwotowerError):
    """The caller may not do that."""


class IdleStream(TwotowerError):
    """A stream was ended because nothing came."""


class NotBuilt(TwotowerError):
    """The method is part of the API but not of this version."""


_CODES: Final[dict[type[TwotowerError], grpc.StatusCode]] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    SpaceMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    ReleaseInvalid: grpc.StatusCode.FAILED_PRECONDITION,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    EmbeddingUnavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    IdleStream: grpc.StatusCode.DEADLINE_EXCEEDED,
    NotBuilt: grpc.StatusCode.UNIMPLEMENTED,
}


def status_code(error: TwotowerError) -> grpc.StatusCode:
    """The gRPC code of a domain error: that of the nearest base class in the table."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def to_status(error: TwotowerError) -> status_pb2.Status:
    """The full ``google.rpc.Status`` of a domain error, with BadRequest or RetryInfo where it has them."""
    details: list[Message] = []
    if isinstance(error, InvalidArgument):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
            for v in error.violations
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    if isinstance(error, Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=status_code(error).value[0], message=str(error))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
