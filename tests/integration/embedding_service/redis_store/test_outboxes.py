"""Every change of a review reaches the counters once, whoever crashes or helps."""

import asyncio
from typing import Any

import pytest

from embedding_service.ports import Outcome
from embedding_service.redis_store.client import Script
from embedding_service.redis_store.keys import PopularityKeys, UserKeys
from embedding_service.redis_store.outboxes import Outboxes
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.stored_reviews import ENCODER, SPACE, counts, new_review

DAY_S = 86_400


async def test_every_kind_of_change_is_counted_once(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    await store.record(ENCODER, [new_review("r1"), new_review("r1"), new_review("r2", "p2"), new_review("r3", "p3")])
    assert await counts(store) == {"p1": 1, "p2": 1, "p3": 1}
    await store.record(ENCODER, [new_review("r1", "p2")])
    await store.retract(SPACE, "u1", "r3")
    await store.retract(SPACE, "u1", "r3")
    assert await counts(store) == {"p2": 1}  # two reviews of one day
    anonymous = [new_review("r1", "p4", user_id="Anonymous"), new_review("r1", "p4", user_id="Anonymous")]
    assert await store.record_anonymous(ENCODER, anonymous) == [Outcome.RECORDED, Outcome.DUPLICATE]
    assert await store.record_anonymous(ENCODER, [new_review("r1", "p5", user_id="Anonymous")]) == [Outcome.REPLACED]
    assert await counts(store) == {"p2": 1, "p5": 1}
    assert await store.retract_anonymous(ENCODER, "Anonymous", "r1")
    assert not await store.retract_anonymous(ENCODER, "Anonymous", "r1")
    await store.delete("u1")
    assert await counts(store) == {}
    assert await RedisPopularityStore(store.client, store.outboxes).all_days(ENCODER) == []


async def test_a_crash_between_applying_and_removing_counts_nothing_twice(
    store: RedisUserStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.register_space(SPACE)
    await store.record(ENCODER, [new_review(f"r{i}", time_s=i * DAY_S) for i in range(5)])
    evaluate = store.client.evaluate

    async def crash_at_trim(script: Script, *args: Any, **options: Any) -> Any:
        if script.name == "trim_outbox":
            raise ConnectionAbortedError
        return await evaluate(script, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "evaluate", crash_at_trim)
        with pytest.raises(ConnectionAbortedError):
            await store.outboxes.drain()
    await store.record(ENCODER, [new_review(f"r{i}", time_s=i * DAY_S) for i in range(5, 8)])
    after_restart = Outboxes(store.client)
    await after_restart.sweep()
    await after_restart.drain()
    assert await counts(store) == {"p1": 8}
    name = UserKeys("u1").outbox(ENCODER, is_cluster=False)
    assert await store.outboxes.positions() == {name: (8, 0)}
    assert int(await store.client.one("HGET", PopularityKeys(ENCODER).positions, name)) == 8


async def test_services_that_empty_the_same_outbox_count_once(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    others = [Outboxes(store.client) for _ in range(4)]
    for round_ in range(5):
        days = range(50 * round_, 50 * round_ + 50)
        await store.record(ENCODER, [new_review(f"r{day}", time_s=day * DAY_S) for day in days])
        for other in others:
            other.wake([UserKeys("u1").outbox(ENCODER, is_cluster=False)])
        await asyncio.gather(store.outboxes.drain(), *(other.drain() for other in others))
    assert await counts(store) == {"p1": 250}
