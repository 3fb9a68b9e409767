"""Features become rows, must not be used if they are broken, and are kept for those who allow it."""

import numpy as np
import pytest

from ranking_service.release.served import ServedRelease
from ranking_service.upstream.feature_lookup import FeatureLookup, cold_start, from_columns
from ranking_service.upstream.user_batch import UserContext
from tests.support.fake_embedding import to_columns
from tests.support.ranking import Clock, FakeFeatures
from tests.support.releases import product_id, unit_vectors
from tests.support.spaces import any_space
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM
from twotower.v1 import embedding_service_pb2, types_pb2
from twotower.wire import to_vector


async def test_kept_features_serve_who_allows_it(lift: ServedRelease) -> None:
    clock, source = Clock(), FakeFeatures()
    lookup = FeatureLookup(source, any_space().mismatched, cache_users=2, clock=clock)
    first = await lookup.get(lift, ["ann", "bob"], [60.0, 60.0])
    clock.now += 10
    again = await lookup.get(lift, ["cleo", "bob", "ann"], [60.0, 0.0, 60.0])
    assert source.calls == [["ann", "bob"], ["cleo", "bob"]]
    np.testing.assert_array_equal(again.rows[2], first.rows[0])
    assert (again.rows[1] != first.rows[1]).any()
    assert again.seen == [[4], [3], [3]]
    assert [user.staleness_us for user in again.contexts] == [-1, -1, 10_000_000]

    source.failure = EmbeddingUnavailable("away")
    away = await lookup.get(lift, ["ann", "zoe", "bob"], [60.0, 60.0, 5.0])
    assert [user.degraded for user in away.contexts] == [False, True, True]
    np.testing.assert_array_equal(away.rows[0], first.rows[0])
    clock.now += 51
    late = await lookup.get(lift, ["ann"], [60.0])
    assert late.contexts[0].degraded


async def test_nothing_older_than_an_hour_is_answered_with_whatever_is_asked_for(lift: ServedRelease) -> None:
    clock, source = Clock(), FakeFeatures()
    lookup = FeatureLookup(source, any_space().mismatched, clock=clock)
    day = 86_400.0
    await lookup.get(lift, ["ann"], [day])
    clock.now += 3_600
    assert (await lookup.get(lift, ["ann"], [day])).contexts[0].staleness_us == 3_600_000_000
    source.failure = EmbeddingUnavailable("away")
    clock.now += 1
    assert (await lookup.get(lift, ["ann"], [day])).contexts[0].degraded


async def test_without_leave_nothing_is_kept(lift: ServedRelease) -> None:
    source = FakeFeatures()
    lookup = FeatureLookup(source, any_space().mismatched)
    await lookup.get(lift, ["ann"])
    await lookup.get(lift, ["ann"], [60.0])
    assert source.calls == [["ann"], ["ann"]]


async def test_what_nobody_may_ask_for_any_more_is_dropped(lift: ServedRelease) -> None:
    clock = Clock()
    lookup = FeatureLookup(FakeFeatures(), any_space().mismatched, clock=clock)
    await lookup.get(lift, ["ann", "bob"], [60.0, 60.0])
    clock.now += 3_601
    await lookup.get(lift, ["cleo"], [60.0])
    assert [user_id for *_, user_id in lookup._cache] == ["cleo"]


async def test_a_user_of_very_many_products_is_not_kept(lift: ServedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking_service.upstream.feature_lookup._CACHED_SEEN", 0)
    source = FakeFeatures()
    lookup = FeatureLookup(source, any_space().mismatched)
    for _ in range(2):
        await lookup.get(lift, ["ann"], [60.0])
    assert source.calls == [["ann"], ["ann"]]


def features_of(user_id: str, **changes: object) -> types_pb2.UserFeatures:
    rng = np.random.default_rng(len(user_id))
    features = types_pb2.UserFeatures(
        user_id=user_id,
        kind=types_pb2.USER_KIND_WARM,
        bert_mean=to_vector(unit_vectors(rng, 1)[0]),
        als=to_vector(rng.normal(size=ALS_DIM).astype(np.float32)),
        als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
        review_count=2,
        seen_product_ids=[product_id(3), "gone"],
    )
    features.age.seconds = 60
    features.MergeFrom(types_pb2.UserFeatures(**changes))  # type: ignore[arg-type]
    return features


def test_features_become_rows_in_the_order_of_the_user_tower(lift: ServedRelease) -> None:
    warm = features_of("warm")
    anonymous = features_of("anonymous", kind=types_pb2.USER_KIND_ANONYMOUS)
    batch = from_columns(to_columns([warm, anonymous], lift.space), lift)
    assert batch.rows.shape == (2, USER_DIM)
    assert batch.rows[0].tobytes() == warm.als.values + warm.bert_mean.values + np.float32(0).tobytes()
    assert batch.rows[1, -1] == 1
    assert batch.seen == [[3], [3]]
    assert batch.contexts == [
        UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_FOLDED_IN, 2, 60_000_000),
        UserContext(types_pb2.USER_KIND_ANONYMOUS, types_pb2.ALS_ORIGIN_FOLDED_IN, 2, 60_000_000),
    ]


def test_features_of_another_space_are_refused(lift: ServedRelease) -> None:
    other = types_pb2.EmbeddingSpace(encoder_id=lift.space.encoder_id, als_id="another")
    with pytest.raises(SpaceMismatch, match="another"):
        from_columns(to_columns([features_of("a"), features_of("b")], other), lift)


@pytest.mark.parametrize(
    "broken",
    [
        {"als": b"\0" * 4 * (ALS_DIM - 1)},
        {"bert_means": b"\0" * 4 * (BERT_DIM + 1)},
        {"review_counts": [1, 2]},
        {"als_origins": []},
        {"ages_us": []},
        {"seen_counts": [3]},
        {"seen_product_ids": []},
    ],
)
def test_unusable_columns_are_as_good_as_none(lift: ServedRelease, broken: dict[str, object]) -> None:
    columns = to_columns([features_of("a")], lift.space)
    for name in broken:
        columns.ClearField(name)
    columns.MergeFrom(embedding_service_pb2.UserFeatureColumns(**broken))  # type: ignore[arg-type]
    with pytest.raises(EmbeddingUnavailable):
        from_columns(columns, lift)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_user_whose_features_are_no_numbers_is_cold_and_the_others_stay(lift: ServedRelease, number: float) -> None:
    users = [features_of("a"), features_of("b"), features_of("c")]
    users[1].als.values = np.full(ALS_DIM, number, "<f4").tobytes()
    batch, expected = (
        from_columns(to_columns(some, lift.space), lift) for some in (users, [users[0], users[0], users[2]])
    )
    for user in (0, 2):
        np.testing.assert_array_equal(batch.rows[user], expected.rows[user])
        assert batch.contexts[user] == expected.contexts[user]
    np.testing.assert_array_equal(batch.rows[1], cold_start(["b"], lift).rows[0])
    assert batch.contexts[1].degraded
    assert batch.seen == expected.seen


def test_cold_start_knows_anonymous_names(lift: ServedRelease) -> None:
    batch = cold_start(["ann", " byamazon CUSTOMER "], lift)
    assert batch.rows[:, -1].tolist() == [0, 1]
    assert not batch.rows[:, :ALS_DIM].any()
    np.testing.assert_array_equal(batch.rows[:, ALS_DIM:-1], [lift.global_mean] * 2)
    kinds = types_pb2.USER_KIND_COLD, types_pb2.USER_KIND_ANONYMOUS
    assert batch.contexts == [UserContext(kind, types_pb2.ALS_ORIGIN_NONE, degraded=True) for kind in kinds]
