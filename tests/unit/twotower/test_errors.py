"""The one table from domain errors to gRPC statuses."""

import grpc
import pytest
from google.rpc import error_details_pb2

from twotower import errors
from twotower.errors import FieldViolation


def all_errors(kind: type[errors.TwotowerError] = errors.TwotowerError) -> list[type[errors.TwotowerError]]:
    """Those of the kernel: what the other packages derive for their own callers never reaches the wire."""
    found = [sub for direct in kind.__subclasses__() for sub in (direct, *all_errors(direct))]
    return [sub for sub in found if sub.__module__ == errors.__name__]


def make(kind: type[errors.TwotowerError]) -> errors.TwotowerError:
    if issubclass(kind, errors.InvalidFile):
        return kind("reviews.csv", [FieldViolation("rating", "must be 0 to 5")])
    if issubclass(kind, errors.InvalidArgument):
        return kind([FieldViolation("k", "must be 1 to 600")])
    return errors.Overloaded("full", 0.25) if kind is errors.Overloaded else kind("reason")


@pytest.mark.parametrize("kind", all_errors())
def test_every_domain_error_has_a_status(kind: type[errors.TwotowerError]) -> None:
    error = make(kind)
    assert errors.status_code(error) not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
    status = errors.to_status(error)
    assert status.message == str(error)
    assert status.code == errors.status_code(error).value[0]


def test_invalid_arguments_name_each_field() -> None:
    error = errors.InvalidArgument(
        [FieldViolation("k", "must be 1 to 600, got 0"), FieldViolation("user_id", "must be 1 to 256 bytes")]
    )
    detail = error_details_pb2.BadRequest()
    assert errors.to_status(error).details[0].Unpack(detail)
    assert [(v.field, v.description) for v in detail.field_violations] == [
        ("k", "must be 1 to 600, got 0"),
        ("user_id", "must be 1 to 256 bytes"),
    ]
    assert str(error) == "k: must be 1 to 600, got 0; user_id: must be 1 to 256 bytes"


def test_overload_says_when_to_come_back() -> None:
    detail = error_details_pb2.RetryInfo()
    assert errors.to_status(errors.Overloaded("queue is full", 0.25)).details[0].Unpack(detail)
    assert detail.retry_delay.ToMilliseconds() == 250


def test_a_file_error_names_the_file() -> None:
    assert str(make(errors.InvalidFile)) == "reviews.csv: rating: must be 0 to 5"
