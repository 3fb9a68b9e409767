"""Answers become values without loss, whatever a newer server puts in."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import decoding
from clients.errors import InvalidArgument
from clients.results import (
    AlsOrigin,
    EmbeddingSpace,
    Explanation,
    PopularitySource,
    RecordOutcome,
    ReleaseLabel,
    ShadowComparison,
    UserKind,
)
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2, types_pb2
from twotower.wire import to_vector

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("kind", "wrapper", "prefix"),
    [
        (UserKind, types_pb2.UserKind, "USER_KIND_"),
        (AlsOrigin, types_pb2.AlsOrigin, "ALS_ORIGIN_"),
        (PopularitySource, ranking_service_pb2.PopularitySource, "POPULARITY_SOURCE_"),
        (RecordOutcome, embedding_service_pb2.RecordOutcome, "RECORD_OUTCOME_"),
        (ReleaseLabel, release_service_pb2.ReleaseLabel, "RELEASE_LABEL_"),
    ],
)
def test_every_enum_value_of_the_api_has_its_word(kind: Any, wrapper: Any, prefix: str) -> None:
    assert {value.upper() for value in kind} == {name.removeprefix(prefix) for name, _ in wrapper.items()}
    for name, number in wrapper.items():
        assert decoding.enum_value(kind, wrapper, number).upper() == name.removeprefix(prefix)


def test_an_enum_value_of_a_newer_server_is_unspecified() -> None:
    assert decoding.enum_value(UserKind, types_pb2.UserKind, 99) is UserKind.UNSPECIFIED


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), FLOATS, FLOATS), max_size=8),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_recommendations_keep_order_and_numbers(
    rows: list[tuple[str, str, float, float]], review_count: int, degraded: bool
) -> None:
    message = ranking_service_pb2.RecommendResponse(release_id="r")
    for product_id, name, score, rating in rows:
        message.recommendations.add(product_id=product_id, name=name, brand="B", score=score, predicted_rating=rating)
    message.user.review_count = review_count
    message.user.degraded = degraded

    answer = decoding.recommendations(message)

    assert [(p.product_id, p.name, p.score, p.predicted_rating) for p in answer.products] == rows
    assert (answer.release_id, answer.user.review_count, answer.user.degraded) == ("r", review_count, degraded)
    assert answer.user.feature_age_s is None


def test_a_time_span_of_zero_is_not_none() -> None:
    message = ranking_service_pb2.UserContext()
    message.feature_age.SetInParent()
    message.staleness.SetInParent()
    context = decoding.user_context(message)
    assert (context.feature_age_s, context.staleness_s) == (0.0, 0.0)
    empty = decoding.user_context(ranking_service_pb2.UserContext())
    assert (empty.feature_age_s, empty.staleness_s) == (None, None)


@given(FLOATS, FLOATS, FLOATS, st.text(max_size=9), FLOATS)
def test_explanations_stay_with_their_product(
    als: float, bert: float, popularity: float, nearest: str, similarity: float
) -> None:
    message = ranking_service_pb2.RecommendResponse(next_page_token="t", popularity_source="POPULARITY_SOURCE_RELEASE")
    message.recommendations.add(product_id="explained").explanation.CopyFrom(
        ranking_service_pb2.Explanation(
            score_without_als=als,
            score_without_bert=bert,
            score_without_popularity=popularity,
            nearest_reviewed_product_id=nearest,
            nearest_reviewed_similarity=similarity,
        )
    )
    message.recommendations.add(product_id="not")
    answer = decoding.recommendations(message)
    assert [p.explanation for p in answer.products] == [Explanation(als, bert, popularity, nearest, similarity), None]
    assert (answer.next_page_token, answer.popularity_source) == ("t", PopularitySource.RELEASE)


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.integers(0, 10**13))
def test_durations_become_milliseconds(queue_ns: int, lookup_ns: int, compute_ns: int) -> None:
    message = ranking_service_pb2.Timing()
    message.queue.FromNanoseconds(queue_ns)
    message.feature_lookup.FromNanoseconds(lookup_ns)
    message.compute.FromNanoseconds(compute_ns)
    timing = decoding.timing(message)
    assert timing.queue_ms == pytest.approx(queue_ns / 1_000_000)
    assert timing.feature_lookup_ms == pytest.approx(lookup_ns / 1_000_000)
    assert timing.compute_ms == pytest.approx(compute_ns / 1_000_000)


@given(st.lists(st.lists(FLOATS, max_size=5), max_size=4))
def test_batch_columns_stay_with_their_user(columns: list[list[float]]) -> None:
    message = ranking_service_pb2.BatchRecommendResponse(release_id="r")
    for scores in columns:
        vector = to_vector(np.array(scores, np.float32))
        message.results.add(product_ids=[f"p{i}" for i in range(len(scores))], scores=vector, predicted_ratings=vector)
    answer = decoding.batch_recommendations(message)
    assert [row.scores.tolist() for row in answer.results] == columns
    assert [len(row.product_ids) for row in answer.results] == [len(scores) for scores in columns]


def test_each_user_of_a_batch_names_its_release() -> None:
    message = ranking_service_pb2.BatchRecommendResponse(
        release_id="stable", popularity_source="POPULARITY_SOURCE_LIVE"
    )
    message.results.add()
    message.results.add(release_id="canary")
    answer = decoding.batch_recommendations(message)
    assert [row.release_id for row in answer.results] == ["stable", "canary"]
    assert answer.popularity_source is PopularitySource.LIVE


def test_neighbours_keep_their_order() -> None:
    message = ranking_service_pb2.SimilarProductsResponse(release_id="r")
    for product_id, similarity in (("a", 0.75), ("b", -0.5)):
        message.products.add(similarity=similarity).product.product_id = product_id
    answer = decoding.similar_products(message)
    assert [(row.product.product_id, row.similarity) for row in answer.products] == [("a", 0.75), ("b", -0.5)]


def test_a_column_of_another_length_is_refused_by_name() -> None:
    message = ranking_service_pb2.BatchRecommendResponse()
    message.results.add(product_ids=["a", "b"], scores=to_vector(np.zeros(3, np.float32)))
    with pytest.raises(InvalidArgument, match=r"results\[0\]\.scores: must be 2 float32 values"):
        decoding.batch_recommendations(message)


def test_user_features_carry_space_and_release() -> None:
    message = embedding_service_pb2.GetUserFeaturesResponse(release_id="r")
    message.features.user_id = "u"
    message.features.kind = types_pb2.USER_KIND_WARM
    message.features.bert_mean.CopyFrom(to_vector(np.arange(384, dtype=np.float32)))
    message.features.als.CopyFrom(to_vector(np.arange(64, dtype=np.float32)))
    message.features.als_origin = types_pb2.ALS_ORIGIN_TRAINED
    message.features.age.FromMilliseconds(1500)
    message.features.seen_product_ids.extend(["a", "b"])
    message.features.space.encoder_id = "e"
    message.features.space.als_id = "l"

    features = decoding.user_features(message)

    assert features.bert_mean.tolist() == list(range(384))
    assert features.als.tolist() == list(range(64))
    assert (features.kind, features.als_origin, features.age_s) == (UserKind.WARM, AlsOrigin.TRAINED, 1.5)
    assert (features.seen_product_ids, features.space, features.release_id) == (
        ("a", "b"),
        EmbeddingSpace("e", "l"),
        "r",
    )


def test_every_review_of_a_batch_needs_its_answer() -> None:
    message = embedding_service_pb2.BatchRecordReviewsResponse()
    message.results.add(outcome="RECORD_OUTCOME_REPLACED")
    assert [(r.review_id, r.outcome) for r in decoding.recorded_reviews(message, ["r1"])] == [
        ("r1", RecordOutcome.REPLACED)
    ]
    with pytest.raises(InvalidArgument, match="results: must be 2, one a review, got 1"):
        decoding.recorded_reviews(message, ["r1", "r2"])


def test_popularity_has_a_weight_a_product() -> None:
    message = embedding_service_pb2.GetPopularityResponse(
        product_ids=["a", "b"], weights=to_vector(np.array([2, 0.5], np.float32))
    )
    message.half_life.FromSeconds(60)
    message.as_of_time.FromJsonString("2026-05-06T07:08:09Z")
    popularity = decoding.popularity(message)
    assert (popularity.product_ids, popularity.weights.tolist(), popularity.half_life_s) == (("a", "b"), [2, 0.5], 60)
    assert popularity.as_of_time == datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    message.product_ids.append("c")
    with pytest.raises(InvalidArgument, match="weights: must be 3 float32 values"):
        decoding.popularity(message)


def test_no_texts_are_an_empty_matrix() -> None:
    assert decoding.text_embeddings(embedding_service_pb2.EncodeTextsResponse()).vectors.shape == (0, 384)


def test_a_shadow_is_compared_and_nothing_else_is() -> None:
    message = release_service_pb2.ReleaseInfo(label=release_service_pb2.RELEASE_LABEL_SHADOW)
    assert decoding.release_info(message).shadow_comparison is None
    message.shadow_comparison.user_count = 2**40
    message.shadow_comparison.rank_overlap_at_10 = 0.5
    message.shadow_comparison.mean_score_difference = 0.25
    assert decoding.release_info(message).shadow_comparison == ShadowComparison(2**40, 0.5, 0.25)


def test_a_release_is_dated_in_utc() -> None:
    message = release_service_pb2.ReleaseInfo(
        release_id="r", label=release_service_pb2.RELEASE_LABEL_CANARY, canary_share=0.25
    )
    message.create_time.FromJsonString("2026-05-06T07:08:09Z")
    info = decoding.release_info(message)
    assert info.create_time == datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert (info.label, info.canary_share) == (ReleaseLabel.CANARY, 0.25)
