"""Live popularity: counters that follow the logs exactly, against the kernel's offline recomputation."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedding_service.redis_store.embedded import RedisServer
from tests.support.embedding_calls import Service, StartService, array, live_popularity, publish, record, until_answered
from tests.support.encoders import hash_vector
from tests.support.releases import product_id
from twotower.release import Release
from twotower.scoring import decayed_counts
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2

MARCH_2018_S = 1_519_900_000
TOLERANCE = 2.2e-6
"""Of the weight, at a half-life of 7 days: (ln 2 · 0.5 h / 168 h)² / 2, and the rounding of float32."""


def counted_of(log: Mapping[Any, tuple[int, float]]) -> list[tuple[int, float]]:
    """Product and time of the reviews of a log that count: the first one of a user, product and day."""
    counted: dict[Any, tuple[int, float]] = {}
    for (user, review_id), (product, time_s) in sorted(log.items(), key=lambda item: item[1][1]):
        writer = review_id if user == "Anonymous" else ""
        counted.setdefault((user, writer, product, time_s // 86_400), (product, time_s))
    return list(counted.values())


def expected(log: Mapping[Any, tuple[int, float]], response: pb.GetPopularityResponse, half_life_days: float) -> Any:
    """Weights of products 0 … 7 from the log, by the kernel."""
    counted = counted_of(log)
    products = np.array([product for product, _ in counted], np.int64)
    times_ms = np.array([round(time_s * 1000) for _, time_s in counted], np.int64)
    return decayed_counts(products, times_ms, response.as_of_time.ToMilliseconds(), half_life_days, 8)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["record", "record", "record", "retract", "delete"]),
        st.sampled_from(["u1", "u2", "Anonymous"]),
        st.sampled_from(["r1", "r2", "r3"]),
        st.integers(0, 7) | st.just(0),
        st.floats(0, 60 * 86_400) | st.floats(0, 86_400),
    ),
    max_size=25,
)


@given(operations=OPERATIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_weights_are_those_recomputed_from_the_log(published: Service, operations: list[Any]) -> None:
    log: dict[tuple[str, str], tuple[int, float]] = {}
    for kind, user, review_id, product, age_s in operations:
        time_s = MARCH_2018_S - age_s // 0.001 / 1000
        if kind == "record":
            time = Timestamp()
            time.FromMilliseconds(round(time_s * 1000))
            await record(published, review_id, user, product_id(product), review_time=time)
            log[user, review_id] = (product, time_s)
        elif kind == "retract":
            await published.stub.RetractReview(pb.RetractReviewRequest(user_id=user, review_id=review_id))
            log.pop((user, review_id), None)
        elif user != "Anonymous":
            await published.stub.DeleteUser(pb.DeleteUserRequest(user_id=user))
            log = {key: value for key, value in log.items() if key[0] != user}
    response = await live_popularity(published)
    weights = expected(log, response, 7.0)
    assert list(response.product_ids) == [product_id(int(row)) for row in np.flatnonzero(weights)]
    np.testing.assert_allclose(array(response.weights), weights[weights > 0], rtol=TOLERANCE)
    assert not log or 0 <= response.as_of_time.ToSeconds() - max(time_s for _, time_s in counted_of(log)) <= 3600
    for user, review_id in log:
        await published.stub.RetractReview(pb.RetractReviewRequest(user_id=user, review_id=review_id))


@pytest.fixture
async def published(start_service: StartService, release: Release) -> Service:
    """A service with an active release and no users."""
    service = await start_service()
    await publish(service, release)
    return service


async def test_the_half_life_is_the_releases_and_the_order_the_catalogues(
    start_service: StartService, release: Release, other_release: Release
) -> None:
    service = await start_service()
    await publish(service, release)
    for i, product in enumerate(["not in the catalogue", product_id(9), product_id(2)]):
        await record(service, f"r{i}", "u", product)
    response = await live_popularity(service)
    assert list(response.product_ids) == [product_id(2), product_id(9), "not in the catalogue"]
    np.testing.assert_allclose(array(response.weights), np.ones(3), rtol=1e-4)
    assert response.half_life.ToSeconds() == 7 * 86_400
    await publish(service, other_release)
    assert list((await live_popularity(service, als_id=release.manifest.als_id)).product_ids) == list(
        response.product_ids
    )


async def test_a_review_of_the_future_does_not_count_yet(published: Service) -> None:
    await record(published, "r1", "u", product_id(1), review_time=Timestamp(seconds=4_000_000_000))
    await record(published, "r2", "u", product_id(2))
    assert list((await live_popularity(published)).product_ids) == [product_id(2)]


async def test_an_import_counts_what_has_a_time(start_service: StartService, release: Release) -> None:
    service = await start_service()
    reviews = [
        pb.ImportedReview(
            review_id=f"r{i}", product_id=product_id(i), rating=4, fixed_point=hash_vector(str(i)).tobytes()
        )
        for i in (1, 2)
    ]
    reviews[0].review_time.FromSeconds(MARCH_2018_S)
    user = pb.ImportedUser(user_id="u", reviews=reviews, als=types_pb2.Vector(values=bytes(256), dimension=64))
    for _ in range(2):
        await publish(service, release, [user])
        response = await live_popularity(service)
        assert list(response.product_ids) == [product_id(1)]
        assert array(response.weights)[0] == pytest.approx(1, rel=1e-2)  # up to an hour old


async def test_popularity_outlives_the_service(
    start_service: StartService, redis_server: RedisServer, release: Release
) -> None:
    first = await start_service(store=redis_server.url)
    await publish(first, release)
    await record(first, "r1", "u", product_id(1))
    second = await start_service(store=redis_server.url)
    while list((await until_answered(partial(live_popularity, second))).product_ids) != [product_id(1)]:
        pass
