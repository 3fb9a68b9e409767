"""Requests are built from plain values; only what protobuf can't carry or can't tell apart is refused here."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import Product, ProductFilter, ReleaseLabel, Review, calls
from clients.connection import service_config
from clients.errors import InvalidArgument
from clients.results import EmbeddingSpace
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TEXTS = st.lists(TEXT, max_size=4)
UINT32 = st.integers(0, 2**32 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
FILTERS = st.builds(
    ProductFilter,
    allowed_product_ids=st.none() | st.lists(TEXT, min_size=1, max_size=4),
    denied_product_ids=TEXTS,
    categories=st.none() | st.lists(TEXT, min_size=1, max_size=4),
    brands=st.none() | st.lists(TEXT, min_size=1, max_size=4),
    min_predicted_rating=FLOAT32,
)
REVIEW = Review("u", "p", 5, review_id="r1")
OPTIONS = {
    "include_seen": st.booleans(),
    "filter": FILTERS,
    "max_per_brand": UINT32,
    "diversity_strength": FLOAT32,
    "max_staleness_s": st.integers(0, 10**9),
}


def expected_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The options as the fields of a request, by their names."""
    rules = options["filter"]
    fields = {name: value for name, value in options.items() if name not in ("filter", "max_staleness_s")}
    fields["filter"] = {
        name: value for name in rules.__dataclass_fields__ if (value := getattr(rules, name)) is not None
    }
    fields["max_staleness"] = {"seconds": options["max_staleness_s"]}
    return fields


@given(TEXT, UINT32, TEXT, st.booleans(), st.fixed_dictionaries(OPTIONS | {"explain": st.booleans()}))
def test_recommend_request(user_id: str, k: int, page_token: str, paginate: bool, options: dict[str, Any]) -> None:
    call = calls.recommend(user_id, k, page_token=page_token, paginate=paginate, **options)
    expected = ranking_service_pb2.RecommendRequest(
        user_id=user_id, k=k, page_token=page_token, paginate=paginate or page_token != "", **expected_fields(options)
    )
    assert call.request == expected


@given(TEXTS, UINT32, st.fixed_dictionaries(OPTIONS))
def test_batch_recommend_request(user_ids: list[str], k: int, options: dict[str, Any]) -> None:
    call = calls.batch_recommend(user_ids, k, **options)
    assert call.request == ranking_service_pb2.BatchRecommendRequest(user_ids=user_ids, k=k, **expected_fields(options))


def test_without_options_a_request_says_nothing_of_them() -> None:
    assert calls.recommend("u", 3).request == ranking_service_pb2.RecommendRequest(user_id="u", k=3)
    assert calls.batch_recommend(["u"], 3).request == ranking_service_pb2.BatchRecommendRequest(user_ids=["u"], k=3)
    assert not calls.recommend("u", 3).request.HasField("filter")
    assert not calls.predict_ratings("u", ["p"]).request.HasField("max_staleness")


def test_a_batch_is_not_explained() -> None:
    with pytest.raises(TypeError, match="'explain'"):
        calls.batch_recommend(["u"], 3, explain=True)  # type: ignore[call-arg]


@given(st.floats(0, 1e9))
def test_staleness_keeps_its_nanoseconds(seconds: float) -> None:
    duration = calls.predict_ratings("u", ["p"], max_staleness_s=seconds).request.max_staleness
    assert duration.ToNanoseconds() == pytest.approx(seconds * 1e9, abs=1, rel=1e-15)


@given(TEXT, TEXT, st.floats(0, 5, width=32), TEXT, TEXT)
def test_record_review_request(user_id: str, product_id: str, rating: float, title: str, text: str) -> None:
    review = calls.record_review(Review(user_id, product_id, rating, title, text, "r1")).request.review
    assert (review.user_id, review.product_id, review.rating, review.title, review.text) == (
        user_id,
        product_id,
        rating,
        title,
        text,
    )
    assert review.review_id == "r1"
    assert not review.HasField("review_time")


@given(TEXTS)
def test_a_batch_of_reviews_is_its_singles(texts: list[str]) -> None:
    reviews = [Review("u", "p", 4, text=text) for text in texts]
    assert list(calls.batch_record_reviews(reviews).request.reviews) == [
        calls.record_review(r).request.review for r in reviews
    ]


def test_a_review_id_is_made_once_a_review_and_answered_with() -> None:
    first, second = Review("u", "p", 5), Review("u", "p", 5)
    assert first.review_id != second.review_id
    call = calls.record_review(first)
    assert call.request.review.review_id == first.review_id
    assert (
        call.decode(embedding_service_pb2.RecordReviewResponse(outcome="RECORD_OUTCOME_RECORDED")).review_id
        == first.review_id
    )


def test_an_empty_review_id_is_left_for_the_server_to_refuse() -> None:
    assert calls.record_review(replace(REVIEW, review_id="")).request.review.review_id == ""


def test_review_time_keeps_its_instant() -> None:
    local = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    stamp = calls.record_review(replace(REVIEW, review_time=local)).request.review.review_time
    assert stamp.ToDatetime(UTC) == local


def test_added_products_carry_their_texts_and_no_counts() -> None:
    (message,) = calls.upsert_products([Product("p", "Name", "Brand", "A,B", "Maker", 7, 4.5)]).request.products
    assert (message.product_id, message.name, message.brand, message.categories, message.manufacturer) == (
        "p",
        "Name",
        "Brand",
        "A,B",
        "Maker",
    )
    assert (message.review_count, message.mean_rating) == (0, 0)


@pytest.mark.parametrize("label", ReleaseLabel)
def test_a_label_is_the_one_of_the_api(label: ReleaseLabel) -> None:
    request = calls.set_label("r", label, 0.25).request
    assert release_service_pb2.ReleaseLabel.Name(request.label) == f"RELEASE_LABEL_{label.name}"
    assert (request.release_id, request.canary_share) == ("r", 0.25)


def test_a_space_is_sent_if_named() -> None:
    space = EmbeddingSpace("e", "a")
    assert calls.get_user_features("u", space).request.space.als_id == "a"
    assert calls.batch_get_user_features(["u"], space).request.space.encoder_id == "e"
    assert not calls.get_user_features("u").request.HasField("space")


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: calls.recommend("u", -1), "k"),
        (lambda: calls.recommend("u", 2**32), "k"),
        (lambda: calls.recommend("\udcff", 1), "user_id"),
        (lambda: calls.recommend("u", 1, max_per_brand=-1), "max_per_brand"),
        (lambda: calls.recommend("u", 1, page_token="\udcff"), "page_token"),
        (lambda: calls.recommend("u", 1, max_staleness_s=float("nan")), "max_staleness"),
        (lambda: calls.recommend("u", 1, max_staleness_s=float("inf")), "max_staleness"),
        (lambda: calls.recommend("u", 1, max_staleness_s=1e12), "max_staleness"),
        (lambda: calls.recommend("u", 1, filter=ProductFilter(allowed_product_ids=[])), "filter.allowed_product_ids"),
        (lambda: calls.recommend("u", 1, filter=ProductFilter(brands=())), "filter.brands"),
        (lambda: calls.recommend("u", 1, filter=ProductFilter(categories="Audio")), "filter.categories"),
        (
            lambda: calls.recommend("u", 1, filter=ProductFilter(denied_product_ids=["p", "\udcff"])),
            "filter.denied_product_ids[1]",
        ),
        (lambda: calls.batch_recommend(["u", "\udcff"], 1), "user_ids[1]"),
        (lambda: calls.batch_recommend("u", 1), "user_ids"),
        (lambda: calls.batch_recommend(["u"], 1, filter=ProductFilter(categories=[])), "filter.categories"),
        (lambda: calls.predict_ratings("u", ["\ud800"]), "product_ids[0]"),
        (lambda: calls.predict_ratings("u", ["p"], max_staleness_s=float("nan")), "max_staleness"),
        (lambda: calls.similar_products("\ud800", 1), "product_id"),
        (lambda: calls.similar_products("p", -1), "k"),
        (lambda: calls.get_product("\ud800"), "product_id"),
        (lambda: calls.list_products(-1, ""), "page_size"),
        (lambda: calls.list_products(1, "\ud800"), "page_token"),
        (lambda: calls.upsert_products([Product("p", "n"), Product("p", "n", brand="\ud800")]), "products[1].brand"),
        (lambda: calls.load_release("\ud800"), "release_id"),
        (lambda: calls.set_label("\ud800", ReleaseLabel.STABLE), "release_id"),
        (lambda: calls.get_user_features("\ud800"), "user_id"),
        (lambda: calls.get_user_features("u", EmbeddingSpace("e", "\ud800")), "space.als_id"),
        (lambda: calls.batch_get_user_features(["u", "\ud800"]), "user_ids[1]"),
        (lambda: calls.delete_user("\ud800"), "user_id"),
        (lambda: calls.retract_review("u", "\ud800"), "review_id"),
        (lambda: calls.encode_texts(["\ud800"]), "texts[0]"),
        (lambda: calls.get_popularity("\ud800"), "als_id"),
        (lambda: calls.record_review(replace(REVIEW, user_id="\ud800")), "review.user_id"),
        (lambda: calls.record_review(replace(REVIEW, product_id="\ud800")), "review.product_id"),
        (lambda: calls.record_review(replace(REVIEW, title="\ud800")), "review.title"),
        (lambda: calls.record_review(replace(REVIEW, text="\ud800")), "review.text"),
        (lambda: calls.record_review(replace(REVIEW, review_id="\ud800")), "review.review_id"),
        (lambda: calls.record_review(replace(REVIEW, review_time=datetime(2026, 1, 1))), "review.review_time"),
        (lambda: calls.batch_record_reviews([REVIEW, replace(REVIEW, text="\ud800")]), "reviews[1].text"),
    ],
)
def test_what_protobuf_cannot_carry_is_refused_by_name(build: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build()
    assert [violation.field for violation in caught.value.violations] == [field]


def test_every_method_of_the_api_but_the_stream_has_its_call_and_its_answer() -> None:
    files = (ranking_service_pb2, embedding_service_pb2, release_service_pb2)
    services = {service.full_name: service for file in files for service in file.DESCRIPTOR.services_by_name.values()}
    unary = {
        (service.full_name, method.name): method.output_type
        for service in services.values()
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    }
    assert {(method.service, method.name): method.response.DESCRIPTOR for method in calls.METHODS} == unary


def test_only_unavailable_is_retried_and_what_changes_the_release_never() -> None:
    (config,) = service_config(calls.METHODS)["methodConfig"]
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    retried = {entry["method"] for entry in config["name"]}
    assert retried == {method.name for method in calls.METHODS} - {
        "PrepareRelease",
        "LoadRelease",
        "SetLabel",
        "Rollback",
        "PrepareSpace",
        "ActivateRelease",
        "RetireSpaces",
    }


def test_each_pace_has_its_deadline() -> None:
    deadlines = calls.Deadlines(lookup_s=1, batch_s=2, write_s=3, load_s=4)
    assert [deadlines.of(pace) for pace in ("lookup", "batch", "write", "load")] == [1, 2, 3, 4]
