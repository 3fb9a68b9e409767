"""A user of very many products costs little more per change than others, and is stated once."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedding_service.operations.verify import Verifier
from embedding_service.ports import ImportedUser
from embedding_service.redis_store.keys import UserKeys
from embedding_service.redis_store.layouts import KEPT_LIST_BYTES, MAX_LIST_BYTES
from embedding_service.redis_store.user_store import MOST_STATED, RedisUserStore
from tests.support.stored_reviews import ENCODER, SPACE, new_review

LONG = "x" * 250
"""Products of such ids make a list that is appended to after nine of them."""

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 30), st.integers(0, 40)),
        st.tuples(st.just("record"), st.integers(0, 30), st.integers(0, 40)),
        st.tuples(st.just("retract"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("import"), st.integers(0, 30), st.integers(0, 40)),
    ),
    max_size=60,
)


def _imported(products: list[str], user_id: str = "u1") -> ImportedUser:
    reviews = [new_review(f"i{i}", product, user_id=user_id) for i, product in enumerate(products)]
    sums: Any = np.sum([review.fixed_point for review in reviews], axis=0, dtype=np.int32)
    return ImportedUser(user_id, reviews, sums, np.zeros(64, np.float32))


@given(operations=OPERATIONS, first=st.integers(0, 20))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_list_of_products_is_always_that_of_the_log(
    store: RedisUserStore, operations: list[tuple[str, int, int]], first: int
) -> None:
    await store.client.one("FLUSHALL")
    await store.register_space(SPACE)
    log: dict[str, str] = {}
    retracted: set[str] = set()
    for kind, number, product in [*(("record", i, i) for i in range(first)), *operations]:
        review_id, product_id = f"r{number}", f"{product} {LONG}"
        review = new_review(review_id, product_id)
        if kind == "record":
            await store.record(ENCODER, [review])
            log[review_id] = product_id
            retracted.discard(review_id)
        elif kind == "retract":
            await store.retract(SPACE, "u1", review_id)
            if log.pop(review_id, None):
                retracted.add(review_id)
        elif review_id not in retracted:
            sums = review.fixed_point.astype(np.int32)
            await store.merge(SPACE, [ImportedUser("u1", [review], sums, np.zeros(64, np.float32))])
            log[review_id] = product_id
    assert (await store.read(SPACE, ["u1"])).seen_product_ids == [sorted(set(log.values()))]
    await store.outboxes.drain()
    assert (await Verifier(store).verify()).clean


async def _appended(store: RedisUserStore) -> int:
    return int((await store.client.server_info())[0]["aof_current_size"])


async def test_a_review_appends_as_much_for_a_user_of_many_products_as_for_any(store: RedisUserStore) -> None:
    products = [f"product number {i:010}" for i in range(15_000)]
    assert not await store.merge(SPACE, [_imported(products), _imported(products[:3], "u2")])
    grown = {}
    for user in ("u1", "u2"):
        before = await _appended(store)
        for i in range(20):
            [change] = await store.record(ENCODER, [new_review(f"r{i}", f"new {i}", user_id=user)])
            assert (change.stars is None) == (user == "u1")  # too many: the next look-up folds in
        grown[user] = (await _appended(store) - before) / 20
    assert grown["u1"] < grown["u2"] + 200
    [seen] = (await store.read(SPACE, ["u1"])).seen_product_ids
    assert seen == sorted([*products, *(f"new {i}" for i in range(20))])


async def test_a_batch_states_a_user_once(store: RedisUserStore) -> None:
    reviews = [new_review(f"r{i}", f"p{i}", user_id=f"u{i % 2}") for i in range(6)]
    changes = await store.record(ENCODER, reviews)
    assert [change.stars and set(change.stars) for change in changes] == [
        *[None] * 4,
        {"p0", "p2", "p4"},
        {"p1", "p3", "p5"},
    ]
    assert [change.review_count for change in changes] == [1, 1, 2, 2, 3, 3]
    await store.merge(SPACE, [_imported([f"p{i}" for i in range(MOST_STATED)], "many")])
    [change] = await store.record(ENCODER, [new_review("r", "p0", user_id="many")])
    assert change.stars
    assert len(change.stars) == MOST_STATED


async def test_a_list_has_a_bound_and_keeps_the_newest(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    products = [f"{i:04}".ljust(256, "x") for i in range(9000)]
    await store.merge(SPACE, [_imported(products)])
    [seen] = (await store.read(SPACE, ["u1"])).seen_product_ids
    assert seen == products[-len(seen) :]
    assert KEPT_LIST_BYTES - 300 < 257 * len(seen) <= KEPT_LIST_BYTES
    added = [f"{i:04}".ljust(256, "y") for i in range(2500)]
    for start in range(0, len(added), 250):
        await store.record(ENCODER, [new_review(f"r{product}", product) for product in added[start : start + 250]])
    assert await store.client.one("STRLEN", UserKeys("u1").accumulator(ENCODER)) <= MAX_LIST_BYTES + 1552
    [seen] = (await store.read(SPACE, ["u1"])).seen_product_ids
    assert set(seen) >= set(added)
    await store.outboxes.drain()
    assert (await Verifier(store).verify()).clean
