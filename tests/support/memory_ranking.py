"""The ranking service, answered from memory."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from tests.support.memory_state import OTHER_RELEASE_ID, RELEASE_ID, Memory
from twotower.errors import FieldViolation, InvalidArgument, NotFound
from twotower.v1 import ranking_service_pb2, ranking_service_pb2_grpc, types_pb2
from twotower.wire import to_vector

LIVE = ranking_service_pb2.POPULARITY_SOURCE_LIVE


class MemoryRanking(ranking_service_pb2_grpc.RankingServiceServicer):
    """Ranks by place in the catalogue; a predicted rating is 4.5 for the first half of it and 3.5 for the rest."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def Recommend(self, request: Any, context: Any) -> Any:
        self._memory.arrive("Recommend", request)
        ranked, start = self._rank(request.user_id, request), _offset(request)
        answer = ranking_service_pb2.RecommendResponse(
            release_id=RELEASE_ID,
            recommendations=ranked[start : start + request.k],
            user=self._context(request.user_id, request),
            popularity_source=LIVE,
        )
        answer.timing.compute.FromNanoseconds(250_000)
        if request.explain:
            for row in answer.recommendations:
                self._explain(row, request.user_id)
        if request.paginate and len(ranked) > start + request.k:
            answer.next_page_token = f"{_fingerprint(request)}:{start + request.k}"
        return answer

    async def BatchRecommend(self, request: Any, context: Any) -> Any:
        self._memory.arrive("BatchRecommend", request)
        answer = ranking_service_pb2.BatchRecommendResponse(release_id=RELEASE_ID, popularity_source=LIVE)
        for user_id in request.user_ids:
            rows = self._rank(user_id, request)[: request.k]
            answer.results.add(
                product_ids=[row.product_id for row in rows],
                scores=to_vector(np.array([row.score for row in rows], np.float32)),
                predicted_ratings=to_vector(np.array([row.predicted_rating for row in rows], np.float32)),
                user=self._context(user_id, request),
                release_id=OTHER_RELEASE_ID if user_id in self._memory.canary_users else "",
            )
        return answer

    async def PredictRatings(self, request: Any, context: Any) -> Any:
        self._memory.arrive("PredictRatings", request)
        rows = {row.product_id: row for row in self._scored()}
        predictions = [rows[self._find(product_id).product_id] for product_id in request.product_ids]
        user = self._context(request.user_id, request)
        return ranking_service_pb2.PredictRatingsResponse(
            release_id=RELEASE_ID, predictions=predictions, user=user, popularity_source=LIVE
        )

    async def SimilarProducts(self, request: Any, context: Any) -> Any:
        """The products after it in the catalogue, less and less similar."""
        self._memory.arrive("SimilarProducts", request)
        row = self._memory.products.index(self._find(request.product_id))
        answer = ranking_service_pb2.SimilarProductsResponse(release_id=RELEASE_ID)
        for distance, product in enumerate(self._memory.products[row + 1 :][: request.k], start=1):
            answer.products.add(product=product, similarity=2.0**-distance)
        return answer

    async def GetProduct(self, request: Any, context: Any) -> Any:
        self._memory.arrive("GetProduct", request)
        return ranking_service_pb2.GetProductResponse(release_id=RELEASE_ID, product=self._find(request.product_id))

    async def ListProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("ListProducts", request)
        start, size = int(request.page_token or 0), request.page_size or 100
        page = self._memory.products[start : start + size]
        following = str(start + size) if start + size < len(self._memory.products) else ""
        return ranking_service_pb2.ListProductsResponse(
            release_id=RELEASE_ID,
            products=page,
            next_page_token=following,
            total_count=len(self._memory.products),
            withdrawn_product_ids=(row.product_id for row in page if row.product_id in self._memory.withdrawn),
        )

    async def UpsertProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("UpsertProducts", request)
        for index, product in enumerate(request.products):
            if not product.name:
                raise InvalidArgument([FieldViolation(f"products[{index}].name", "must not be empty")])
        rows = {product.product_id: row for row, product in enumerate(self._memory.products)}
        updated = [product for product in request.products if product.product_id in rows]
        inserted = [product for product in request.products if product.product_id not in rows]
        for product in updated:
            self._memory.products[rows[product.product_id]] = product
        self._memory.products += inserted
        self._memory.added.update(product.product_id for product in inserted)
        return ranking_service_pb2.UpsertProductsResponse(
            release_id=RELEASE_ID, inserted_count=len(inserted), updated_count=len(updated)
        )

    async def ListAddedProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("ListAddedProducts", request)
        added = [product for product in self._memory.products if product.product_id in self._memory.added]
        answer = ranking_service_pb2.ListAddedProductsResponse(release_id=RELEASE_ID, total_count=len(added))
        for product in added[: request.page_size]:
            answer.products.add(product=product, release_id=RELEASE_ID, served=True)
        return answer

    async def RemoveAddedProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("RemoveAddedProducts", request)
        removed = self._memory.added & set(request.product_ids)
        self._memory.added -= removed
        self._memory.products = [p for p in self._memory.products if p.product_id not in removed]
        return ranking_service_pb2.RemoveAddedProductsResponse(release_id=RELEASE_ID, removed_count=len(removed))

    async def WithdrawProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("WithdrawProducts", request)
        before, ids = set(self._memory.withdrawn), set(request.product_ids)
        self._memory.withdrawn = before - ids if request.restore else before | ids
        return ranking_service_pb2.WithdrawProductsResponse(
            release_id=RELEASE_ID,
            changed_count=len(before ^ self._memory.withdrawn),
            withdrawn_count=len(self._memory.withdrawn),
        )

    def _find(self, product_id: str) -> types_pb2.Product:
        for product in self._memory.products:
            if product.product_id == product_id:
                return product
        raise NotFound(f"product {product_id!r} is not in release {RELEASE_ID}")

    def _scored(self) -> list[ranking_service_pb2.Recommendation]:
        count = len(self._memory.products)
        return [
            ranking_service_pb2.Recommendation(
                product_id=product.product_id,
                name=product.name,
                brand=product.brand,
                score=count - place,
                predicted_rating=4.5 if place < count / 2 else 3.5,
            )
            for place, product in enumerate(self._memory.products)
        ]

    def _rank(self, user_id: str, request: Any) -> list[ranking_service_pb2.Recommendation]:
        count = len(self._memory.products)
        if not 1 <= request.k <= count:
            raise InvalidArgument([FieldViolation("k", f"must be 1 to {count}, got {request.k}")])
        seen = {review.product_id for review in self._memory.reviews.get(user_id, {}).values()}
        brands: Counter[str] = Counter()
        result = []
        for row, product in zip(self._scored(), self._memory.products, strict=True):
            if row.product_id in self._memory.withdrawn:
                continue
            if (not request.include_seen and row.product_id in seen) or not _passes(row, product, request.filter):
                continue
            brands[row.brand] += 1
            if not request.max_per_brand or brands[row.brand] <= request.max_per_brand:
                result.append(row)
        return result

    def _explain(self, row: ranking_service_pb2.Recommendation, user_id: str) -> None:
        row.explanation.score_without_als = row.score - 0.5
        row.explanation.score_without_bert = row.score + 0.25
        row.explanation.score_without_popularity = row.score
        for review in self._memory.reviews.get(user_id, {}).values():
            row.explanation.nearest_reviewed_product_id = review.product_id
            row.explanation.nearest_reviewed_similarity = 0.125

    def _context(self, user_id: str, request: Any) -> ranking_service_pb2.UserContext:
        count = len(self._memory.reviews.get(user_id, {}))
        context = ranking_service_pb2.UserContext(
            kind=self._memory.kind(user_id),
            review_count=count,
            als_origin=types_pb2.ALS_ORIGIN_NONE,
            degraded=self._memory.degraded,
        )
        if count:
            context.feature_age.FromSeconds(90)
        if request.HasField("max_staleness"):  # as old as is allowed
            context.staleness.CopyFrom(request.max_staleness)
        return context


def _passes(
    row: ranking_service_pb2.Recommendation, product: types_pb2.Product, rules: ranking_service_pb2.ProductFilter
) -> bool:
    categories = {name.strip().lower() for name in product.categories.split(",")}
    return (
        (not rules.allowed_product_ids or row.product_id in rules.allowed_product_ids)
        and row.product_id not in rules.denied_product_ids
        and (not rules.categories or bool(categories & {name.lower() for name in rules.categories}))
        and (not rules.brands or row.brand.lower() in {name.lower() for name in rules.brands})
        and row.predicted_rating >= rules.min_predicted_rating
    )


def _fingerprint(request: ranking_service_pb2.RecommendRequest) -> str:
    """A digest of every field but those that may differ from page to page."""
    rest = ranking_service_pb2.RecommendRequest()
    rest.CopyFrom(request)
    rest.ClearField("k")
    rest.ClearField("page_token")
    return hashlib.sha256(rest.SerializeToString(deterministic=True)).hexdigest()[:8]


def _offset(request: ranking_service_pb2.RecommendRequest) -> int:
    if not request.page_token:
        return 0
    fingerprint, _, offset = request.page_token.partition(":")
    if fingerprint != _fingerprint(request):
        raise InvalidArgument([FieldViolation("page_token", "must be of a request with the same fields")])
    return int(offset)
