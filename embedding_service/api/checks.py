"""Checks of requests against the rules of the API's field comments: pure functions.

Each raises :class:`~twotower.errors.InvalidArgument` with all violations of a request at once, one per broken rule.
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
MAX_PAGE_REVIEWS: Final = 1000
MAX_TEXT_BYTES: Final = 64 * 1024
_LAYOUTS: Final = frozenset(pb.FeatureLayout.values())
# Year 1 to year 9999, as google.protobuf.Timestamp has it.
_MIN_SECONDS: Final = -62_135_596_800
_MAX_SECONDS: Final = 253_402_300_799


def check_get_user_features(request: pb.GetUserFeaturesRequest) -> None:
    """One user."""
    raise_if_any(_id("user_id", request.user_id))


def check_batch_get_user_features(request: pb.BatchGetUserFeaturesRequest) -> None:
    """1 to 1,024 users, and a layout that exists."""
    raise_if_any(_user_ids(request.user_ids) + _layout(request.layout))


def check_stream_user_features(request: pb.StreamUserFeaturesRequest) -> None:
    """1 to 1,024 users."""
    raise_if_any(_user_ids(request.user_ids))


def check_record_review(request: pb.RecordReviewRequest) -> None:
    """One review."""
    raise_if_any(_review("review", request.review))


def check_batch_record_reviews(request: pb.BatchRecordReviewsRequest) -> None:
    """1 to 256 reviews."""
    raise_if_any(_count("reviews", len(request.reviews), MAX_BATCH_REVIEWS))
    raise_if_any([broken for i, review in enumerate(request.reviews) for broken in _review(f"reviews[{i}]", review)])


def check_retract_review(request: pb.RetractReviewRequest) -> None:
    """The ids of a user and a review."""
    raise_if_any(_id("user_id", request.user_id) + _id("review_id", request.review_id))


def check_delete_user(request: pb.DeleteUserRequest) -> None:
    """One user."""
    raise_if_any(_id("user_id", request.user_id))


def check_export_user(request: pb.ExportUserRequest) -> None:
    """One user, and a page of at most 1,000 reviews."""
    violations = _id("user_id", request.user_id)
    if request.page_size > MAX_PAGE_REVIEWS:
        problem = f"must be at most {MAX_PAGE_REVIEWS}, got {request.page_size}"
        violations.append(FieldViolation("page_size", problem))
    raise_if_any(violations)


def check_encode_texts(request: pb.EncodeTextsRequest) -> None:
    """1 to 256 texts."""
    raise_if_any(_count("texts", len(request.texts), MAX_BATCH_TEXTS))
    raise_if_any([broken for i, text in enumerate(request.texts) for broken in _text(f"texts[{i}]", text)])


def check_import_users_header(request: pb.ImportUsersRequest) -> None:
    """The first message: a header that names a release and its space."""
    if request.WhichOneof("part") != "header":
        raise InvalidArgument([FieldViolation("header", "must be the first message")])
    _release_and_space(request.header, "header.")


def check_prepare_space(request: pb.PrepareSpaceRequest) -> None:
    """A release and its space."""
    _release_and_space(request, "")


def check_retire_spaces(request: pb.RetireSpacesRequest) -> None:
    """The release that is active."""
    if not request.release_id:
        raise InvalidArgument([FieldViolation("release_id", "must be set")])


def _release_and_space(message: pb.ImportHeader | pb.PrepareSpaceRequest, path: str) -> None:
    required = {
        f"{path}release_id": message.release_id,
        f"{path}space.encoder_id": message.space.encoder_id,
        f"{path}space.als_id": message.space.als_id,
    }
    raise_if_any([FieldViolation(field, "must be set") for field, value in required.items() if not value])


def check_import_users_batch(request: pb.ImportUsersRequest) -> None:
    """A later message: 1 to 1,024 users, their vectors aside, which are checked when they are converted."""
    part = request.WhichOneof("part")
    if part != "batch":
        description = "must be a batch of users after the first message"
        raise InvalidArgument([FieldViolation("header" if part else "part", description)])
    users = request.batch.users
    raise_if_any(_count("batch.users", len(users), MAX_BATCH_USERS))
    for i, user in enumerate(users):
        raise_if_any(_imported_user(f"batch.users[{i}]", user))


def raise_if_any(violations: Sequence[FieldViolation]) -> None:
    """Raise InvalidArgument with the violations if there are any."""
    if violations:
        raise InvalidArgument(violations)


def _imported_user(field: str, user: pb.ImportedUser) -> list[FieldViolation]:
    violations = _id(f"{field}.user_id", user.user_id)
    if len(user.reviews) > MAX_REVIEWS_PER_USER:
        violations.append(
            FieldViolation(f"{field}.reviews", f"must be at most {MAX_REVIEWS_PER_USER}, got {len(user.reviews)}")
        )
    review_ids = set()
    for i, review in enumerate(user.reviews):
        path = f"{field}.reviews[{i}]"
        violations += _id(f"{path}.review_id", review.review_id) + _id(f"{path}.product_id", review.product_id)
        violations += _rating(f"{path}.rating", review.rating)
        if review.HasField("review_time"):
            violations += _time(f"{path}.review_time", review.review_time)
        if len(review.fixed_point) != 2 * BERT_DIM:
            violations.append(
                FieldViolation(f"{path}.fixed_point", f"must be {2 * BERT_DIM} bytes, got {len(review.fixed_point)}")
            )
        if review.review_id in review_ids:
            violations.append(
                FieldViolation(f"{path}.review_id", f"must be unique per user, {review.review_id!r} came before")
            )
        review_ids.add(review.review_id)
    return violations


def _review(field: str, review: types_pb2.Review) -> list[FieldViolation]:
    violations = _id(f"{field}.review_id", review.review_id)
    violations += _id(f"{field}.user_id", review.user_id) + _id(f"{field}.product_id", review.product_id)
    if review.HasField("rating"):
        violations += _rating(f"{field}.rating", review.rating)
    else:
        problem = f"must be set, {MIN_RATING:g} to {MAX_RATING:g}; zero stars must be sent explicitly"
        violations.append(FieldViolation(f"{field}.rating", problem))
    violations += _text(f"{field}.title", review.title) + _text(f"{field}.text", review.text)
    if review.HasField("review_time"):
        violations += _time(f"{field}.review_time", review.review_time)
    return violations


def _user_ids(user_ids: Sequence[str]) -> list[FieldViolation]:
    if violations := _count("user_ids", len(user_ids), MAX_BATCH_USERS):
        return violations
    # The usual case first, and at the least cost: thousands of ids a call, and most calls break no rule.
    problems = [(i, problem) for i, problem in enumerate(map(id_problem, user_ids)) if problem]
    return [FieldViolation(f"user_ids[{i}]", problem) for i, problem in problems]


def _layout(layout: int) -> list[FieldViolation]:
    if layout in _LAYOUTS:
        return []
    return [FieldViolation("layout", f"must be one of {', '.join(pb.FeatureLayout.keys())}, got {layout}")]


def _text(field: str, text: str) -> list[FieldViolation]:
    size = len(text.encode())
    if size <= MAX_TEXT_BYTES:
        return []
    return [FieldViolation(field, f"must be at most {MAX_TEXT_BYTES} bytes, got {size}")]


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


def _count(field: str, count: int, limit: int) -> list[FieldViolation]:
    return [] if 1 <= count <= limit else [FieldViolation(field, f"must have 1 to {limit} elements, got {count}")]
