"""A domain error that crosses the wire comes out with all that it said."""

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import (
    CallFailed,
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    NotBuilt,
    NotFound,
    Overloaded,
    PreconditionFailed,
    Unavailable,
    from_rpc_error,
    from_status,
)
from twotower import errors as domain

SERVER = "ranking service at host:1"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def through_the_wire(error: domain.TwotowerError) -> domain.TwotowerError:
    return from_status(domain.status_code(error), domain.to_status(error), SERVER)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_violations_survive(pairs: list[tuple[str, str]]) -> None:
    violations = tuple(FieldViolation(field, description) for field, description in pairs)
    answer = through_the_wire(InvalidArgument(violations))
    assert isinstance(answer, InvalidArgument)
    assert answer.violations == violations


@given(st.floats(0, 1e5))
def test_retry_delay_survives(retry_after_s: float) -> None:
    answer = through_the_wire(Overloaded("full", retry_after_s))
    assert isinstance(answer, Overloaded)
    assert answer.retry_after_s == pytest.approx(retry_after_s, abs=1e-8)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (NotFound("product 'x' is not there"), NotFound, "product 'x' is not there"),
        (NotBuilt("not yet"), NotBuilt, f"{SERVER}: not yet"),
        (domain.NotReady("no release is loaded"), Unavailable, f"{SERVER}: unavailable: no release is loaded"),
        (domain.StoreUnavailable("Redis is away"), Unavailable, f"{SERVER}: unavailable: Redis is away"),
        (domain.SpaceMismatch("other space"), PreconditionFailed, f"{SERVER}: failed precondition: other space"),
        (
            domain.ReleaseInvalid("golden request 3"),
            PreconditionFailed,
            f"{SERVER}: failed precondition: golden request 3",
        ),
    ],
)
def test_each_domain_error_has_its_class_and_says_who_answered(
    error: domain.TwotowerError, kind: type[domain.TwotowerError], message: str
) -> None:
    answer = through_the_wire(error)
    assert type(answer) is kind
    assert str(answer) == message


def aio_error(code: grpc.StatusCode, details: str, *metadata: tuple[str, bytes]) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(*metadata), details=details)


def test_invalid_argument_without_details_still_says_what_is_wrong() -> None:
    answer = from_rpc_error(aio_error(grpc.StatusCode.INVALID_ARGUMENT, "bad"), SERVER)
    assert isinstance(answer, InvalidArgument)
    assert str(answer) == "request: bad"


def test_a_message_that_is_too_large_is_not_overload() -> None:
    answer = from_rpc_error(aio_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max"), SERVER)
    assert type(answer) is CallFailed
    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deadline_is_its_own_class() -> None:
    assert isinstance(
        from_rpc_error(aio_error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), SERVER), DeadlineExceeded
    )


@pytest.mark.parametrize(
    "details",
    [
        b"\xff\xff not a status",
        status_pb2.Status(code=5, message="of another call").SerializeToString(),
        b"",
    ],
)
def test_status_details_that_do_not_belong_are_ignored(details: bytes) -> None:
    answer = from_rpc_error(
        aio_error(grpc.StatusCode.INTERNAL, "internal error", ("grpc-status-details-bin", details)), SERVER
    )
    assert type(answer) is CallFailed
    assert str(answer) == f"{SERVER}: internal: internal error"


def test_details_of_unknown_types_are_skipped() -> None:
    status = status_pb2.Status(code=3, message="bad")
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/unheard.Of", value=b"x"))
    status.details.extend(domain.to_status(InvalidArgument([FieldViolation("k", "must be 1 to 5")])).details)
    answer = from_status(grpc.StatusCode.INVALID_ARGUMENT, status, SERVER)
    assert str(answer) == "k: must be 1 to 5"
