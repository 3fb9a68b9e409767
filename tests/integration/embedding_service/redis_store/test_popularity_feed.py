"""Live popularity from memory follows what any service writes, and the store forgets what is too old."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedding_service.operations.verify import Verifier
from embedding_service.redis_store import outboxes
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import PopularityKeys
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from embedding_service.usecases.popularity import Popularity
from tests.support.stored_reviews import ENCODER, SPACE, new_review

DAY_S = 86_400
NOW_S = 1_700_000_000.0
CATALOGUE = {f"p{i}": i for i in range(20)}


class Clock:
    """Seconds since 1970, set by the test."""

    now_s = NOW_S

    def __call__(self) -> float:
        """Now."""
        return self.now_s


def popularity(store: RedisUserStore, clock: Clock, half_life_days: float = 7.0) -> Popularity:
    """Of a release of twenty products."""
    release = SimpleNamespace(release_id="r", space=SPACE, catalogue_rows=CATALOGUE, half_life_days=half_life_days)
    spaces: Any = SimpleNamespace(find_als=lambda _: release, held=[release])
    return Popularity(RedisPopularityStore(store.client, store.outboxes), spaces, clock)


async def weights(feed: Popularity) -> dict[str, float]:
    """Product id → weight."""
    live = await feed.live()
    return dict(zip(live.product_ids, live.weights.tolist(), strict=True))


async def test_every_reader_follows_what_any_service_writes(
    store: RedisUserStore, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "_CHANGES", 50)  # so that some are missed, and all is read again
    other = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    await store.register_space(SPACE)
    clock = Clock()
    follower = popularity(store, clock)
    rng = np.random.default_rng(3)
    kept: list[tuple[str, str]] = []
    for number in range(30):
        reviews = [
            new_review(f"r{number} {i}", f"p{rng.integers(20)}", clock.now_s - rng.exponential(20 * DAY_S), f"u{i}")
            for i in range(int(rng.integers(1, 120)))
        ]
        writer = (store, other)[number % 2]
        await writer.record(ENCODER, reviews)
        kept += [(review.user_id, review.review_id) for review in reviews]
        for _ in range(10):
            await writer.retract(SPACE, *kept.pop(int(rng.integers(len(kept)))))
        await writer.outboxes.drain()
        clock.now_s += float(rng.choice([1, 1800, 2 * DAY_S]))
        followed, anew = await weights(follower), await weights(popularity(other, clock))
        assert list(followed) == list(anew)
        np.testing.assert_allclose(list(followed.values()), list(anew.values()), rtol=3e-6)
    await other.close()


async def test_reviews_of_the_future_count_when_their_time_comes(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    clock = Clock()
    feed = popularity(store, clock)
    await store.record(ENCODER, [new_review("r0", "p0", NOW_S - 100)])
    for i, days in enumerate((1, 5, 3000)):
        await store.record(ENCODER, [new_review(f"r{i + 1}", f"p{i + 1}", NOW_S + days * DAY_S, f"u{i}")])
    seen = []
    for passed in (0, 0.99, 1.1, 4.9, 5.1, 2999, 3001):
        clock.now_s = NOW_S + passed * DAY_S
        seen.append(sorted(await weights(feed)))
    assert seen == [["p0"], ["p0"], ["p0", "p1"], ["p0", "p1"], ["p0", "p1", "p2"], ["p0", "p1", "p2"], ["p3"]]


async def test_days_behind_the_horizon_are_forgotten_and_verify_knows(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    clock = Clock()
    feed = popularity(store, clock)
    for age_days in (0, 10, 190, 210, 2000):
        await store.record(ENCODER, [new_review(f"r{age_days}", "p1", NOW_S - age_days * DAY_S, f"u{age_days}")])
    assert list(await weights(feed)) == ["p1"]
    stored = RedisPopularityStore(store.client, store.outboxes)
    ages = sorted(int(NOW_S // DAY_S) - day for day in await stored.all_days(ENCODER))
    assert ages == [0, 10, 190]  # within 24 half-lives and a month
    # What is written of a forgotten day is not counted, and nothing is missed.
    await store.record(ENCODER, [new_review("late", "p2", NOW_S - 2001 * DAY_S, "u")])
    await store.retract(SPACE, "u2000", "r2000")
    assert list(await weights(feed)) == ["p1"]
    assert (await Verifier(store).verify(repair=True)).clean
    assert not await store.client.one("EXISTS", PopularityKeys(ENCODER).day(int(NOW_S // DAY_S) - 2001))


async def test_a_counter_that_has_no_room_stops_no_other_and_nothing_counts_twice(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    keys = PopularityKeys(ENCODER)
    day, hour = divmod(int(NOW_S) // 3600, 24)
    await store.client.one("HSET", keys.day(day), f"u{hour:02}p1", 2**63 - 1)
    await store.record(ENCODER, [new_review(f"r{i}", f"p{i}", NOW_S) for i in range(3)])
    for _ in range(3):
        await store.outboxes.sweep()
        await store.outboxes.drain()
    counters = await store.client.one("HMGET", keys.day(day), f"u{hour:02}p0", f"u{hour:02}p2")
    assert [int(counter) >> 40 for counter in counters] == [1, 1]
    assert {entries for _, entries in (await store.outboxes.positions()).values()} == {0}


async def test_a_repair_of_very_many_counters_goes_in_pages(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    day = int(NOW_S // DAY_S)
    changes = {day: {f"u{i % 24:02}product {i}".encode(): 1 << 40 for i in range(30_000)}}
    await store.outboxes.add(ENCODER, "repair", changes)
    assert await store.client.one("HLEN", PopularityKeys(ENCODER).day(day)) == 30_000
