"""Answers become values without loss, whatever a newer server puts in."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients import decoding
from clients.errors import InvalidArgument
from clients.results import AlsOrigin, EmbeddingSpace, RecordOutcome, ReleaseLabel, UserKind
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2, types_pb2
from twotower.wire import to_vector

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("kind", "wrapper", "prefix"),
    [
        (UserKind, types_pb2.UserKind, "USER_KIND_"),
        (AlsOrigin, types_pb2.AlsOrigin, "ALS_ORIGIN_"),
        (RecordOutcome, embedding_service_pb2.RecordOutcome, "RECORD_OUTCOME_"),
        (ReleaseLabel, release_service_pb2.ReleaseLabel, "RELEASE_LABEL_"),
    ],
)
def test_every_enum_value_of_the_api_has_its_word(kind, wrapper, prefix):
    assert {value.upper() for value in kind} == {name.removeprefix(prefix) for name, _ in wrapper.items()}
    for name, number in wrapper.items():
        assert decoding.enum_value(kind, wrapper, number).upper() == name.removeprefix(prefix)


def test_an_enum_value_of_a_newer_server_is_unspecified():
    assert decoding.enum_value(UserKind, types_pb2.UserKind, 99) is UserKind.UNSPECIFIED


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), FLOATS, FLOATS), max_size=8), st.integers(0, 2**32 - 1), st.booleans()
)
def test_recommendations_keep_order_and_numbers(rows, review_count, degraded):
    message = ranking_service_pb2.RecommendResponse(release_id="r")
    for product_id, name, score, rating in rows:
        message.recommendations.add(product_id=product_id, name=name, brand="B", score=score, predicted_rating=rating)
    message.user.review_count = review_count
    message.user.degraded = degraded

    answer = decoding.recommendations(message)

    assert [(p.product_id, p.name, p.score, p.predicted_rating) for p in answer.products] == rows
    assert (answer.release_id, answer.user.review_count, answer.user.degraded) == ("r", review_count, degraded)
    assert answer.user.feature_age_s is None


def test_an_age_of_zero_is_not_no_age():
    message = ranking_service_pb2.UserContext()
    message.feature_age.SetInParent()
    assert decoding.user_context(message).feature_age_s == 0.0


@given(st.integers(0, 10**13), st.integers(0, 10**13), st.integers(0, 10**13))
def test_durations_become_milliseconds(queue_ns, lookup_ns, compute_ns):
    message = ranking_service_pb2.Timing()
    message.queue.FromNanoseconds(queue_ns)
    message.feature_lookup.FromNanoseconds(lookup_ns)
    message.compute.FromNanoseconds(compute_ns)
    timing = decoding.timing(message)
    assert timing.queue_ms == pytest.approx(queue_ns / 1_000_000)
    assert timing.feature_lookup_ms == pytest.approx(lookup_ns / 1_000_000)
    assert timing.compute_ms == pytest.approx(compute_ns / 1_000_000)


@given(st.lists(st.lists(FLOATS, max_size=5), max_size=4))
def test_batch_columns_stay_with_their_user(columns):
    message = ranking_service_pb2.BatchRecommendResponse(release_id="r")
    for scores in columns:
        vector = to_vector(np.array(scores, np.float32))
        message.results.add(product_ids=[f"p{i}" for i in range(len(scores))], scores=vector, predicted_ratings=vector)
    answer = decoding.batch_recommendations(message)
    assert [row.scores.tolist() for row in answer.results] == columns
    assert [len(row.product_ids) for row in answer.results] == [len(scores) for scores in columns]


def test_a_column_of_another_length_is_refused_by_name():
    message = ranking_service_pb2.BatchRecommendResponse()
    message.results.add(product_ids=["a", "b"], scores=to_vector(np.zeros(3, np.float32)))
    with pytest.raises(InvalidArgument, match=r"results\[0\]\.scores: must be 2 float32 values"):
        decoding.batch_recommendations(message)


def test_user_features_carry_space_and_release():
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
    assert (features.seen_product_ids, features.space, features.release_id) == (("a", "b"), EmbeddingSpace("e", "l"), "r")


def test_no_texts_are_an_empty_matrix():
    assert decoding.text_embeddings(embedding_service_pb2.EncodeTextsResponse()).vectors.shape == (0, 384)


def test_a_release_is_dated_in_utc():
    message = release_service_pb2.ReleaseInfo(release_id="r", label=release_service_pb2.RELEASE_LABEL_CANARY)
    message.create_time.FromJsonString("2026-05-06T07:08:09Z")
    info = decoding.release_info(message)
    assert info.create_time == datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert info.label is ReleaseLabel.CANARY
