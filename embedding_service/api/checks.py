"""Whether requests keep the rules of the API's field comments: pure functions, all violations of a request at once.

Raises :class:`~twotower.errors.InvalidArgument` with one violation a broken rule.
"""

import math
from collections.abc import Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import BERT_DIM, MAX_RATING, MAX_REVIEWS_PER_USER, MIN_RATING, id_problem
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2

MAX_BATCH_USERS: Final = 1024
MAX_BATCH_REVIEWS: Final = 256
MAX_BATCH_TEXTS: Final = 256
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_VIOLATIONS: Final = 20
"""Enough to mend a request by; thousands would not fit the status that carries them."""
_LAYOUTS: Final = frozenset(pb.FeatureLayout.values())
# Year 1 to year 9999, as google.protobuf.Timestamp has it.
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799


def check_user_id(user_id: str) -> None:
    """``user_id`` alone."""
    _raise(_id("user_id", user_id))


def check_batch_features(request: pb.BatchGetUserFeaturesRequest) -> None:
    """Features of many users."""
    _raise(_user_ids(request.user_ids) + _layout(request.layout))


def check_stream_features(request: pb.StreamUserFeaturesRequest) -> None:
    """Features of many users on an open call."""
    _raise(_user_ids(request.user_ids))


def check_record(request: pb.RecordReviewRequest) -> None:
    """One review to add."""
    _raise(_review("review", request.review))


def check_batch_record(request: pb.BatchRecordReviewsRequest) -> None:
    """Many reviews to add."""
    found = _count("reviews", len(request.reviews), MAX_BATCH_REVIEWS)
    _raise(
        found
        or [violation for i, review in enumerate(request.reviews) for violation in _review(f"reviews[{i}]", review)]
    )


def check_retract(request: pb.RetractReviewRequest) -> None:
    """One review to take back."""
    _raise(_id("user_id", request.user_id) + _id("review_id", request.review_id))


def check_texts(texts: Sequence[str]) -> None:
    """Texts to embed."""
    found = _count("texts", len(texts), MAX_BATCH_TEXTS)
    _raise(found or [violation for i, text in enumerate(texts) for violation in _text(f"texts[{i}]", text)])


def check_header(header: pb.ImportHeader) -> None:
    """The first message of an import."""
    found = [FieldViolation(f"header.{name}", "must be set") for name in ("release_id",) if not getattr(header, name)]
    found += [
        FieldViolation(f"header.space.{name}", "must be set")
        for name in ("encoder_id", "als_id")
        if not getattr(header.space, name)
    ]
    _raise(found)


def check_import_batch(batch: pb.ImportBatch) -> None:
    """A later message of an import; vectors are checked when they are converted."""
    found = _count("batch.users", len(batch.users), MAX_BATCH_USERS)
    for i, user in enumerate(batch.users):
        if found:
            break
        found = _imported_user(f"batch.users[{i}]", user)
    _raise(found)


def _imported_user(field: str, user: pb.ImportedUser) -> list[FieldViolation]:
    found = _id(f"{field}.user_id", user.user_id)
    if len(user.reviews) > MAX_REVIEWS_PER_USER:
        found.append(
            FieldViolation(f"{field}.reviews", f"must be at most {MAX_REVIEWS_PER_USER}, got {len(user.reviews)}")
        )
    review_ids = set()
    for i, review in enumerate(user.reviews):
        path = f"{field}.reviews[{i}]"
        found += _id(f"{path}.review_id", review.review_id) + _id(f"{path}.product_id", review.product_id)
        found += _rating(f"{path}.rating", review.rating)
        if review.HasField("review_time"):
            found += _time(f"{path}.review_time", review.review_time)
        if len(review.fixed_point) != 2 * BERT_DIM:
            found.append(
                FieldViolation(f"{path}.fixed_point", f"must be {2 * BERT_DIM} bytes, got {len(review.fixed_point)}")
            )
        if review.review_id in review_ids:
            found.append(
                FieldViolation(f"{path}.review_id", f"must be unique per user, {review.review_id!r} came before")
            )
        review_ids.add(review.review_id)
    return found


def _review(field: str, review: types_pb2.Review) -> list[FieldViolation]:
    found = [
        violation
        for name in ("review_id", "user_id", "product_id")
        for violation in _id(f"{field}.{name}", getattr(review, name))
    ]
    found += _rating(f"{field}.rating", review.rating)
    found += _text(f"{field}.title", review.title) + _text(f"{field}.text", review.text)
    if review.HasField("review_time"):
        found += _time(f"{field}.review_time", review.review_time)
    return found


def _user_ids(user_ids: Sequence[str]) -> list[FieldViolation]:
    found = _count("user_ids", len(user_ids), MAX_BATCH_USERS)
    if found:
        return found
    # The usual case first, and at the least cost: thousands of ids a call, and most calls break no rule.
    problems = [(i, problem) for i, problem in enumerate(map(id_problem, user_ids)) if problem]
    return [FieldViolation(f"user_ids[{i}]", problem) for i, problem in problems]


def _layout(layout: int) -> list[FieldViolation]:
    return (
        []
        if layout in _LAYOUTS
        else [FieldViolation("layout", f"must be one of {', '.join(pb.FeatureLayout.keys())}, got {layout}")]
    )


def _text(field: str, text: str) -> list[FieldViolation]:
    size = len(text.encode())
    return (
        [] if size <= MAX_TEXT_BYTES else [FieldViolation(field, f"must be at most {MAX_TEXT_BYTES} bytes, got {size}")]
    )


def _id(field: str, value: str) -> list[FieldViolation]:
    problem = id_problem(value)
    return [FieldViolation(field, problem)] if problem else []


def _rating(field: str, rating: float) -> list[FieldViolation]:
    if math.isfinite(rating) and MIN_RATING <= rating <= MAX_RATING:
        return []
    return [FieldViolation(field, f"must be {MIN_RATING:g} to {MAX_RATING:g}, got {rating:g}")]


def _time(field: str, time: Timestamp) -> list[FieldViolation]:
    if _MIN_SECONDS <= time.seconds <= _MAX_SECONDS and 0 <= time.nanos < 1_000_000_000:
        return []
    return [FieldViolation(field, "must be between the years 1 and 9999, with 0 to 999,999,999 nanoseconds")]


def _count(field: str, found: int, most: int) -> list[FieldViolation]:
    return [] if 1 <= found <= most else [FieldViolation(field, f"must have 1 to {most} elements, got {found}")]


def _raise(violations: list[FieldViolation]) -> None:
    if violations:
        raise InvalidArgument(violations[:MAX_VIOLATIONS])
