"""What a call may raise, and how a gRPC status becomes it.

The errors that carry details are the kernel's own, so that client and server use the same classes::

    TwotowerError
    ├── InvalidArgument      an argument, a variable or the request breaks a rule; `violations` name each and its bound
    │   └── InvalidFile      … a PEM file
    ├── NotFound             a product or release that does not exist
    ├── Overloaded           a queue is full; `retry_after_s` says when to come back
    ├── NotBuilt             the server does not have the method
    └── CallFailed           any other status; `code` is gRPC's
        ├── Unavailable          no connection, no release loaded, or Redis is away
        ├── DeadlineExceeded     no answer in time; the call may still have had its effect
        ├── Unauthenticated      the service wants to know who calls, or does not believe it
        ├── PermissionDenied     the caller may not do that, or not at this address
        └── PreconditionFailed   another embedding space, or a release that must not be served
"""

from collections.abc import Iterable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from twotower.errors import FieldViolation, InvalidArgument, InvalidFile, NotBuilt, NotFound, Overloaded, TwotowerError
from twotower.reasons import reason

__all__ = [
    "CallFailed",
    "DeadlineExceeded",
    "FieldViolation",
    "InvalidArgument",
    "InvalidFile",
    "NotBuilt",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "PreconditionFailed",
    "TwotowerError",
    "Unauthenticated",
    "Unavailable",
    "from_rpc_error",
    "from_status",
]

_STATUS_DETAILS: Final = "grpc-status-details-bin"


class CallFailed(TwotowerError):
    """A call that ended with a status of no class of its own."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(CallFailed):
    """The service can't be reached or can't answer now."""


class DeadlineExceeded(CallFailed):
    """The service did not answer in time."""


class PreconditionFailed(CallFailed):
    """The service is not in the state that the call needs."""


class Unauthenticated(CallFailed):
    """The service wants to know who calls, or does not believe it."""


class PermissionDenied(CallFailed):
    """The caller may not do that, or not at this address."""


_CALL_FAILED: Final[dict[grpc.StatusCode, type[CallFailed]]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


def from_status(code: grpc.StatusCode, status: status_pb2.Status, server: str) -> TwotowerError:
    """The error that a status stands for: the inverse of :func:`twotower.errors.to_status`.

    Args:
        code: gRPC's code.
        status: the message and, where the server sent them, BadRequest or RetryInfo.
        server: who was called, for the message: ``ranking service at 127.0.0.1:50052``.
    """
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidArgument(_violations(status) or [FieldViolation("request", status.message)])
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(status.message)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotBuilt(f"{server}: {status.message}")
    message = f"{server}: {code.value[1]}: {status.message}"
    # gRPC itself answers RESOURCE_EXHAUSTED to a message that is too large: coming back later would not help.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and (retry_after_s := _retry_after_s(status)) is not None:
        return Overloaded(message, retry_after_s)
    return _CALL_FAILED.get(code, CallFailed)(code, message)


def from_rpc_error(
    error: grpc.RpcError,
    server: str,
    method: str = "",
    *,
    tls: bool = False,
    deadline_s: float | None = None,
    advice: str = "",
) -> TwotowerError:
    """The error that a failed call, blocking or asyncio, stands for.

    Args:
        error: of gRPC.
        server: who was called, for the message: ``ranking service at 127.0.0.1:50052``.
        method: what was called, ``Recommend``.
        tls: whether the client speaks TLS.
        deadline_s: how long the call could take; None if that is not known.
        advice: what to set, for the message.
    """
    code = error.code()
    status = _status_of(error.trailing_metadata() or ())
    if status is None or status.code != code.value[0]:
        message = reason(code, error.details() or "", method, tls, deadline_s)
        status = status_pb2.Status(code=code.value[0], message=message)
    if advice:
        status.message += f" ({advice})"
    return from_status(code, status, server)


def _status_of(metadata: Iterable[Any]) -> status_pb2.Status | None:
    for key, value in metadata:
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def _violations(status: status_pb2.Status) -> list[FieldViolation]:
    bad_request = error_details_pb2.BadRequest()
    _unpack(status, bad_request)
    return [FieldViolation(broken.field, broken.description) for broken in bad_request.field_violations]


def _retry_after_s(status: status_pb2.Status) -> float | None:
    retry = error_details_pb2.RetryInfo()
    return float(retry.retry_delay.ToNanoseconds() / 1e9) if _unpack(status, retry) else None


def _unpack(status: status_pb2.Status, message: Message) -> bool:
    """Read the first detail of the message's type into it; False if there is none."""
    return any(detail.Unpack(message) for detail in status.details)
