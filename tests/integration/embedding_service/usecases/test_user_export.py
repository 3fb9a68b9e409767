"""All that is kept of one user, and that nothing is left of a deleted one."""

from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis

from embedding_service.redis_store.embedded import RedisServer
from tests.support.embedding_calls import Service, StartService, array, features, imported_user, publish, record
from tests.support.encoders import hash_vector
from tests.support.releases import product_id, write_random_release
from twotower.features import dequantize
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb


async def export(service: Service, user_id: str, page_size: int = 0) -> list[pb.ExportUserResponse]:
    """All pages."""
    pages: list[Any] = []
    while not pages or pages[-1].next_page_token:
        token = pages[-1].next_page_token if pages else ""
        request = pb.ExportUserRequest(user_id=user_id, page_size=page_size, page_token=token)
        pages.append(await service.stub.ExportUser(request))
    return pages


@pytest.mark.parametrize("page_size", [0, 1, 3, 4])
async def test_a_user_is_exported_whole(start_service: StartService, release: Release, page_size: int) -> None:
    service = await start_service()
    await publish(service, release, [imported_user("ann/{1}", ["a", "b"]), imported_user("ben", ["c"])])
    time = Timestamp(seconds=1_500_000_000)
    for name in ("r/2", "r 3"):
        await record(service, name, "ann/{1}", product_id(7), rating=2.5, review_time=time)
    await record(service, "gone", "ann/{1}")
    await service.stub.RetractReview(pb.RetractReviewRequest(user_id="ann/{1}", review_id="gone"))
    answered = await features(service, "ann/{1}")
    first, *more = pages = await export(service, "ann/{1}", page_size)
    reviews = {review.review_id: review for page in pages for review in page.reviews}
    assert sorted(reviews) == ["r 3", "r/2", "r0", "r1"]
    assert not any(page.states or page.als or page.tombstones for page in more)
    assert (reviews["r/2"].product_id, reviews["r/2"].rating, reviews["r/2"].review_time) == (product_id(7), 2.5, time)
    assert not reviews["r0"].HasField("review_time")
    np.testing.assert_array_equal(array(reviews["r0"].embedding), dequantize(hash_vector("a")))
    [state] = first.states
    assert (state.encoder_id, state.review_count, state.bert_mean) == (
        release.manifest.encoder_id,
        4,
        answered.bert_mean,
    )
    assert list(state.seen_product_ids) == [product_id(0), product_id(1), product_id(7)]
    assert [(als.als_id, als.als) for als in first.als] == [(release.manifest.als_id, answered.als)]
    assert [stone.review_id for stone in first.tombstones] == ["gone"]


async def test_a_stranger_has_nothing(start_service: StartService, release: Release) -> None:
    service = await start_service()
    await publish(service, release)
    assert await export(service, "nobody") == [pb.ExportUserResponse()]


async def test_a_deleted_user_is_gone_from_retired_spaces_too(
    start_service: StartService, redis_server: RedisServer, release: Release, other_release: Release
) -> None:
    newer = [write_random_release(release.path.parent, seed=30 + i, encoder_seed=30) for i in range(2)]
    service = await start_service(store=redis_server.url)
    for one in (release, other_release, *newer):
        await publish(service, one, [imported_user("ann", ["a", "b"])])
        await service.stub.RetireSpaces(pb.RetireSpacesRequest(release_id=one.release_id))
    [page] = await export(service, "ann")
    assert {review.encoder_id for review in page.reviews} == {one.manifest.encoder_id for one in (release, *newer)}
    assert (await service.stub.DeleteUser(pb.DeleteUserRequest(user_id="ann"))).deleted
    [page] = await export(service, "ann")
    assert not page.reviews
    assert not page.states
    assert not page.als
    assert [stone.review_id for stone in page.tombstones] == [""]
    async with Redis.from_url(redis_server.url) as redis:
        keys = await redis.keys("tt:{u:ann}*")
        assert len(keys) == 1
        assert 0 < await redis.ttl(keys[0]) <= 90 * 86_400


async def test_products_that_nobody_knows_are_not_counted_under_an_anonymous_name(
    start_service: StartService, release: Release
) -> None:
    service = await start_service()
    await publish(service, release)
    for i, product in enumerate(["made up", product_id(3)]):
        answer = await record(service, f"r{i}", "Anonymous", product)
        assert answer.outcome == pb.RECORD_OUTCOME_ANONYMOUS
    popularity = await service.stub.GetPopularity(pb.GetPopularityRequest())
    assert list(popularity.product_ids) == [product_id(3)]
