"""The gRPC boundary of ``RankingService``: check, convert, call, convert."""

import asyncio
from typing import Any

import grpc

from ranking_service.api import checks, messages
from ranking_service.api.page_tokens import MAX_SHOWN, PageTokens, check_rows, decode_start, encode_start
from ranking_service.ranking.jobs import Page
from ranking_service.ranking.ranker import Ranker
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.added_products import is_served
from ranking_service.rollout.assortment import Assortment
from ranking_service.rollout.releases import Releases
from ranking_service.rollout.traffic import Traffic
from ranking_service.upstream.live_popularity import PopularityFeed
from twotower.errors import FieldViolation, InvalidArgument
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class RankingServicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """``twotower.v1.RankingService``; every answer is computed from the release that it names."""

    def __init__(
        self,
        releases: Releases,
        ranker: Ranker,
        traffic: Traffic,
        popularity: PopularityFeed,
        assortment: Assortment,
        *,
        page_tokens: PageTokens,
    ) -> None:
        self._releases = releases
        self._ranker = ranker
        self._traffic = traffic
        self._popularity = popularity
        self._assortment = assortment
        self._page_tokens = page_tokens

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """Rank the best k products for one user."""
        served, page = (
            self._continued(request) if request.page_token else (self._releases.for_user(request.user_id), None)
        )
        checks.check_recommend(request, len(served.catalogue))
        ranking = await self._traffic.rank(served, messages.to_rank_job(request, page), context.time_remaining())
        response = pb.RecommendResponse()
        messages.fill_ranking(response, ranking, served)
        next_page = ranking.parts[0].next_page
        if next_page and len(next_page.shown) < MAX_SHOWN:
            self._popularity.hold(served, next_page.popularity)
            response.next_page_token = self._page_tokens.encode(served.release_id, request, next_page)
        return response

    def _continued(self, request: pb.RecommendRequest) -> tuple[ServedRelease, Page]:
        """Find the release and the page that a page token pins."""
        token = self._page_tokens.decode(request.page_token, request)
        served = self._releases.answering(token.release_id)
        if served is None:
            problem = f"is of release {token.release_id}, which no longer answers: begin at the first page"
            raise InvalidArgument([FieldViolation("page_token", problem)])
        check_rows(token, len(served.catalogue))
        return served, token.page(self._popularity.held(served, token.popularity_version))

    async def BatchRecommend(self, request: pb.BatchRecommendRequest, context: Context) -> pb.BatchRecommendResponse:
        """Rank the best k products for each of many users."""
        served, canary = self._releases.current, self._releases.canary
        checks.check_batch_recommend(request, len(served.catalogue), served.catalogue.longest_id_bytes)
        if canary:
            return await self._batch_recommend_split(request, served, canary, context.time_remaining())
        ranking = await self._traffic.rank(served, messages.to_batch_rank_job(request), context.time_remaining())
        response = pb.BatchRecommendResponse(release_id=served.release_id)
        messages.fill_batch(response, ranking, served)
        messages.finish_batch(response, ranking, ranking.durations)
        return response

    async def _batch_recommend_split(
        self, request: pb.BatchRecommendRequest, served: ServedRelease, canary: ServedRelease, timeout_s: float | None
    ) -> pb.BatchRecommendResponse:
        """Rank for many users, some of whom the canary answers."""
        positions: dict[ServedRelease, list[int]] = {served: [], canary: []}
        for position, user_id in enumerate(request.user_ids):
            positions[self._releases.for_user(user_id)].append(position)
        groups = [(release, users) for release, users in positions.items() if users]
        job = messages.to_batch_rank_job(request)
        rankings = await asyncio.gather(
            *(
                self._traffic.rank(release, job.for_users([request.user_ids[user] for user in users]), timeout_s)
                for release, users in groups
            )
        )
        response = pb.BatchRecommendResponse(
            release_id=served.release_id, results=[pb.RankedProducts()] * len(request.user_ids)
        )
        for (release, users), ranking in zip(groups, rankings, strict=True):
            messages.fill_batch(response, ranking, release, users)
        messages.finish_batch(response, rankings[0], messages.longest([ranking.durations for ranking in rankings]))
        return response

    async def PredictRatings(self, request: pb.PredictRatingsRequest, context: Context) -> pb.PredictRatingsResponse:
        """Predict scores and ratings of given products."""
        served = self._releases.for_user(request.user_id)
        checks.check_predict_ratings(request)
        job = messages.to_predict_job(request, served.catalogue)
        ranking = await self._ranker.predict(served, job, context.time_remaining())
        response = pb.PredictRatingsResponse()
        messages.fill_ranking(response, ranking, served)
        return response

    async def SimilarProducts(self, request: pb.SimilarProductsRequest, context: Context) -> pb.SimilarProductsResponse:
        """Find the products with the nearest towers."""
        served = self._releases.current
        catalogue = served.catalogue
        checks.check_similar_products(request, len(catalogue))
        rows, cosines = catalogue.similar(catalogue.find_offered(request.product_id), request.k)
        return pb.SimilarProductsResponse(
            release_id=served.release_id,
            products=[
                pb.SimilarProduct(product=messages.from_product(catalogue.products[row]), similarity=cosine)
                for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True)
            ],
        )

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> pb.GetProductResponse:
        """Return one product."""
        served = self._releases.current
        checks.check_get_product(request)
        catalogue = served.catalogue
        row = catalogue.find(request.product_id)
        added = {entry.product_id for entry in await self._assortment.added.list() if is_served(entry, served)}
        return pb.GetProductResponse(
            release_id=served.release_id,
            product=messages.from_product(catalogue.products[row]),
            withdrawn=row in catalogue.withdrawn,
            added=request.product_id in added,
        )

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        """Return a page of the catalogue."""
        served = self._releases.current
        size = checks.check_list_products(request)
        start = decode_start(request.page_token, served.release_id)
        end = start + size
        products, withdrawn = served.catalogue.products, served.catalogue.withdrawn
        return pb.ListProductsResponse(
            release_id=served.release_id,
            products=map(messages.from_product, products[start:end]),
            withdrawn_product_ids=(products[row].product_id for row in sorted(withdrawn) if start <= row < end),
            next_page_token=encode_start(served.release_id, end) if end < len(served.catalogue) else "",
            total_count=len(served.catalogue),
        )

    async def UpsertProducts(self, request: pb.UpsertProductsRequest, context: Context) -> pb.UpsertProductsResponse:
        """Add products to every release in memory."""
        served = self._releases.current
        checks.check_upsert_products(request)
        inserted = sum(product.product_id not in served.catalogue for product in request.products)
        await self._assortment.added.add(messages.to_products(request), served)
        await self._releases.refit(self._assortment.fit)
        return pb.UpsertProductsResponse(
            release_id=served.release_id, inserted_count=inserted, updated_count=len(request.products) - inserted
        )

    async def ListAddedProducts(
        self, request: pb.ListAddedProductsRequest, context: Context
    ) -> pb.ListAddedProductsResponse:
        """List the upserted products."""
        served = self._releases.current
        size = checks.check_list_products(request)
        start = decode_start(request.page_token, served.release_id)
        entries, end = await self._assortment.added.list(), start + size
        return pb.ListAddedProductsResponse(
            release_id=served.release_id,
            products=[messages.from_added(entry, is_served(entry, served)) for entry in entries[start:end]],
            next_page_token=encode_start(served.release_id, end) if end < len(entries) else "",
            total_count=len(entries),
        )

    async def RemoveAddedProducts(
        self, request: pb.RemoveAddedProductsRequest, context: Context
    ) -> pb.RemoveAddedProductsResponse:
        """Take upserted products back."""
        served = self._releases.current
        checks.check_product_ids(request)
        product_ids = list(dict.fromkeys(request.product_ids))
        await self._assortment.added.remove(product_ids)
        await self._releases.refit(self._assortment.fit)
        return pb.RemoveAddedProductsResponse(release_id=served.release_id, removed_count=len(product_ids))

    async def WithdrawProducts(
        self, request: pb.WithdrawProductsRequest, context: Context
    ) -> pb.WithdrawProductsResponse:
        """Withdraw products, or bring them back."""
        served = self._releases.current
        checks.check_product_ids(request)
        if not request.restore:
            for product_id in request.product_ids:
                served.catalogue.find(product_id)
        changed, withdrawn = await self._assortment.withdrawn.change(request.product_ids, restore=request.restore)
        await self._releases.refit(self._assortment.fit)
        return pb.WithdrawProductsResponse(
            release_id=served.release_id, changed_count=changed, withdrawn_count=withdrawn
        )
