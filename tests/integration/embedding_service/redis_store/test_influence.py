"""One user moves a product by one review per day at most, and an anonymous name by a bounded number."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedding_service.operations.verify import Verifier
from embedding_service.ports import ImportedUser, NewReview, Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.stored_reviews import ENCODER, SPACE, counts, new_review

DAY_S = 86_400
NOON_S = 11_574 * DAY_S + DAY_S / 2

# Within the first and the last hour of a day and beyond both ends of it, before 1970, and where Lua loses µs.
TIMES_S = [
    NOON_S,
    NOON_S + 1,
    NOON_S - DAY_S / 2,
    NOON_S + DAY_S / 2 - 1e-6,
    NOON_S + DAY_S / 2,
    -0.5,
    2.2e11,
    2.2e11 + 9,
]
REVIEWS = st.builds(
    new_review,
    st.sampled_from(["r1", "r2", "r3", "r4"]),
    st.sampled_from(["p1", "p2"]),
    st.sampled_from(TIMES_S),
    st.sampled_from(["u1", "u2"]),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.lists(REVIEWS, min_size=1, max_size=4)),
        st.tuples(st.just("import"), st.lists(REVIEWS, min_size=1, max_size=6)),
        st.tuples(st.sampled_from(["retract", "delete"]), st.lists(REVIEWS, min_size=1, max_size=1)),
    ),
    max_size=12,
)


def imported(reviews: list[NewReview]) -> list[ImportedUser]:
    """The users of some reviews; the last of an id stays."""
    users: dict[str, dict[str, NewReview]] = {}
    for review in reviews:
        users.setdefault(review.user_id, {})[review.review_id] = review
    return [
        ImportedUser(
            user_id,
            list(own.values()),
            np.sum([review.fixed_point for review in own.values()], axis=0, dtype=np.int32),
            np.zeros(64, np.float32),
        )
        for user_id, own in users.items()
    ]


async def logged(store: RedisUserStore) -> set[tuple[str, str, str]]:
    """User, product and day (UTC) of every review that a log has."""
    days = set()
    async for logs in Verifier(store).logs():
        for log in logs:
            for entry in log.reviews.values():
                time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=entry.time_us)
                days.add((log.user_id, entry.product_id, time.date().isoformat()))
    return days


@given(operations=OPERATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_counters_are_one_per_user_product_and_day_of_the_logs(
    store: RedisUserStore, operations: list[tuple[str, list[NewReview]]]
) -> None:
    await store.register_space(SPACE)
    for kind, reviews in operations:
        if kind == "record":
            await store.record(ENCODER, reviews)
        elif kind == "import":
            await store.merge(SPACE, imported(reviews))
        elif kind == "retract":
            await store.retract(SPACE, reviews[0].user_id, reviews[0].review_id)
        else:
            await store.delete(reviews[0].user_id)
        assert await counts(store) == Counter(product for _, product, _ in await logged(store))
    assert (await Verifier(store).verify()).clean  # which hour and second are counted, too
    await store.client.one("FLUSHDB")


async def test_fifty_reviews_of_a_day_count_one_until_the_last_is_taken_back(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    await store.record(ENCODER, [new_review(f"r{i}", time_s=NOON_S + i) for i in range(50)])
    assert await counts(store) == {"p1": 1}
    for i in range(49):
        await store.retract(SPACE, "u1", f"r{i}")
        assert await counts(store) == {"p1": 1}
    await store.retract(SPACE, "u1", "r49")
    assert await counts(store) == {}


async def test_what_an_earlier_version_counted_never_goes_below_zero_and_is_mended(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    await store.record(ENCODER, [new_review(f"r{i}", time_s=NOON_S + i) for i in range(3)])
    popularity = RedisPopularityStore(store.client, store.outboxes)
    await popularity.settle()
    # Two more, as they were counted before there was a bound.
    await store.outboxes.add(ENCODER, "earlier", {11_574: {b"u12p1": (2 << 40) + 3}})
    assert (await Verifier(store).verify()).popularity == {ENCODER: 2}
    await store.retract(SPACE, "u1", "r0")
    assert await counts(store) == {"p1": 3}
    assert (await Verifier(store).verify(repair=True)).repaired
    assert await counts(store) == {"p1": 1}


def anonymous(review_id: str, product: str = "p1", time_s: float = NOON_S) -> NewReview:
    return new_review(review_id, product, time_s, "Anonymous")


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_an_anonymous_name_counts_so_many_per_product_and_day(redis_server: RedisServer, limit: int) -> None:
    client = connect(redis_server.url, timeout_s=5.0, connections=8)
    store = RedisUserStore(client, anonymous_per_product_and_day=limit)
    await store.register_space(SPACE)
    outcomes = await store.record_anonymous(ENCODER, [anonymous(f"r{i}") for i in range(9)])
    await store.record_anonymous(ENCODER, [anonymous("next day", time_s=NOON_S + DAY_S), anonymous("other", "p2")])
    assert set(outcomes) == {Outcome.RECORDED}
    wanted = {"p1": limit + 1, "p2": 1} if limit else {}
    assert await counts(store) == wanted
    # One that was not counted takes nothing away; one that was makes room for the next.
    assert await store.retract_anonymous(ENCODER, "Anonymous", "r8")
    assert await counts(store) == wanted
    if limit:
        assert await store.retract_anonymous(ENCODER, "Anonymous", "r0")
        assert await counts(store) == {**wanted, "p1": limit}
        await store.record_anonymous(ENCODER, [anonymous("r9"), anonymous("r10")])
        assert await counts(store) == wanted
        # An edit moves what it counts.
        await store.record_anonymous(ENCODER, [anonymous("r9", "p3")])
        assert await counts(store) == {**wanted, "p1": limit, "p3": 1}
    await store.close()
