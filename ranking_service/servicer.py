"""The gRPC boundary: check, convert, call, convert."""

from typing import Any

import grpc

from ranking_service import checks, messages
from ranking_service.ranker import Ranker
from ranking_service.releases import Releases
from twotower.errors import NotBuilt
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc, release_service_pb2, release_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class RankingServicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """``twotower.v1.RankingService``; every answer is computed from the one release that it names."""

    def __init__(self, releases: Releases, ranker: Ranker) -> None:
        self._releases = releases
        self._ranker = ranker

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """The best k products for one user."""
        served = self._releases.current
        checks.recommend(request, len(served.catalogue))
        ranking = await self._ranker.rank(
            served, [request.user_id], k=request.k, include_seen=request.include_seen, timeout_s=context.time_remaining()
        )
        return pb.RecommendResponse(
            release_id=served.release_id,
            recommendations=messages.recommendations(ranking, served.catalogue),
            user=messages.user(ranking),
            timing=messages.timing(ranking.durations),
        )

    async def BatchRecommend(self, request: pb.BatchRecommendRequest, context: Context) -> pb.BatchRecommendResponse:
        """The best k products for each of many users."""
        served = self._releases.current
        checks.batch_recommend(request, len(served.catalogue))
        ranking = await self._ranker.rank(
            served, request.user_ids, k=request.k, include_seen=request.include_seen, timeout_s=context.time_remaining()
        )
        return pb.BatchRecommendResponse(
            release_id=served.release_id,
            results=[user for part in ranking.parts for user in messages.ranked_products(part, served.catalogue)],
            timing=messages.timing(ranking.durations),
        )

    async def PredictRatings(self, request: pb.PredictRatingsRequest, context: Context) -> pb.PredictRatingsResponse:
        """Scores and predicted ratings of given products."""
        served = self._releases.current
        checks.predict_ratings(request)
        products = [served.catalogue.index_of(product_id) for product_id in request.product_ids]
        ranking = await self._ranker.predict(served, request.user_id, products, context.time_remaining())
        return pb.PredictRatingsResponse(
            release_id=served.release_id,
            predictions=messages.recommendations(ranking, served.catalogue),
            user=messages.user(ranking),
            timing=messages.timing(ranking.durations),
        )

    async def SimilarProducts(self, request: pb.SimilarProductsRequest, context: Context) -> pb.SimilarProductsResponse:
        """Products with the nearest towers."""
        served = self._releases.current
        catalogue = served.catalogue
        checks.similar_products(request, len(catalogue))
        rows, cosines = catalogue.similar(catalogue.index_of(request.product_id), request.k)
        return pb.SimilarProductsResponse(
            release_id=served.release_id,
            products=[
                pb.SimilarProduct(product=messages.product(catalogue.products[row]), similarity=cosine)
                for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
            ],
        )

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        """One product."""
        served = self._releases.current
        checks.get_product(request)
        row = served.catalogue.products[served.catalogue.index_of(request.product_id)]
        return pb.GetProductResponse(release_id=served.release_id, product=messages.product(row))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        """A page of the catalogue."""
        served = self._releases.current
        size = checks.list_products(request)
        start = messages.page_start(request.page_token, served.release_id)
        end = start + size
        return pb.ListProductsResponse(
            release_id=served.release_id,
            products=[messages.product(row) for row in served.catalogue.products[start:end]],
            next_page_token=messages.page_token(served.release_id, end) if end < len(served.catalogue) else "",
            total_count=len(served.catalogue),
        )

    async def UpsertProducts(self, request: pb.UpsertProductsRequest, context: Context) -> pb.UpsertProductsResponse:
        """Not part of this version."""
        raise NotBuilt("UpsertProducts belongs to products without history, which this version does not have: train a release with them")


class ReleaseServicer(release_service_pb2_grpc.ReleaseServiceServicer):
    """``twotower.v1.ReleaseService``."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    async def ListReleases(
        self,
        request: release_service_pb2.ListReleasesRequest,
        context: Context,
    ) -> release_service_pb2.ListReleasesResponse:
        """The releases in the folder."""
        manifests, serving_id = await self._releases.list()
        return release_service_pb2.ListReleasesResponse(releases=[messages.release_info(manifest, serving_id) for manifest in manifests])

    async def LoadRelease(
        self,
        request: release_service_pb2.LoadReleaseRequest,
        context: Context,
    ) -> release_service_pb2.LoadReleaseResponse:
        """Make a release `stable`."""
        checks.load_release(request)
        served = await self._releases.load(request.release_id)
        return release_service_pb2.LoadReleaseResponse(release=messages.release_info(served.manifest, served.release_id))

    async def SetLabel(
        self,
        request: release_service_pb2.SetLabelRequest,
        context: Context,
    ) -> release_service_pb2.SetLabelResponse:
        """Not part of this version."""
        raise NotBuilt("SetLabel belongs to release labels (canary, shadow), which this version does not have: use LoadRelease")

    async def Rollback(
        self,
        request: release_service_pb2.RollbackRequest,
        context: Context,
    ) -> release_service_pb2.RollbackResponse:
        """Not part of this version."""
        raise NotBuilt("Rollback belongs to release labels, which this version does not have: use LoadRelease with the earlier release")
