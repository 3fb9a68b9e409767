"""Everything a request may ask beyond the best k, over gRPC, and labels, added products and overload; scores by lift
and popularity.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.integration.ranking_service.conftest import Clients, ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding, warm_user
from tests.support.releases import product_id, random_user_rows, write_random_release
from twotower.release import Release
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2 as rpb
from twotower.v1 import types_pb2

PRODUCTS = 30
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS, lift=True)


@pytest.fixture(scope="module")
def other(lift: Release) -> Release:
    """Of another ALS space."""
    return write_random_release(lift.path.parent, products=PRODUCTS, lift=True, seed=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake(lift: Release) -> AsyncIterator[FakeEmbedding]:
    rows = random_user_rows(np.random.default_rng(2), 40)
    made = FakeEmbedding(lift, {f"warm {i}": warm_user(row, [product_id(i % PRODUCTS)]) for i, row in enumerate(rows)})
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(lift: Release, fake: FakeEmbedding) -> AsyncIterator[Clients]:
    port = await fake.start()
    settings = ranking_settings(
        lift.path.parent, port, release=lift.release_id, popularity_interval_ms=20, follow_interval_ms=20
    )
    async with running(settings) as stubs:
        yield stubs


async def eventually(check: object) -> None:
    """Ask until it is so; the test's own time limit ends it."""
    while True:
        if await check():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)


def ids(answer: pb.RecommendResponse) -> list[str]:
    return [r.product_id for r in answer.recommendations]


def ask(user: str = "warm 1", k: int = PRODUCTS, **more: object) -> pb.RecommendRequest:
    return pb.RecommendRequest(user_id=user, k=k, **more)  # type: ignore[arg-type]


async def test_filters_and_limits(server: Clients, lift: Release) -> None:
    whole = ids(await server.ranking.Recommend(ask()))
    catalogue = {product.product_id: product for product in lift.catalogue}
    rule = pb.ProductFilter(
        categories=["audio"], denied_product_ids=[whole[0], whole[1]], brands=["brand 1", "BRAND 2", "Brand 4"]
    )
    found = await server.ranking.Recommend(ask(filter=rule, max_per_brand=1))
    expected, brands = [], set()
    for product in (catalogue[name] for name in whole[2:]):
        if (
            "Audio" in product.categories
            and product.brand in ("Brand 1", "Brand 2", "Brand 4")
            and product.brand not in brands
        ):
            brands.add(product.brand)
            expected.append(product.product_id)
    assert ids(found) == expected
    batch = await server.ranking.BatchRecommend(
        pb.BatchRecommendRequest(user_ids=["warm 1", "stranger"], k=PRODUCTS, filter=rule, max_per_brand=1)
    )
    assert list(batch.results[0].product_ids) == expected
    good = await server.ranking.Recommend(ask(filter=pb.ProductFilter(min_predicted_rating=3.0)))
    assert good.recommendations
    assert all(r.predicted_rating >= 3 for r in good.recommendations)
    diverse = await server.ranking.Recommend(ask(k=10, diversity_strength=0.8))
    assert ids(diverse) != whole[:10]
    assert ids(diverse)[0] == whole[0]


async def test_pages_are_one_ranking_and_pinned(server: Clients, fake: FakeEmbedding) -> None:
    whole = ids(await server.ranking.Recommend(ask(diversity_strength=0.3)))
    found, token, calls = [], "", len(fake.calls)
    while True:
        page = await server.ranking.Recommend(ask(k=7, diversity_strength=0.3, paginate=True, page_token=token))
        found += ids(page)
        token = page.next_page_token
        if not token:
            break
    assert found == whole
    assert len(fake.calls) == calls + 1  # the later pages bring the user along
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        first = await server.ranking.Recommend(ask(k=7, paginate=True))
        await server.ranking.Recommend(ask(user="warm 2", k=7, page_token=first.next_page_token))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_key_in_a_file_lets_other_servers_answer_the_next_page(
    server: Clients, fake: FakeEmbedding, lift: Release, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 4)
    settings = ranking_settings(lift.path.parent, fake.port, release=lift.release_id, page_token_key=key)
    async with running(settings) as first, running(settings) as second:
        page = await first.ranking.Recommend(ask(k=7, paginate=True))
        following = ask(k=7, paginate=True, page_token=page.next_page_token)
        assert not set(ids(await second.ranking.Recommend(following))) & set(ids(page))
        with pytest.raises(grpc.aio.AioRpcError, match="begin at the first page") as refused:
            await server.ranking.Recommend(following)  # its key is its own
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_explanations(server: Clients) -> None:
    plain = await server.ranking.Recommend(ask(k=5))
    answer = await server.ranking.Recommend(ask(k=5, explain=True))
    assert ids(answer) == ids(plain)
    for found, without in zip(answer.recommendations, plain.recommendations, strict=True):
        assert not without.HasField("explanation")
        explained = found.explanation
        assert explained.nearest_reviewed_product_id == product_id(1)
        numbers = [
            found.score,
            explained.score_without_als,
            explained.score_without_bert,
            explained.score_without_popularity,
        ]
        assert len(set(numbers)) == 4


async def test_live_popularity_comes_and_pages_hold_theirs(server: Clients, fake: FakeEmbedding) -> None:
    before = await server.ranking.Recommend(ask())
    assert before.popularity_source == pb.POPULARITY_SOURCE_RELEASE
    fake.popularity = {product_id(5): 1e6, "unknown": 1.0}

    async def is_live() -> bool:
        answer = await server.ranking.Recommend(ask(paginate=True, k=4))
        return bool(answer.popularity_source == pb.POPULARITY_SOURCE_LIVE)

    await eventually(is_live)
    whole = await server.ranking.Recommend(ask(k=PRODUCTS))
    best = {r.product_id: r.score for r in whole.recommendations}
    worst = {r.product_id: r.score for r in before.recommendations}
    rises = {name: best[name] - worst[name] for name in best}
    assert max(rises, key=rises.__getitem__) == product_id(5)
    first = await server.ranking.Recommend(ask(paginate=True, k=4))
    fake.popularity = {product_id(9): 1e6}

    async def has_moved() -> bool:
        return ids(await server.ranking.Recommend(ask())) != ids(whole)

    await eventually(has_moved)
    second = await server.ranking.Recommend(ask(page_token=first.next_page_token))
    assert ids(first) + ids(second) == ids(whole)
    fake.popularity = {}


async def test_max_staleness_answers_from_what_was_known(server: Clients, fake: FakeEmbedding) -> None:
    limit = duration_pb2.Duration(seconds=600)
    first = await server.ranking.Recommend(ask(user="warm 7", max_staleness=limit))
    calls = len(fake.calls)
    again = await server.ranking.Recommend(ask(user="warm 7", max_staleness=limit))
    assert len(fake.calls) == calls
    assert (first.user.HasField("staleness"), again.user.HasField("staleness")) == (False, True)

    async def same_as_looked_up() -> bool:
        remembered = await server.ranking.Recommend(ask(user="warm 7", max_staleness=limit))
        return ids(remembered) == ids(await server.ranking.Recommend(ask(user="warm 7")))

    await eventually(same_as_looked_up)  # the popularity feed may move between two answers


async def test_labels_route_and_roll_back(server: Clients, lift: Release, other: Release) -> None:
    canary = rpb.RELEASE_LABEL_CANARY
    labelled = await server.releases.SetLabel(
        rpb.SetLabelRequest(release_id=other.release_id, label=canary, canary_share=0.5)
    )
    assert (labelled.release.label, labelled.release.canary_share) == (canary, 0.5)
    users = [f"warm {i}" for i in range(40)]
    singles = [await server.ranking.Recommend(ask(user=user, k=3)) for user in users]
    assert {answer.release_id for answer in singles} == {lift.release_id, other.release_id}
    batch = await server.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=users, k=3))
    assert batch.release_id == lift.release_id
    for single, result in zip(singles, batch.results, strict=True):
        assert (result.release_id or batch.release_id) == single.release_id
        assert list(result.product_ids) == ids(single)

    await server.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=other.release_id))
    assert (await server.ranking.Recommend(ask())).release_id == other.release_id
    back = await server.releases.Rollback(rpb.RollbackRequest())
    assert back.release.release_id == lift.release_id
    shadow = rpb.RELEASE_LABEL_SHADOW
    await server.releases.SetLabel(rpb.SetLabelRequest(release_id=other.release_id, label=shadow))

    async def is_compared() -> bool:
        assert (await server.ranking.Recommend(ask(k=3))).release_id == lift.release_id
        infos = (await server.releases.ListReleases(rpb.ListReleasesRequest())).releases
        (found,) = (info for info in infos if info.label == shadow)
        return bool(found.shadow_comparison.user_count)

    await eventually(is_compared)
    cleared = await server.releases.SetLabel(rpb.SetLabelRequest(release_id=other.release_id))
    assert cleared.release.label == rpb.RELEASE_LABEL_UNSPECIFIED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.releases.SetLabel(rpb.SetLabelRequest(release_id=lift.release_id))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_added_product_is_recommended_at_once(server: Clients, lift: Release, fake: FakeEmbedding) -> None:
    product = types_pb2.Product(product_id="new", name="A new lamp", brand="Lumen", categories="Household")
    answer = await server.ranking.UpsertProducts(pb.UpsertProductsRequest(products=[product]))
    assert (answer.release_id, answer.inserted_count, answer.updated_count) == (lift.release_id, 1, 0)
    found = await server.ranking.Recommend(ask(k=PRODUCTS + 1, filter=pb.ProductFilter(brands=["lumen"])))
    assert ids(found) == ["new"]
    assert "new" in ids(await server.ranking.Recommend(ask(k=PRODUCTS + 1)))
    assert (await server.ranking.GetProduct(pb.GetProductRequest(product_id="new"))).product.name == "A new lamp"
    predicted = await server.ranking.PredictRatings(pb.PredictRatingsRequest(user_id="warm 1", product_ids=["new"]))
    assert predicted.predictions[0].score == pytest.approx(found.recommendations[0].score, abs=1e-4)
    again = await server.ranking.UpsertProducts(pb.UpsertProductsRequest(products=[product]))
    assert (again.inserted_count, again.updated_count) == (0, 1)
    settings = ranking_settings(lift.path.parent, 1, release=lift.release_id)
    async with running(settings) as restarted:
        assert (await restarted.ranking.GetProduct(pb.GetProductRequest(product_id="new"))).product.brand == "Lumen"


async def test_overload_is_refused_fast_and_says_when(
    server: Clients, lift: Release, fake: FakeEmbedding, tmp_path: Path
) -> None:
    """One request keeps the service waiting; the queue holds 1,024 users; the next is refused, and those who wait are
    answered.
    """
    settings = ranking_settings(
        lift.path.parent, fake.port, release=lift.release_id, queue_users=1024, lookup_timeout_ms=10_000
    )
    async with running(settings) as small:
        fake.reset()
        fake.blocked.clear()
        # Both of the batches that may run at a time: one user, and enough users to be looked up beside that one.
        first = asyncio.ensure_future(small.ranking.Recommend(ask(user="warm 3", k=1)))
        await fake.called.wait()
        fake.called.clear()
        second = asyncio.ensure_future(
            small.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=["warm 2"] * 100, k=1))
        )
        await fake.called.wait()
        # Whichever of the two comes first fills the queue, and the other one is refused.
        request = pb.BatchRecommendRequest(user_ids=["warm 1"] * 1024, k=1)
        batches = [asyncio.ensure_future(small.ranking.BatchRecommend(request)) for _ in range(2)]
        done, waiting = await asyncio.wait(batches, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().exception()
        assert isinstance(refused, grpc.aio.AioRpcError)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        info = error_details_pb2.RetryInfo()
        assert rpc_status.from_call(refused).details[0].Unpack(info)
        assert info.retry_delay.ToMilliseconds() > 0
        fake.blocked.set()
        assert len((await waiting.pop()).results) == 1024
        assert not (await first).user.degraded
        assert not any(result.user.degraded for result in (await second).results)
