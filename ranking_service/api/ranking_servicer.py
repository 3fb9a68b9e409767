"""The gRPC boundary of ``RankingService``: check, convert, call, convert."""

import asyncio
from typing import Any

import grpc
import numpy as np

from ranking_service.api import checks, messages, page_tokens
from ranking_service.ranking.jobs import Page, PredictJob
from ranking_service.ranking.ranker import Ranker
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.added_products import AddedProducts
from ranking_service.rollout.releases import Releases
from ranking_service.rollout.traffic import Traffic
from ranking_service.upstream.live_popularity import LivePopularity
from twotower.errors import FieldViolation, InvalidArgument
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class RankingServicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """``twotower.v1.RankingService``; every answer is computed from the release that it names."""

    def __init__(
        self, releases: Releases, ranker: Ranker, traffic: Traffic, popularity: LivePopularity, added: AddedProducts
    ) -> None:
        self._releases = releases
        self._ranker = ranker
        self._traffic = traffic
        self._popularity = popularity
        self._added = added

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """The best k products for one user."""
        served, page = (
            self._continued(request) if request.page_token else (self._releases.for_user(request.user_id), None)
        )
        checks.recommend(request, len(served.catalogue))
        ranking = await self._traffic.rank(served, messages.rank_job(request, page), context.time_remaining())
        response = pb.RecommendResponse()
        messages.fill(response, ranking, served)
        if next_page := ranking.parts[0].next_page:
            self._popularity.hold(served, next_page.popularity)
            response.next_page_token = page_tokens.encode(served.release_id, request, next_page)
        return response

    def _continued(self, request: pb.RecommendRequest) -> tuple[ServedRelease, Page]:
        """The release and the place that a page token pins."""
        token = page_tokens.decode(request.page_token, request)
        served = self._releases.answering(token.release_id)
        if served is None:
            raise InvalidArgument(
                [
                    FieldViolation(
                        "page_token", f"is of release {token.release_id}, which no longer answers: begin again"
                    )
                ]
            )
        page_tokens.require_rows(token, len(served.catalogue))
        return served, token.page(self._popularity.held(served, token.popularity_version))

    async def BatchRecommend(self, request: pb.BatchRecommendRequest, context: Context) -> pb.BatchRecommendResponse:
        """The best k products for each of many users."""
        served, canary = self._releases.current, self._releases.canary
        checks.batch_recommend(request, len(served.catalogue))
        if canary:
            return await self._batch_recommend_split(request, served, canary, context.time_remaining())
        ranking = await self._traffic.rank(served, messages.batch_job(request), context.time_remaining())
        response = pb.BatchRecommendResponse(release_id=served.release_id)
        messages.fill_batch(response, ranking, served)
        messages.finish_batch(response, ranking, ranking.durations)
        return response

    async def _batch_recommend_split(
        self, request: pb.BatchRecommendRequest, served: ServedRelease, canary: ServedRelease, timeout_s: float | None
    ) -> pb.BatchRecommendResponse:
        """Some users are answered by the canary."""
        places: dict[ServedRelease, list[int]] = {served: [], canary: []}
        for place, user_id in enumerate(request.user_ids):
            places[self._releases.for_user(user_id)].append(place)
        groups = [(release, users) for release, users in places.items() if users]
        job = messages.batch_job(request)
        parts = (job.of([request.user_ids[place] for place in users]) for _, users in groups)
        rankings = await asyncio.gather(
            *(self._traffic.rank(release, part, timeout_s) for (release, _), part in zip(groups, parts, strict=True))
        )
        response = pb.BatchRecommendResponse(
            release_id=served.release_id, results=[pb.RankedProducts()] * len(request.user_ids)
        )
        for (release, users), ranking in zip(groups, rankings, strict=True):
            messages.fill_batch(response, ranking, release, users)
        messages.finish_batch(response, rankings[0], messages.longest([ranking.durations for ranking in rankings]))
        return response

    async def PredictRatings(self, request: pb.PredictRatingsRequest, context: Context) -> pb.PredictRatingsResponse:
        """Scores and predicted ratings of given products."""
        served = self._releases.for_user(request.user_id)
        checks.predict_ratings(request)
        products = np.array([served.catalogue.index_of(product_id) for product_id in request.product_ids], np.int64)
        job = PredictJob((request.user_id,), products, request.max_staleness.ToTimedelta().total_seconds())
        ranking = await self._ranker.predict(served, job, context.time_remaining())
        response = pb.PredictRatingsResponse()
        messages.fill(response, ranking, served)
        return response

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
        """Add products to every release in memory."""
        served = self._releases.current
        checks.upsert_products(request)
        inserted = sum(product.product_id not in served.catalogue for product in request.products)
        await self._added.add(messages.added_products(request), served)
        await self._releases.refit(self._added.fit)
        return pb.UpsertProductsResponse(
            release_id=served.release_id, inserted_count=inserted, updated_count=len(request.products) - inserted
        )
