"""The breaker, features that are kept, and live popularity; time is a number that the test moves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ranking_service.release.served import ServedRelease, open_served
from ranking_service.upstream.circuit_breaker import CircuitBreaker, GuardedFeatures
from ranking_service.upstream.feature_lookup import FeatureLookup
from ranking_service.upstream.live_popularity import PopularityFeed
from tests.support.embedding import to_columns, warm_user
from tests.support.releases import ReferenceScorer, product_id, random_user_rows, write_random_release
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.scoring import log_popularity
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, types_pb2
from twotower.wire import to_vector

PRODUCTS = 9
LIVE, RELEASE, NONE = (
    ranking_service_pb2.POPULARITY_SOURCE_LIVE,
    ranking_service_pb2.POPULARITY_SOURCE_RELEASE,
    ranking_service_pb2.POPULARITY_SOURCE_NONE,
)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS, lift=True)
    return open_served(release.path, ReferenceScorer)


@dataclass
class Source:
    """A feature source that fails when told to, and counts."""

    served: ServedRelease
    failure: BaseException | None = None
    calls: list[list[str]] = field(default_factory=list)

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        self.calls.append(list(user_ids))
        if self.failure:
            raise self.failure
        rows = random_user_rows(np.random.default_rng(len(self.calls)), len(user_ids))
        users = [warm_user(row, [product_id(len(user_id))]) for user_id, row in zip(user_ids, rows, strict=True)]
        return to_columns(users, space)


async def test_the_breaker_opens_probes_and_closes(lift: ServedRelease) -> None:
    clock, source = Clock(), Source(lift, EmbeddingUnavailable("away"))
    guarded = GuardedFeatures(source, CircuitBreaker(3, 2.0, clock))
    for _ in range(10):
        with pytest.raises(EmbeddingUnavailable):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 3
    clock.now += 2.0
    for _ in range(5):
        with pytest.raises(EmbeddingUnavailable):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 4  # one probe, which failed
    clock.now += 2.0
    source.failure = None
    for _ in range(5):
        assert await guarded.get(["u"], lift.space)
    assert len(source.calls) == 9


def test_one_probe_at_a_time_and_an_abandoned_one_is_none() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 1.0, clock)
    breaker.failed()
    assert not breaker.admit()
    clock.now += 1.0
    assert [breaker.admit(), breaker.admit()] == [True, False]
    breaker.abandoned()
    assert breaker.admit()
    breaker.succeeded()
    assert [breaker.admit(), breaker.admit()] == [True, True]


async def test_a_refusal_is_an_answer(lift: ServedRelease) -> None:
    """Of a space that it does not have; the service itself is well."""
    source = Source(lift, SpaceMismatch("no such space"))
    guarded = GuardedFeatures(source, CircuitBreaker(2, 1.0, Clock()))
    for _ in range(5):
        with pytest.raises(SpaceMismatch):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 5


async def test_kept_features_serve_who_allows_it(lift: ServedRelease) -> None:
    clock, source = Clock(), Source(lift)
    lookup = FeatureLookup(source, cache_users=2, clock=clock)
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


async def test_without_leave_nothing_is_kept(lift: ServedRelease) -> None:
    source = Source(lift)
    lookup = FeatureLookup(source)
    await lookup.get(lift, ["ann"])
    await lookup.get(lift, ["ann"], [60.0])
    assert source.calls == [["ann"], ["ann"]]


@dataclass
class Feed:
    """Counters that the test chooses."""

    weights: dict[str, float]
    seconds: int = 1_000
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def popularity(self, als_id: str) -> embedding_service_pb2.GetPopularityResponse:
        self.asked.append(als_id)
        if self.away:
            raise EmbeddingUnavailable("away")
        weights = to_vector(np.array(list(self.weights.values()), np.float32))
        answer = embedding_service_pb2.GetPopularityResponse(product_ids=self.weights, weights=weights)
        answer.as_of_time.seconds = self.seconds
        return answer


def live_popularity(feed: Feed, releases: Iterable[ServedRelease], clock: Clock) -> PopularityFeed:
    return PopularityFeed(feed.popularity, lambda: releases, interval_s=1, max_age_s=30, clock=clock)


async def test_live_popularity_is_laid_out_by_product(lift: ServedRelease) -> None:
    clock, feed = Clock(), Feed({product_id(4): 3.0, "unknown": 100.0, product_id(0): 1.0})
    live = live_popularity(feed, [lift], clock)
    assert live.snapshot(lift).source == RELEASE
    await live.refresh()
    counts = np.zeros(PRODUCTS)
    counts[[4, 0]] = 3, 1
    found = live.snapshot(lift)
    assert (found.source, found.version) == (LIVE, 1_000 * 10**9)
    np.testing.assert_array_equal(found.log_popularity, log_popularity(counts))
    assert feed.asked == [lift.space.als_id]

    feed.away = True
    clock.now += 30
    await live.refresh()
    assert live.snapshot(lift) is found
    clock.now += 1
    assert (live.snapshot(lift).source, live.snapshot(lift).log_popularity) == (RELEASE, None)
    feed.away, feed.seconds = False, 1_031
    await live.refresh()
    assert live.snapshot(lift).version == 1_031 * 10**9


async def test_counters_without_weight_say_less_than_the_release(lift: ServedRelease) -> None:
    feed = Feed({product_id(1): 2.0})
    live = live_popularity(feed, [lift], Clock())
    await live.refresh()
    feed.weights = {product_id(1): 0.0}
    await live.refresh()
    assert live.snapshot(lift).source == RELEASE


async def test_a_release_without_popularity_says_so(tmp_path: Path) -> None:
    plain = open_served(write_random_release(tmp_path, products=PRODUCTS).path, ReferenceScorer)
    feed = Feed({product_id(1): 2.0})
    live = live_popularity(feed, [plain], Clock())
    await live.refresh()
    assert live.snapshot(plain).source == NONE
    assert feed.asked == []


async def test_a_page_keeps_the_popularity_of_the_first(lift: ServedRelease) -> None:
    feed = Feed({product_id(1): 2.0})
    live = live_popularity(feed, [lift], Clock())
    await live.refresh()
    first = live.snapshot(lift)
    live.hold(lift, first)
    feed.weights, feed.seconds = {product_id(2): 2.0}, 2_000
    await live.refresh()
    assert live.held(lift, first.version) is first
    assert live.held(lift, 77) is live.snapshot(lift)
    assert live.held(lift, 0).source == RELEASE
