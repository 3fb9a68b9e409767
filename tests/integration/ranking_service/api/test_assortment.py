"""Products that are withdrawn and brought back, and upserted ones that are listed and removed."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.integration.ranking_service.conftest import Clients, ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding
from tests.support.releases import product_id, write_random_release
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2, types_pb2

PRODUCTS = 20
SEPARATED = "a\u2028b\u2029c\x85d\x0be\x1cf\rg"
"""A name with everything that Python, and no JSON reader, takes for the end of a line."""


async def _everything(clients: Clients, **rules: Any) -> list[str]:
    answer = await clients.ranking.Recommend(pb.RecommendRequest(user_id="ann", k=PRODUCTS, **rules))
    return [row.product_id for row in answer.recommendations]


async def _until_gone(clients: Clients, gone: str) -> None:
    while gone in await _everything(clients):  # noqa: ASYNC110 - another server must follow
        await asyncio.sleep(0.02)


async def _pages(clients: Clients) -> list[pb.ListProductsResponse]:
    """The whole catalogue, three products per page."""
    pages = [await clients.ranking.ListProducts(pb.ListProductsRequest(page_size=3))]
    while token := pages[-1].next_page_token:
        pages.append(await clients.ranking.ListProducts(pb.ListProductsRequest(page_size=3, page_token=token)))
    assert all(set(page.withdrawn_product_ids) <= {row.product_id for row in page.products} for page in pages)
    return pages


async def test_a_withdrawn_product_is_nowhere_until_it_is_restored(tmp_path: Path) -> None:
    first, second = (write_random_release(tmp_path, products=PRODUCTS, seed=seed) for seed in (0, 1))
    embedding = FakeEmbedding(first)
    settings = ranking_settings(tmp_path, await embedding.start(), release=first.release_id, follow_interval_ms=20)
    async with running(settings) as clients, running(settings) as other_worker:
        best = (await _everything(clients))[:3]
        done = await clients.ranking.WithdrawProducts(pb.WithdrawProductsRequest(product_ids=best[:2]))
        assert (done.changed_count, done.withdrawn_count) == (2, 2)
        rest = [f"product-{i:05d}" for i in range(PRODUCTS) if f"product-{i:05d}" not in best[:2]]
        await _until_gone(other_worker, best[0])
        for worker in (clients, other_worker):
            rulings: list[dict[str, Any]] = [{}, {"paginate": True}, {"explain": True}, {"diversity_strength": 0.3}]
            for rules in rulings:
                assert sorted(await _everything(worker, **rules)) == rest, rules
            batch = await worker.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=["ann", "bob"], k=PRODUCTS))
            assert all(sorted(result.product_ids) == rest for result in batch.results)
            assert all(result.scores.dimension == PRODUCTS - 2 for result in batch.results)
            near = await worker.ranking.SimilarProducts(pb.SimilarProductsRequest(product_id=best[2], k=PRODUCTS))
            assert sorted(row.product.product_id for row in near.products) == [name for name in rest if name != best[2]]
            for refused in (
                worker.ranking.PredictRatings(pb.PredictRatingsRequest(user_id="ann", product_ids=best)),
                worker.ranking.SimilarProducts(pb.SimilarProductsRequest(product_id=best[0], k=1)),
            ):
                with pytest.raises(grpc.aio.AioRpcError, match="is withdrawn") as caught:
                    await refused
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        shown = await clients.ranking.GetProduct(pb.GetProductRequest(product_id=best[0]))
        assert (shown.withdrawn, shown.added) == (True, False)
        marked = {name for page in (await _pages(clients)) for name in page.withdrawn_product_ids}
        assert marked == set(best[:2])

        await clients.releases.LoadRelease(release_service_pb2.LoadReleaseRequest(release_id=second.release_id))
        assert sorted(await _everything(clients)) == rest
        done = await clients.ranking.WithdrawProducts(pb.WithdrawProductsRequest(product_ids=best, restore=True))
        assert (done.changed_count, done.withdrawn_count) == (2, 0)
        assert len(await _everything(clients)) == PRODUCTS
        with pytest.raises(grpc.aio.AioRpcError, match="not in release"):
            await clients.ranking.WithdrawProducts(pb.WithdrawProductsRequest(product_ids=[best[0], "nothing"]))
        assert len(await _everything(clients)) == PRODUCTS
    await embedding.stop()


async def test_upserted_products_are_listed_kept_and_removed(tmp_path: Path) -> None:
    release = write_random_release(tmp_path, products=PRODUCTS)
    embedding = FakeEmbedding(release)
    settings = ranking_settings(tmp_path, await embedding.start(), release=release.release_id)
    for number in range(3):  # each time by a server that has just started, so from the file
        async with running(settings) as clients:
            if number:
                shown = await clients.ranking.GetProduct(pb.GetProductRequest(product_id="new 0"))
                assert (shown.product.name, shown.added, shown.withdrawn) == (SEPARATED, True, False)
            await clients.ranking.UpsertProducts(
                pb.UpsertProductsRequest(products=[types_pb2.Product(product_id=f"new {number}", name=SEPARATED)])
            )
            for name in (f"new {i}" for i in range(number + 1)):
                assert (
                    await clients.ranking.GetProduct(pb.GetProductRequest(product_id=name))
                ).product.name == SEPARATED
    async with running(settings) as clients:
        changed = types_pb2.Product(product_id=product_id(0), name="Another name")
        await clients.ranking.UpsertProducts(pb.UpsertProductsRequest(products=[changed]))
        first = await clients.ranking.ListAddedProducts(pb.ListAddedProductsRequest(page_size=3))
        rest = await clients.ranking.ListAddedProducts(
            pb.ListAddedProductsRequest(page_size=3, page_token=first.next_page_token)
        )
        listed = [*first.products, *rest.products]
        assert [row.product.product_id for row in listed] == ["new 0", "new 1", "new 2", product_id(0)]
        assert all(row.served and row.release_id == release.release_id for row in listed)
        assert (first.total_count, rest.next_page_token) == (4, "")

        with pytest.raises(grpc.aio.AioRpcError, match="was not upserted"):
            await clients.ranking.RemoveAddedProducts(
                pb.RemoveAddedProductsRequest(product_ids=["new 1", product_id(1)])
            )
        done = await clients.ranking.RemoveAddedProducts(
            pb.RemoveAddedProductsRequest(product_ids=["new 1", product_id(0)])
        )
        assert done.removed_count == 2
        own = await clients.ranking.GetProduct(pb.GetProductRequest(product_id=product_id(0)))
        assert (own.product.name, own.added) == ("Product 0", False)
        with pytest.raises(grpc.aio.AioRpcError, match="not in release"):
            await clients.ranking.GetProduct(pb.GetProductRequest(product_id="new 1"))
        left = (await clients.ranking.ListAddedProducts(pb.ListAddedProductsRequest())).products
        assert [row.product.product_id for row in left] == ["new 0", "new 2"]
    await embedding.stop()


async def test_a_batch_at_its_bound_is_below_4_mib_and_beyond_it_is_refused_by_name(tmp_path: Path) -> None:
    release = write_random_release(tmp_path, products=400)
    embedding = FakeEmbedding(release)
    settings = ranking_settings(tmp_path, await embedding.start(), release=release.release_id)
    async with running(settings) as clients:
        users = [f"user {i}" for i in range(1024)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await clients.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=users, k=400))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = str(caught.value.details())
        assert details.startswith("k: must be at most ")
        most = int(details.split("at most ")[1].split(" ", maxsplit=1)[0])
        largest = await clients.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=users, k=most))
        assert 0.9 * 4 * 2**20 < largest.ByteSize() + 1024 * 256 < 4 * 2**20 + 1024 * 256
        assert largest.ByteSize() < 4 * 2**20
        with pytest.raises(grpc.aio.AioRpcError):
            await clients.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=users, k=most + 1))
        with pytest.raises(grpc.aio.AioRpcError, match=r"and 1004 more violations") as caught:
            await clients.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=[""] * 1024, k=1))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await embedding.stop()
