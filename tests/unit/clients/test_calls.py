"""Requests are built from plain values; only what protobuf can't carry is refused here."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import calls
from clients.connection import service_config
from clients.errors import InvalidArgument
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT, st.integers(0, 2**32 - 1), st.booleans())
def test_recommend_request(user_id, k, include_seen):
    call = calls.recommend(user_id, k, include_seen)
    assert call.request == ranking_service_pb2.RecommendRequest(user_id=user_id, k=k, include_seen=include_seen)


@given(TEXT, TEXT, st.floats(0, 5, width=32), TEXT, TEXT)
def test_record_review_request(user_id, product_id, rating, title, text):
    review = calls.record_review(user_id, product_id, rating, title=title, text=text, review_id="r1").request.review
    assert (review.user_id, review.product_id, review.rating, review.title, review.text) == (user_id, product_id, rating, title, text)
    assert review.review_id == "r1"
    assert not review.HasField("review_time")


def test_a_review_id_is_made_once_a_call_and_answered_with():
    first, second = (calls.record_review("u", "p", 5) for _ in range(2))
    assert first.request.review.review_id != second.request.review.review_id
    answer = first.decode(embedding_service_pb2.RecordReviewResponse(outcome="RECORD_OUTCOME_RECORDED"))
    assert answer.review_id == first.request.review.review_id


def test_an_empty_review_id_is_left_for_the_server_to_refuse():
    assert calls.record_review("u", "p", 5, review_id="").request.review.review_id == ""


def test_review_time_keeps_its_instant():
    local = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    stamp = calls.record_review("u", "p", 5, review_time=local).request.review.review_time
    assert stamp.ToDatetime(UTC) == local


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: calls.recommend("u", -1, False), "k"),
        (lambda: calls.recommend("u", 2**32, False), "k"),
        (lambda: calls.recommend("\udcff", 1, False), "user_id"),
        (lambda: calls.batch_recommend(["u", "\udcff"], 1, False), "user_ids[1]"),
        (lambda: calls.batch_recommend("u", 1, False), "user_ids"),
        (lambda: calls.predict_ratings("u", ["\ud800"]), "product_ids[0]"),
        (lambda: calls.get_product("\ud800"), "product_id"),
        (lambda: calls.list_products(-1, ""), "page_size"),
        (lambda: calls.list_products(1, "\ud800"), "page_token"),
        (lambda: calls.load_release("\ud800"), "release_id"),
        (lambda: calls.get_user_features("\ud800"), "user_id"),
        (lambda: calls.encode_texts(["\ud800"]), "texts[0]"),
        (lambda: calls.record_review("\ud800", "p", 5), "review.user_id"),
        (lambda: calls.record_review("u", "\ud800", 5), "review.product_id"),
        (lambda: calls.record_review("u", "p", 5, title="\ud800"), "review.title"),
        (lambda: calls.record_review("u", "p", 5, text="\ud800"), "review.text"),
        (lambda: calls.record_review("u", "p", 5, review_id="\ud800"), "review.review_id"),
        (lambda: calls.record_review("u", "p", 5, review_time=datetime(2026, 1, 1)), "review.review_time"),
    ],
)
def test_what_protobuf_cannot_carry_is_refused_by_name(build, field):
    with pytest.raises(InvalidArgument) as caught:
        build()
    assert [violation.field for violation in caught.value.violations] == [field]


def test_every_method_is_one_of_the_api_with_the_answer_of_the_api():
    files = (ranking_service_pb2, embedding_service_pb2, release_service_pb2)
    services = {service.full_name: service for file in files for service in file.DESCRIPTOR.services_by_name.values()}
    for method in calls.METHODS:
        descriptor = services[method.service].methods_by_name[method.name]
        assert descriptor.output_type is method.response.DESCRIPTOR
        assert not descriptor.client_streaming
        assert not descriptor.server_streaming


def test_only_unavailable_is_retried_and_loading_a_release_never():
    (config,) = service_config(calls.METHODS)["methodConfig"]
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    retried = {entry["method"] for entry in config["name"]}
    assert retried == {method.name for method in calls.METHODS} - {"LoadRelease"}


def test_each_pace_has_its_deadline():
    deadlines = calls.Deadlines(lookup_s=1, batch_s=2, write_s=3, load_s=4)
    assert [deadlines.of(pace) for pace in ("lookup", "batch", "write", "load")] == [1, 2, 3, 4]
