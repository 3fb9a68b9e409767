"""Users who were idle for too long: removed whole, with their reviews in live popularity, on a real Redis."""

import asyncio
import time

import numpy as np
import pytest

from embedding_service.operations.verify import Verifier
from embedding_service.ports import AlsOrigin, FoldedIn, ImportedUser, Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.idle_users import IdleUsers
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import StartService, features, imported_user, live_popularity, publish, record
from tests.support.encoders import hash_vector
from tests.support.releases import product_id
from tests.support.stored_reviews import ENCODER, SPACE, counts, new_review
from twotower.release import Release
from twotower.v1 import types_pb2

OLD = Space("encoder-1", "als-0")
DAY_S = 86_400
ALS = np.ones(64, np.float32)


class Clock:
    """Seconds since 1970, as the test wants it."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(redis_server: RedisServer, clock: Clock) -> RedisUserStore:
    """A store whose clock is the test's."""
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=4), clock=clock)
    for space in (OLD, SPACE):
        await store.register_space(space)
    return store


async def user_keys(store: RedisUserStore) -> list[str]:
    return sorted([key.decode() async for page in store.client.scan("tt:{u:*") for key in page])


async def test_who_was_idle_is_gone_whole_and_nobody_else(store: RedisUserStore, clock: Clock) -> None:
    idle = IdleUsers(store.client, store.outboxes, 10, clock)
    for user in ("idle", "{%} idle", "reader", "writer"):
        [change] = await store.record(ENCODER, [new_review("r1", f"p of {user}", user_id=user)])
        for space in (OLD, SPACE):
            await store.keep_als(space, [FoldedIn(user, change.changed_us, ALS, AlsOrigin.FOLDED_IN)])
    clock.now_s += 6 * DAY_S
    await store.record(
        ENCODER, [new_review("r2", "p2", user_id="writer"), new_review("r1", "p of reader", user_id="reader")]
    )
    clock.now_s += 3.9 * DAY_S
    await store.read(SPACE, ["reader"])
    assert await idle.sweep() == 0
    clock.now_s += 0.2 * DAY_S
    assert await idle.sweep() == 3  # a look-up, or the same review again, is no change
    assert {key[key.index(":") : key.index("}")] for key in await user_keys(store)} == {":{u:writer"}
    assert (await store.read(SPACE, ["idle", "{%} idle", "reader", "writer"])).counts.tolist() == [0, 0, 0, 2]
    assert await counts(store) == {"p of writer": 1, "p2": 1}
    assert (await Verifier(store).verify()).clean
    assert await idle.sweep() == 0
    await store.close()


async def test_an_import_brings_an_idle_user_back_and_counts_once(store: RedisUserStore, clock: Clock) -> None:
    idle = IdleUsers(store.client, store.outboxes, 10, clock)
    user = ImportedUser("u1", [new_review("r1")], hash_vector("r1").astype(np.int32), ALS)
    for _ in range(3):
        await store.merge(SPACE, [user])
        assert await counts(store) == {"p1": 1}
        assert (await Verifier(store).verify()).clean
        clock.now_s += 11 * DAY_S
        assert await idle.sweep() == 1
        assert await counts(store) == {}
        assert await user_keys(store) == []
    await store.close()


async def test_a_user_who_writes_while_being_removed_is_there_with_all_reviews_or_the_new_one(
    store: RedisUserStore, clock: Clock
) -> None:
    idle = [IdleUsers(store.client, store.outboxes, 10, clock) for _ in range(3)]
    for round_ in range(20):
        names = [f"u{number}" for number in range(8)]
        await store.record(ENCODER, [new_review("old", user_id=name) for name in names])
        clock.now_s += 11 * DAY_S
        writes = (store.record(ENCODER, [new_review(f"new {round_}", user_id=name)]) for name in names)
        await asyncio.gather(*(sweeper.sweep() for sweeper in idle), *writes)
        found = await store.read(SPACE, names)
        for name, count in zip(names, found.counts.tolist(), strict=True):
            assert count in (1, 2)
            await store.delete(name)
    assert await counts(store) == {}
    assert (await Verifier(store).verify()).clean
    await store.close()


async def test_the_service_removes_by_itself(
    start_service: StartService, redis_server: RedisServer, release: Release
) -> None:
    service = await start_service(store=redis_server.url, user_ttl_days=1.0 / DAY_S)
    await publish(service, release, [imported_user("imported", ["a"])])
    await record(service, "r1", "recorded", product_id(1))
    for user in ("imported", "recorded"):
        while (await features(service, user)).kind == types_pb2.USER_KIND_WARM:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
    assert list((await live_popularity(service)).product_ids) == []
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    assert await user_keys(store) == []
    assert (await Verifier(store).verify()).clean
    await store.close()


async def test_a_sweep_never_removes_everybody(
    store: RedisUserStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reviews = [new_review("r1", user_id=f"user {i}") for i in range(600)]
    await store.record(ENCODER, reviews)
    idle = IdleUsers(store.client, store.outboxes, 10, clock)
    clock.now_s += 1000 * DAY_S
    assert 100 <= await idle.sweep() <= 160
    assert "more than a tenth of the users are idle" in caplog.text


@pytest.mark.parametrize("jump_s", [400 * DAY_S, -400 * DAY_S])
async def test_a_clock_that_jumps_removes_nobody(
    redis_server: RedisServer, jump_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=4))
    await store.register_space(SPACE)
    await store.record(ENCODER, [new_review("r1")])
    for clock in (lambda: time.time() + jump_s, _Jumping(jump_s)):
        task = asyncio.create_task(IdleUsers(store.client, store.outboxes, 1, clock).run())
        while "the clock can't be trusted" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        caplog.clear()
    assert (await store.read(SPACE, ["u1"])).counts.tolist() == [1]
    await store.close()


class _Jumping:
    """The machine's clock, which jumps after it was first looked at."""

    def __init__(self, jump_s: float) -> None:
        self._jumps = iter([0.0])
        self._jump_s = jump_s

    def __call__(self) -> float:
        return time.time() + next(self._jumps, self._jump_s)
