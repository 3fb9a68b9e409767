"""Every rule of the API's field comments, broken one at a time."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from embedding_service.api import checks
from twotower.errors import MAX_VIOLATIONS, InvalidArgument
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2

GOOD_REVIEW: dict[str, Any] = {
    "review_id": "r1",
    "user_id": "u1",
    "product_id": "p1",
    "rating": 4.5,
    "title": "",
    "text": "",
}
GOOD_IMPORTED: dict[str, Any] = {"review_id": "r1", "product_id": "p1", "rating": 4.5, "fixed_point": bytes(768)}


def record(**changes: Any) -> pb.RecordReviewRequest:
    return pb.RecordReviewRequest(review=types_pb2.Review(**(GOOD_REVIEW | changes)))


def batch_features(*user_ids: str, layout: int = 0) -> pb.BatchGetUserFeaturesRequest:
    return pb.BatchGetUserFeaturesRequest(user_ids=user_ids, layout=layout)  # type: ignore[arg-type] # any int32 may come in


def header(**fields: Any) -> pb.ImportUsersRequest:
    return pb.ImportUsersRequest(header=pb.ImportHeader(**fields))


def batch(*users: pb.ImportedUser) -> pb.ImportUsersRequest:
    return pb.ImportUsersRequest(batch=pb.ImportBatch(users=users))


def imported(**changes: Any) -> pb.ImportUsersRequest:
    return batch(pb.ImportedUser(user_id="u1", reviews=[pb.ImportedReview(**(GOOD_IMPORTED | changes))]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: checks.check_get_user_features(pb.GetUserFeaturesRequest(user_id="ü" * 128)),
        lambda: checks.check_batch_get_user_features(batch_features(*["u"] * 1024, layout=pb.FEATURE_LAYOUT_COLUMNS)),
        lambda: checks.check_record_review(record()),
        lambda: checks.check_record_review(record(rating=0.0, review_time=Timestamp(seconds=-62_135_596_800))),
        lambda: checks.check_record_review(record(rating=5.0, product_id="{not in} the catalogue")),
        lambda: checks.check_encode_texts(pb.EncodeTextsRequest(texts=["", "x" * 65_536])),
        lambda: checks.check_import_users_batch(imported()),
        lambda: checks.check_import_users_header(
            header(release_id="r", space=types_pb2.EmbeddingSpace(encoder_id="e", als_id="a"))
        ),
    ],
)
def test_good_requests_pass(call: Callable[[], None]) -> None:
    call()


@pytest.mark.parametrize(
    ("call", "field", "bound"),
    [
        (lambda: checks.check_get_user_features(pb.GetUserFeaturesRequest(user_id="")), "user_id", "1 to 256 bytes"),
        (lambda: checks.check_get_user_features(pb.GetUserFeaturesRequest(user_id="ü" * 129)), "user_id", "got 258"),
        (lambda: checks.check_get_user_features(pb.GetUserFeaturesRequest(user_id="a\0b")), "user_id", "NUL"),
        (lambda: checks.check_batch_get_user_features(batch_features()), "user_ids", "1 to 1024"),
        (lambda: checks.check_batch_get_user_features(batch_features(*["u"] * 1025)), "user_ids", "got 1025"),
        (lambda: checks.check_batch_get_user_features(batch_features("u", "", "v")), "user_ids[1]", "1 to 256"),
        (
            lambda: checks.check_batch_get_user_features(batch_features("u", layout=3)),
            "layout",
            "FEATURE_LAYOUT_COLUMNS, got 3",
        ),
        (lambda: checks.check_record_review(record(review_id="")), "review.review_id", "1 to 256"),
        (lambda: checks.check_record_review(record(user_id="x" * 257)), "review.user_id", "got 257"),
        (lambda: checks.check_record_review(record(product_id="")), "review.product_id", "1 to 256"),
        (lambda: checks.check_record_review(record(rating=5.5)), "review.rating", "0 to 5, got 5.5"),
        (lambda: checks.check_record_review(record(rating=None)), "review.rating", "must be set, 0 to 5; zero stars"),
        (lambda: checks.check_record_review(record(rating=-0.5)), "review.rating", "got -0.5"),
        (lambda: checks.check_record_review(record(rating=float("nan"))), "review.rating", "got nan"),
        (lambda: checks.check_record_review(record(rating=float("inf"))), "review.rating", "got inf"),
        (
            lambda: checks.check_record_review(record(review_time=Timestamp(seconds=2**40))),
            "review.review_time",
            "years 1 and 9999",
        ),
        (
            lambda: checks.check_record_review(record(review_time=Timestamp(nanos=-1))),
            "review.review_time",
            "nanoseconds",
        ),
        (lambda: checks.check_batch_record_reviews(pb.BatchRecordReviewsRequest()), "reviews", "1 to 256"),
        (
            lambda: checks.check_batch_record_reviews(
                pb.BatchRecordReviewsRequest(reviews=[record().review, record(rating=9).review])
            ),
            "reviews[1].rating",
            "got 9",
        ),
        (lambda: checks.check_retract_review(pb.RetractReviewRequest(user_id="u")), "review_id", "1 to 256"),
        (lambda: checks.check_encode_texts(pb.EncodeTextsRequest(texts=[])), "texts", "1 to 256"),
        (lambda: checks.check_encode_texts(pb.EncodeTextsRequest(texts=["a"] * 257)), "texts", "got 257"),
        (lambda: checks.check_encode_texts(pb.EncodeTextsRequest(texts=["a", "ü" * 32_769])), "texts[1]", "got 65538"),
        (lambda: checks.check_import_users_header(header()), "header.release_id", "set"),
        (lambda: checks.check_import_users_header(header(release_id="r")), "header.space.als_id", "set"),
        (lambda: checks.check_import_users_batch(batch()), "batch.users", "1 to 1024"),
        (lambda: checks.check_import_users_batch(batch(pb.ImportedUser())), "batch.users[0].user_id", "1 to 256"),
        (lambda: checks.check_import_users_batch(imported(rating=7)), "batch.users[0].reviews[0].rating", "got 7"),
        (
            lambda: checks.check_import_users_batch(imported(fixed_point=bytes(767))),
            "batch.users[0].reviews[0].fixed_point",
            "768 bytes, got 767",
        ),
        (
            lambda: checks.check_import_users_batch(
                batch(pb.ImportedUser(user_id="u", reviews=[pb.ImportedReview(**GOOD_IMPORTED)] * 2))
            ),
            "batch.users[0].reviews[1].review_id",
            "unique",
        ),
    ],
)
def test_a_broken_rule_is_named(call: Callable[[], None], field: str, bound: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call()
    assert any(violation.field == field and bound in violation.description for violation in caught.value.violations), (
        caught.value
    )


def test_all_broken_rules_are_named_at_once_up_to_a_limit() -> None:
    with pytest.raises(InvalidArgument) as caught:
        checks.check_record_review(record(review_id="", user_id="", rating=-1))
    assert [violation.field for violation in caught.value.violations] == [
        "review.review_id",
        "review.user_id",
        "review.rating",
    ]
    with pytest.raises(InvalidArgument) as caught:
        checks.check_batch_get_user_features(batch_features(*[""] * 1000))
    assert len(caught.value.violations) == MAX_VIOLATIONS + 1
    assert "more violations" in caught.value.violations[-1].description
