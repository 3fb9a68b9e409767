"""What every UserStore must do, against a real Redis."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from embedding_service.ports import ActiveRelease, AlsOrigin, FoldedIn, ImportedUser, NewReview, Outcome, Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import SCHEMA_KEY, UserKeys
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.encoders import hash_vector
from tests.support.stored_reviews import ENCODER, SPACE
from twotower.errors import StoreUnavailable

ALS = np.linspace(-1, 1, 64, dtype=np.float32)


def review(
    review_id: str = "r1", user_id: str = "u1", product_id: str = "p1", rating: float = 4.0, text: str = "text"
) -> NewReview:
    digest = hash_vector(f"{product_id} {rating} {text}").tobytes()[:16]
    return NewReview(user_id, review_id, product_id, rating, 1_000_000, hash_vector(text), digest)


def imported(review_id: str, text: str, **changes: object) -> NewReview:
    fields = {"user_id": "u1", "product_id": "p1", "rating": 4.0, "time_us": 1_000_000, "digest": b""} | changes
    return NewReview(review_id=review_id, fixed_point=hash_vector(text), **fields)  # type: ignore[arg-type]


async def dump(redis_server: RedisServer) -> dict[Any, object]:
    """Every key of a user with its value."""
    async with Redis.from_url(redis_server.url) as redis:
        names = [key for key in await redis.keys() if b"{u:" in key]
        return {key: await value(redis, key) for key in names}


async def value(redis: Redis, key: Any) -> object:
    """Of a key of any type that users have."""
    kind = await redis.type(key)
    if kind == b"zset":
        return await redis.zrange(key, 0, -1, withscores=True)
    return await (redis.get(key) if kind == b"string" else redis.hgetall(key))


async def test_a_new_user_has_nothing(store: RedisUserStore) -> None:
    users = await store.read(SPACE, ["nobody", "no {body}"])
    assert users.counts.tolist() == [0, 0]
    assert not users.sums.any()
    assert users.als_origins.tolist() == [AlsOrigin.MISSING, AlsOrigin.MISSING]
    assert users.seen_product_ids == [[], []]


async def test_the_same_review_counts_once_and_changes_nothing(
    store: RedisUserStore, redis_server: RedisServer
) -> None:
    [first] = await store.record(ENCODER, [review()])
    before = await dump(redis_server)
    again = await store.record(ENCODER, [review(), review()])
    assert first.outcome is Outcome.RECORDED
    assert [change.outcome for change in again] == [Outcome.DUPLICATE, Outcome.DUPLICATE]
    assert first.review_count == again[0].review_count == 1
    assert await dump(redis_server) == before


async def test_a_review_with_other_content_is_replaced_exactly(store: RedisUserStore) -> None:
    await store.record(ENCODER, [review("r1", rating=4.1), review("r2", product_id="p2", text="other")])
    [change] = await store.record(ENCODER, [review("r1", product_id="p3", rating=0.3, text="edited")])
    assert (change.outcome, change.review_count) == (Outcome.REPLACED, 2)
    assert change.stars == {"p2": 4.0, "p3": 0.3}
    users = await store.read(SPACE, ["u1"])
    np.testing.assert_array_equal(users.sums[0], hash_vector("edited").astype(int) + hash_vector("other"))


async def test_an_imported_review_sent_again_by_its_author_is_a_duplicate(store: RedisUserStore) -> None:
    await store.merge(SPACE, [ImportedUser("u1", [imported("r1", "text")], hash_vector("text").astype(np.int32), ALS)])
    changes = await store.record(ENCODER, [review("r1", text="text"), review("r1", text="other text")])
    assert [change.outcome for change in changes] == [Outcome.DUPLICATE, Outcome.REPLACED]


async def test_two_hundred_writers_of_one_user_sum_exactly(store: RedisUserStore) -> None:
    texts = [f"text {i}" for i in range(200)]
    await asyncio.gather(*(store.record(ENCODER, [review(f"r{i}", text=text)]) for i, text in enumerate(texts)))
    users = await store.read(SPACE, ["u1"])
    assert users.counts[0] == 200
    np.testing.assert_array_equal(users.sums[0], np.sum([hash_vector(text) for text in texts], axis=0, dtype=int))


async def test_a_full_user_is_refused_and_unchanged(redis_server: RedisServer) -> None:
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=1), max_reviews_per_user=2)
    await store.record(ENCODER, [review("r1"), review("r2")])
    before = await dump(redis_server)
    full, replaced = await store.record(ENCODER, [review("r3"), review("r2", text="new")])
    assert full.outcome is Outcome.FULL
    assert replaced.outcome is Outcome.REPLACED
    await store.record(ENCODER, [review("r2")])
    after = await dump(redis_server)
    assert {k: v for k, v in after.items() if b":acc:" not in k} == {
        k: v for k, v in before.items() if b":acc:" not in k
    }
    await store.close()


async def test_an_overflow_writes_nothing(store: RedisUserStore, redis_server: RedisServer) -> None:
    vector = hash_vector("text").astype(np.int32)
    nearly = (
        np.where(np.arange(384) == 383, 2**31 - 1, 0).astype(np.int32)
        if vector[383] > 0
        else np.full(384, -(2**31) + 1, np.int32)
    )
    await store.merge(SPACE, [ImportedUser("u1", [imported("r0", "zero")], nearly, ALS)])
    before = await dump(redis_server)
    [change] = await store.record(ENCODER, [review("r1", text="text")])
    assert change.outcome is Outcome.FULL
    assert await dump(redis_server) == before


async def test_an_als_vector_is_kept_only_for_the_state_it_was_made_from(store: RedisUserStore) -> None:
    [first] = await store.record(ENCODER, [review("r1")])
    [second] = await store.record(ENCODER, [review("r2")])
    await store.keep_als(SPACE, [FoldedIn("u1", first.changed_us, ALS, AlsOrigin.FOLDED_IN)])
    assert (await store.read(SPACE, ["u1"])).als_origins[0] == AlsOrigin.MISSING
    kept = FoldedIn("u1", second.changed_us, ALS, AlsOrigin.FOLDED_IN)
    await store.keep_als(SPACE, [kept, FoldedIn("nobody", 0, ALS, AlsOrigin.NONE)])
    users = await store.read(SPACE, ["u1", "nobody"])
    assert users.als_origins.tolist() == [AlsOrigin.FOLDED_IN, AlsOrigin.MISSING]
    np.testing.assert_array_equal(users.als[0], ALS)
    await store.record(ENCODER, [review("r3")])
    assert (await store.read(SPACE, ["u1"])).als_origins[0] == AlsOrigin.MISSING


async def test_versions_grow_even_if_the_clock_goes_back(redis_server: RedisServer) -> None:
    times = iter([2000.0, 1000.0, 3000.0])
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=1), clock=lambda: next(times))
    changes = [(await store.record(ENCODER, [review(f"r{i}")]))[0].changed_us for i in range(3)]
    assert changes == [2_000_000_000, 2_000_000_001, 3_000_000_000]
    await store.close()


def imported_user(reviews: Sequence[NewReview], user_id: str = "u1") -> ImportedUser:
    sums: Any = np.sum([review.fixed_point for review in reviews], axis=0, dtype=np.int32)
    return ImportedUser(user_id, reviews, sums, ALS)


async def test_importing_a_user_twice_changes_nothing(store: RedisUserStore, redis_server: RedisServer) -> None:
    await store.record(ENCODER, [review("mine", user_id="u2")])
    user = imported_user([imported("r1", "a"), imported("r2", "b", rating=3.0)])
    assert await store.merge(SPACE, [user]) == []
    before = await dump(redis_server)
    await store.merge(SPACE, [user])
    assert await dump(redis_server) == before
    users = await store.read(SPACE, ["u1", "u2"])
    np.testing.assert_array_equal(users.sums[0], user.sums)
    assert users.counts.tolist() == [2, 1]
    assert users.als_origins.tolist() == [AlsOrigin.TRAINED, AlsOrigin.MISSING]
    assert users.seen_product_ids == [["p1"], ["p1"]]
    [snapshot] = await store.snapshots(ENCODER, ["u1"])
    assert snapshot.stars == {"p1": 7.0}


async def test_an_import_keeps_the_reviews_recorded_since(store: RedisUserStore, redis_server: RedisServer) -> None:
    await store.record(ENCODER, [review("live", product_id="p9", text="live"), review("r1", text="as it was")])
    user = imported_user([imported("r1", "a"), imported("r2", "b", rating=3.0)])
    await store.merge(SPACE, [user])
    users = await store.read(SPACE, ["u1"])
    np.testing.assert_array_equal(users.sums[0], user.sums + hash_vector("live"))
    assert users.counts.tolist() == [3]
    assert users.als_origins.tolist() == [AlsOrigin.MISSING]  # the trainer knew less
    [snapshot] = await store.snapshots(ENCODER, ["u1"])
    assert snapshot.stars == {"p1": 7.0, "p9": 4.0}
    before = await dump(redis_server)
    await store.merge(SPACE, [user])
    assert await dump(redis_server) == before
    assert await store.retract(SPACE, "u1", "live") is not None
    await store.merge(SPACE, [user])
    assert (await store.read(SPACE, ["u1"])).als_origins.tolist() == [AlsOrigin.TRAINED]


async def test_an_import_of_an_older_file_brings_nothing_back_that_was_retracted(store: RedisUserStore) -> None:
    user = imported_user([imported("r1", "a"), imported("r2", "b", product_id="p2")])
    await store.merge(SPACE, [user])
    await store.retract(SPACE, "u1", "r1")
    for space in (SPACE, Space("encoder-2", "als-2")):  # a release with another encoder starts from the same file
        await store.merge(space, [user])
        users = await store.read(space, ["u1"])
        np.testing.assert_array_equal(users.sums[0], hash_vector("b"))
        assert users.counts.tolist() == [1]
        assert users.als_origins.tolist() == [AlsOrigin.MISSING]  # the trainer's vector knows both
    await store.record(ENCODER, [review("r1", text="again")])
    await store.merge(SPACE, [user])
    assert (await store.read(SPACE, ["u1"])).counts.tolist() == [2]
    await store.retract(SPACE, "u1", "r1")
    await store.retract(SPACE, "u1", "r2")
    await store.merge(SPACE, [user])
    assert (await store.read(SPACE, ["u1"])).counts.tolist() == [0]


async def test_a_deleted_user_stays_deleted_for_what_was_written_before(redis_server: RedisServer) -> None:
    now_s = 2_000_000.0
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=1), clock=lambda: now_s)
    await store.register_space(SPACE)
    user = imported_user(
        [imported("old", "a"), imported("undated", "b", time_us=None), imported("new", "c", time_us=2_000_001_000_000)]
    )
    await store.merge(SPACE, [user])
    assert await store.delete("u1")
    await store.merge(SPACE, [user])
    np.testing.assert_array_equal((await store.read(SPACE, ["u1"])).sums[0], hash_vector("c"))
    await store.record(ENCODER, [review("old", text="as its author writes it now")])
    await store.merge(SPACE, [user])
    sums = hash_vector("as its author writes it now").astype(int) + hash_vector("c")
    np.testing.assert_array_equal((await store.read(SPACE, ["u1"])).sums[0], sums)
    assert not await store.delete("nobody")
    await store.merge(SPACE, [imported_user([imported("r1", "a")], "nobody")])
    assert (await store.read(SPACE, ["nobody"])).counts.tolist() == [0]
    await store.close()


async def test_what_was_taken_back_is_remembered_for_ninety_days(redis_server: RedisServer) -> None:
    now_s = 1_700_000_000.0
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=1), clock=lambda: now_s)
    await store.register_space(SPACE)
    users = [imported_user([imported("r1", "a"), imported("r2", "b")], name) for name in ("retracted", "deleted")]
    await store.merge(SPACE, users)
    await store.retract(SPACE, "retracted", "r1")
    await store.delete("deleted")
    for name in ("retracted", "deleted"):
        assert 89 * 86_400 < await store.client.one("TTL", UserKeys(name).tombstones) <= 90 * 86_400
    for days, expected in ((89.9, [1, 0]), (0.2, [2, 2])):
        now_s += days * 86_400
        await store.merge(SPACE, users)
        assert (await store.read(SPACE, ["retracted", "deleted"])).counts.tolist() == expected
    await store.close()


async def test_an_import_beyond_the_limit_leaves_the_user_unchanged(redis_server: RedisServer) -> None:
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=1), max_reviews_per_user=2)
    await store.record(ENCODER, [review("live"), review("r1")])
    before = await dump(redis_server)
    assert await store.merge(SPACE, [imported_user([imported("r1", "a"), imported("r2", "b")])]) == ["u1"]
    assert await store.merge(
        SPACE, [imported_user([imported(f"r{i}", "a", user_id="u2") for i in range(3)], "u2")]
    ) == ["u2"]
    assert await dump(redis_server) == before
    assert await store.merge(SPACE, [imported_user([imported("r1", "a")])]) == []
    await store.close()


async def test_spaces_stay_apart(store: RedisUserStore) -> None:
    other = Space("encoder-2", "als-2")
    await store.record(ENCODER, [review()])
    users = await store.read(other, ["u1"])
    assert users.counts.tolist() == [0]
    assert users.seen_product_ids == [[]]


async def test_taking_back_the_last_review_leaves_only_that_it_was_taken_back(
    store: RedisUserStore, redis_server: RedisServer
) -> None:
    await store.record(ENCODER, [review("r1", text="a"), review("r2", text="b", rating=2.5)])
    change = await store.retract(SPACE, "u1", "r1")
    assert change is not None
    assert (change.review_count, change.stars) == (1, {"p1": 2.5})
    np.testing.assert_array_equal((await store.read(SPACE, ["u1"])).sums[0], hash_vector("b"))
    assert await store.retract(SPACE, "u1", "r1") is None
    assert await store.retract(SPACE, "u1", "r2") is not None
    [(key, tombstones)] = (await dump(redis_server)).items()
    assert key.decode() == UserKeys("u1").tombstones
    assert isinstance(tombstones, list)
    assert [name for name, _ in tombstones] == [b"r1", b"r2"]


async def test_a_deleted_user_is_gone_from_every_space(store: RedisUserStore, redis_server: RedisServer) -> None:
    for space in (SPACE, Space("encoder-2", "als-2")):
        await store.register_space(space)
        await store.merge(space, [ImportedUser("u1", [imported("r1", "a")], hash_vector("a").astype(np.int32), ALS)])
    assert await store.delete("u1")
    assert not await store.delete("u1")
    async with Redis.from_url(redis_server.url) as redis:
        assert await redis.keys("tt:{u:*") == [UserKeys("u1").tombstones.encode()]


async def test_which_release_is_active_is_remembered_and_another_schema_is_refused(
    store: RedisUserStore, redis_server: RedisServer
) -> None:
    assert await store.active_release() == ActiveRelease()
    await store.activate(ActiveRelease("new", "old"))
    assert await store.active_release() == ActiveRelease("new", "old")
    async with Redis.from_url(redis_server.url) as redis:
        await redis.set(SCHEMA_KEY, 9)
    with pytest.raises(StoreUnavailable, match="schema version 9, this version reads 3"):
        await store.active_release()


async def test_a_redis_that_forgot_the_scripts_is_told_again(store: RedisUserStore, redis_server: RedisServer) -> None:
    await store.record(ENCODER, [review("r1")])
    async with Redis.from_url(redis_server.url) as redis:
        await redis.script_flush()
    changes = await store.record(ENCODER, [review("r1"), review("r2")])
    assert [change.outcome for change in changes] == [Outcome.DUPLICATE, Outcome.RECORDED]


async def test_a_user_of_the_size_that_is_promised(store: RedisUserStore, redis_server: RedisServer) -> None:
    user = ImportedUser("a name of usual size", [imported("r" * 20, "a")], hash_vector("a").astype(np.int32), ALS)
    await store.merge(SPACE, [user])
    keys = UserKeys(user.user_id)
    async with Redis.from_url(redis_server.url) as redis:
        names = keys.accumulator(ENCODER), keys.seen(ENCODER), keys.als(SPACE.als_id)
        assert sum([await redis.memory_usage(name) or 0 for name in names]) <= 2700


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["record", "record", "record", "retract"]),
        st.sampled_from(["r1", "r2", "r3", "r4"]),
        st.sampled_from(["p1", "p2"]),
        st.sampled_from([0.0, 0.1, 1.3, 4.7, 5.0]),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=30,
)


@given(operations=OPERATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_state_is_always_the_sum_of_the_log(
    store: RedisUserStore, redis_server: RedisServer, operations: list[tuple[str, str, str, float, str]]
) -> None:
    log: dict[str, tuple[str, float, str]] = {}
    for kind, review_id, product_id, rating, text in operations:
        if kind == "record":
            content = (product_id, float(rating), text)
            [change] = await store.record(ENCODER, [review(review_id, "u1", *content)])
            expected = (
                Outcome.RECORDED
                if review_id not in log
                else Outcome.DUPLICATE
                if log[review_id] == content
                else Outcome.REPLACED
            )
            assert change.outcome is expected
            log[review_id] = content
        else:
            assert ((await store.retract(SPACE, "u1", review_id)) is not None) == (log.pop(review_id, None) is not None)
    [snapshot] = await store.snapshots(ENCODER, ["u1"])
    assert snapshot.review_count == len(log)
    vectors: list[Any] = [hash_vector(text) for _, _, text in log.values()]
    np.testing.assert_array_equal(snapshot.sums, np.sum(vectors or [np.zeros(384)], axis=0))
    tenths: dict[str, int] = {}
    for product_id, rating, _ in log.values():
        tenths[product_id] = tenths.get(product_id, 0) + round(10 * rating)
    assert snapshot.stars == {product_id: sum_ / 10 for product_id, sum_ in tenths.items()}
    async with Redis.from_url(redis_server.url) as redis:
        await redis.flushdb()
