"""A server with --two-stage-above: plain requests from candidates, all others exactly."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from tests.integration.ranking_service.conftest import Clients, ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding, warm_user
from tests.support.releases import product_id, random_user_rows, write_random_release
from twotower.model import score_catalogue
from twotower.release import Release
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import types_pb2

PRODUCTS = 12_000
USERS = 20
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return random_user_rows(np.random.default_rng(4), USERS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    release: Release, rows: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clients]:
    seen = [product_id(5), product_id(6)]
    fake = FakeEmbedding(release, {f"warm {i}": warm_user(row, seen) for i, row in enumerate(rows)})
    port = await fake.start()
    async with running(
        ranking_settings(release.path.parent, port, release=release.release_id, two_stage_above=10_000)
    ) as stubs:
        yield stubs
    await fake.stop()


def best(release: Release, rows: np.ndarray, k: int) -> np.ndarray:
    """(users, k): rows of the best products by the numpy reference, seen ones left out."""
    scores = score_catalogue(release.weights, rows, np.asarray(release.product_fusion))
    scores[:, [5, 6]] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k]


async def test_plain_requests_find_nearly_all_of_the_best(server: Clients, release: Release, rows: np.ndarray) -> None:
    answer = await server.ranking.BatchRecommend(
        pb.BatchRecommendRequest(user_ids=[f"warm {i}" for i in range(USERS)], k=10)
    )
    expected = [{product_id(row) for row in user} for user in best(release, rows, 10).tolist()]
    found = [set(result.product_ids) for result in answer.results]
    assert np.mean([len(a & b) / 10 for a, b in zip(expected, found, strict=True)]) >= 0.98
    assert all(len(result.product_ids) == 10 for result in answer.results)


async def test_filters_and_long_lists_are_answered_exactly(server: Clients, release: Release, rows: np.ndarray) -> None:
    answer = await server.ranking.Recommend(pb.RecommendRequest(user_id="warm 3", k=500))
    expected = best(release, rows[3:4], 500)[0]
    scores = score_catalogue(release.weights, rows[3:4], np.asarray(release.product_fusion))[0]
    np.testing.assert_allclose([item.score for item in answer.recommendations], scores[expected], atol=1e-4)
    allowed = [product_id(row) for row in np.argsort(scores)[:4]]  # the worst four of all
    chosen = pb.ProductFilter(allowed_product_ids=allowed)
    answer = await server.ranking.Recommend(pb.RecommendRequest(user_id="warm 3", k=10, filter=chosen))
    assert {item.product_id for item in answer.recommendations} == set(allowed)
    predicted = await server.ranking.PredictRatings(pb.PredictRatingsRequest(user_id="warm 3", product_ids=allowed))
    np.testing.assert_allclose([item.score for item in predicted.predictions], np.sort(scores)[:4], atol=1e-4)


async def test_an_added_product_is_among_the_candidates(server: Clients) -> None:
    added = types_pb2.Product(product_id="new", name="A new one", brand="B", categories="C", manufacturer="M")
    await server.ranking.UpsertProducts(pb.UpsertProductsRequest(products=[added]))
    exact = await server.ranking.PredictRatings(pb.PredictRatingsRequest(user_id="warm 0", product_ids=["new"]))
    plain = await server.ranking.Recommend(pb.RecommendRequest(user_id="warm 0", k=100))
    worst = plain.recommendations[-1].score
    assert ("new" in {item.product_id for item in plain.recommendations}) == (exact.predictions[0].score > worst)
    assert len(plain.recommendations) == 100
