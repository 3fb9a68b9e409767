"""The public API answered from memory, behind a real gRPC server: what clients are tested against without Redis or a model."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twotower.errors import FieldViolation, InvalidArgument, NotFound, TwotowerError
from twotower.features import ALS_DIM, BERT_DIM
from twotower.rpc import Server
from twotower.v1 import (
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    ranking_service_pb2,
    ranking_service_pb2_grpc,
    release_service_pb2,
    release_service_pb2_grpc,
    types_pb2,
)
from twotower.wire import to_vector

SERVICES = ("twotower.v1.EmbeddingService", "twotower.v1.RankingService", "twotower.v1.ReleaseService")
RELEASE_ID = "v5_power-0123456789ab"


@dataclass
class Memory:
    """State of the servers, shared with the test.

    Attributes:
        products: the catalogue, in order; a product's score is its place from the end.
        reviews: user → review id → review.
        attempts: calls that arrived, by method name.
        failures: method name → errors that its next calls end with.
        degraded: answer as if the embedding service were away.
    """

    products: list[types_pb2.Product] = field(default_factory=list)
    reviews: dict[str, dict[str, types_pb2.Review]] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    failures: dict[str, list[Exception]] = field(default_factory=dict)
    degraded: bool = False

    def arrive(self, method: str) -> None:
        """Count a call and raise the error that is planned for it."""
        self.attempts[method] += 1
        if planned := self.failures.get(method):
            raise planned.pop(0)

    def kind(self, user_id: str) -> types_pb2.UserKind:
        """Anonymous by name, warm with a review."""
        if user_id == "Anonymous":
            return types_pb2.USER_KIND_ANONYMOUS
        return types_pb2.USER_KIND_WARM if self.reviews.get(user_id) and not self.degraded else types_pb2.USER_KIND_COLD


def catalogue(count: int) -> list[types_pb2.Product]:
    """Products p0, p1, …"""
    return [
        types_pb2.Product(product_id=f"p{i}", name=f"Product {i}", brand="Acme", categories="Audio", manufacturer="Acme", review_count=i)
        for i in range(count)
    ]


class MemoryRanking(ranking_service_pb2_grpc.RankingServiceServicer):
    """Ranks by place in the catalogue."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def Recommend(self, request: Any, context: Any) -> Any:
        self._memory.arrive("Recommend")
        rows = self._rank(request.user_id, request.k, request.include_seen)
        answer = ranking_service_pb2.RecommendResponse(release_id=RELEASE_ID, recommendations=rows, user=self._context(request.user_id))
        answer.timing.compute.FromNanoseconds(250_000)
        return answer

    async def BatchRecommend(self, request: Any, context: Any) -> Any:
        self._memory.arrive("BatchRecommend")
        answer = ranking_service_pb2.BatchRecommendResponse(release_id=RELEASE_ID)
        for user_id in request.user_ids:
            rows = self._rank(user_id, request.k, request.include_seen)
            answer.results.add(
                product_ids=[row.product_id for row in rows],
                scores=to_vector(np.array([row.score for row in rows], np.float32)),
                predicted_ratings=to_vector(np.array([row.predicted_rating for row in rows], np.float32)),
                user=self._context(user_id),
            )
        return answer

    async def PredictRatings(self, request: Any, context: Any) -> Any:
        self._memory.arrive("PredictRatings")
        rows = {row.product_id: row for row in self._rank(request.user_id, len(self._memory.products), True)}
        asked = [rows[self._find(product_id).product_id] for product_id in request.product_ids]
        return ranking_service_pb2.PredictRatingsResponse(release_id=RELEASE_ID, predictions=asked, user=self._context(request.user_id))

    async def GetProduct(self, request: Any, context: Any) -> Any:
        self._memory.arrive("GetProduct")
        return ranking_service_pb2.GetProductResponse(release_id=RELEASE_ID, product=self._find(request.product_id))

    async def ListProducts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("ListProducts")
        start, size = int(request.page_token or 0), request.page_size or 100
        page = self._memory.products[start : start + size]
        following = str(start + size) if start + size < len(self._memory.products) else ""
        return ranking_service_pb2.ListProductsResponse(
            release_id=RELEASE_ID, products=page, next_page_token=following, total_count=len(self._memory.products)
        )

    def _find(self, product_id: str) -> types_pb2.Product:
        for product in self._memory.products:
            if product.product_id == product_id:
                return product
        raise NotFound(f"product {product_id!r} is not in release {RELEASE_ID}")

    def _rank(self, user_id: str, k: int, include_seen: bool) -> list[ranking_service_pb2.Recommendation]:
        count = len(self._memory.products)
        if not 1 <= k <= count:
            raise InvalidArgument([FieldViolation("k", f"must be 1 to {count}, got {k}")])
        seen = {review.product_id for review in self._memory.reviews.get(user_id, {}).values()}
        return [
            ranking_service_pb2.Recommendation(
                product_id=product.product_id, name=product.name, brand=product.brand, score=count - place, predicted_rating=4.5
            )
            for place, product in enumerate(self._memory.products)
            if include_seen or product.product_id not in seen
        ][:k]

    def _context(self, user_id: str) -> ranking_service_pb2.UserContext:
        count = len(self._memory.reviews.get(user_id, {}))
        context = ranking_service_pb2.UserContext(
            kind=self._memory.kind(user_id), review_count=count, als_origin=types_pb2.ALS_ORIGIN_NONE, degraded=self._memory.degraded
        )
        if count:
            context.feature_age.FromSeconds(90)
        return context


class MemoryReleases(release_service_pb2_grpc.ReleaseServiceServicer):
    """One release."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def ListReleases(self, request: Any, context: Any) -> Any:
        self._memory.arrive("ListReleases")
        return release_service_pb2.ListReleasesResponse(releases=[self._release()])

    async def LoadRelease(self, request: Any, context: Any) -> Any:
        self._memory.arrive("LoadRelease")
        if request.release_id != RELEASE_ID:
            raise NotFound(f"release {request.release_id!r} is not in the folder")
        return release_service_pb2.LoadReleaseResponse(release=self._release())

    def _release(self) -> release_service_pb2.ReleaseInfo:
        info = release_service_pb2.ReleaseInfo(
            release_id=RELEASE_ID, preset="v5_power", product_count=len(self._memory.products), label="RELEASE_LABEL_STABLE"
        )
        info.create_time.FromJsonString("2026-01-02T03:04:05Z")
        return info


class MemoryEmbedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Keeps reviews in a dictionary."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def RecordReview(self, request: Any, context: Any) -> Any:
        review = request.review
        own = self._memory.reviews.setdefault(review.user_id, {})
        outcome = (
            embedding_service_pb2.RECORD_OUTCOME_DUPLICATE if review.review_id in own else embedding_service_pb2.RECORD_OUTCOME_RECORDED
        )
        own[review.review_id] = review
        self._memory.arrive("RecordReview")  # after the effect: a failure here is an answer that was lost
        if not 0 <= review.rating <= 5:
            raise InvalidArgument([FieldViolation("review.rating", f"must be 0 to 5, got {review.rating:g}")])
        known = any(product.product_id == review.product_id for product in self._memory.products)
        return embedding_service_pb2.RecordReviewResponse(
            outcome=outcome, review_count=len(own), product_known=known, release_id=RELEASE_ID, text_truncated=len(review.text) > 1000
        )

    async def GetUserFeatures(self, request: Any, context: Any) -> Any:
        self._memory.arrive("GetUserFeatures")
        features = types_pb2.UserFeatures(
            user_id=request.user_id,
            kind=self._memory.kind(request.user_id),
            bert_mean=to_vector(np.full(BERT_DIM, 0.05, np.float32)),
            als=to_vector(np.arange(ALS_DIM, dtype=np.float32)),
            als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
            review_count=len(self._memory.reviews.get(request.user_id, {})),
            space=types_pb2.EmbeddingSpace(encoder_id="e1", als_id="a1"),
        )
        return embedding_service_pb2.GetUserFeaturesResponse(features=features, release_id=RELEASE_ID)

    async def EncodeTexts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("EncodeTexts")
        answer = embedding_service_pb2.EncodeTextsResponse(encoder_id="e1")
        for text in request.texts:
            answer.embeddings.add(embedding=to_vector(np.full(BERT_DIM, len(text), np.float32)), token_count=len(text.split()))
        return answer


class MemoryServer:
    """One server with all three services, on a thread of its own so that blocking clients can call it."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._start())
        self.address = f"127.0.0.1:{self._server.port}"

    def set_serving(self, serving: bool) -> None:
        """Turn its health."""
        self._run(self._server.set_serving(serving))

    def close(self) -> None:
        """Stop the server and the thread."""
        self._run(self._server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> Server:
        def register(server: Any) -> None:
            ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(MemoryRanking(self.memory), server)
            release_service_pb2_grpc.add_ReleaseServiceServicer_to_server(MemoryReleases(self.memory), server)
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(MemoryEmbedding(self.memory), server)

        server = Server("127.0.0.1:0", SERVICES, register, drain_s=0.2)
        await server.start()
        await server.set_serving(True)
        return server

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)


@contextmanager
def memory_server(products: int = 10) -> Iterator[MemoryServer]:
    """A running server with `products` products."""
    server = MemoryServer(Memory(products=catalogue(products)))
    try:
        yield server
    finally:
        server.close()


def planned(server: MemoryServer, method: str, *errors: TwotowerError) -> None:
    """Let the next calls of a method end with these errors."""
    server.memory.failures[method] = list(errors)
