"""Live popularity: laid out by product, too old to be used, held for pages."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ranking_service.release.served import ServedRelease, open_served
from ranking_service.upstream.live_popularity import PopularityFeed
from tests.support.ranking import Clock
from tests.support.releases import ReferenceScorer, product_id, write_random_release
from twotower.errors import EmbeddingUnavailable
from twotower.scoring import POPULARITY_FLOOR, LiftScoring, log_popularity
from twotower.v1 import embedding_service_pb2, ranking_service_pb2
from twotower.wire import to_vector

PRODUCTS = 9


LIVE, RELEASE, NONE = (
    ranking_service_pb2.POPULARITY_SOURCE_LIVE,
    ranking_service_pb2.POPULARITY_SOURCE_RELEASE,
    ranking_service_pb2.POPULARITY_SOURCE_NONE,
)


@dataclass
class Feed:
    """Counters that the test chooses."""

    weights: dict[str, float]
    seconds: int = 1_000
    now_s: float = 1_000.0
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
    return PopularityFeed(
        feed.popularity, lambda: releases, interval_s=1, max_age_s=30, clock=clock, now_s=lambda: feed.now_s
    )


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


async def test_counters_fade_until_the_release_is_all_that_is_known(lift: ServedRelease) -> None:
    assert isinstance(lift.scoring, LiftScoring)
    scoring = replace(lift.scoring, prior_reviews=3.0, least_reviews=20.0)
    lift = replace(lift, scoring=scoring)
    feed = Feed({product_id(4): 30.0})
    live, half_life_s = live_popularity(feed, [lift], Clock()), scoring.half_life_days * 86_400
    shares = np.exp(scoring.log_popularity.astype(float)) - POPULARITY_FLOOR
    for half_lives, mass in ((0, 3.0), (1, 5.0), (40, 20.0)):
        feed.now_s = 1_000 + half_lives * half_life_s
        await live.refresh()
        counts = np.zeros(PRODUCTS)
        counts[4] = 30.0 / 2**half_lives
        expected = (mass * shares + counts) / (mass + counts.sum())
        found = live.snapshot(lift).log_popularity
        assert found is not None
        np.testing.assert_allclose(found, np.log(expected + POPULARITY_FLOOR), rtol=1e-5)
    np.testing.assert_allclose(expected, shares, rtol=1e-5)


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
