"""The embedding service, answered from memory."""

from collections import Counter
from typing import Any

import numpy as np

from tests.support.memory_state import RELEASE_ID, Memory
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import ALS_DIM, BERT_DIM
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2
from twotower.wire import to_vector


class MemoryEmbedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Keeps reviews in a dictionary."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def RecordReview(self, request: Any, context: Any) -> Any:
        answer = self._record(request.review, "review")
        self._memory.arrive("RecordReview", request)  # after the effect: a failure here is an answer that was lost
        return answer

    async def BatchRecordReviews(self, request: Any, context: Any) -> Any:
        answers = [self._record(review, f"reviews[{index}]") for index, review in enumerate(request.reviews)]
        self._memory.arrive("BatchRecordReviews", request)
        return embedding_service_pb2.BatchRecordReviewsResponse(results=answers)

    async def RetractReview(self, request: Any, context: Any) -> Any:
        self._memory.arrive("RetractReview", request)
        own = self._memory.reviews.get(request.user_id, {})
        retracted = own.pop(request.review_id, None) is not None
        return embedding_service_pb2.RetractReviewResponse(
            retracted=retracted, review_count=len(own), release_id=RELEASE_ID
        )

    async def DeleteUser(self, request: Any, context: Any) -> Any:
        self._memory.arrive("DeleteUser", request)
        deleted = self._memory.reviews.pop(request.user_id, None) is not None
        return embedding_service_pb2.DeleteUserResponse(deleted=deleted)

    async def ExportUser(self, request: Any, context: Any) -> Any:
        """One review per page."""
        self._memory.arrive("ExportUser", request)
        ids = sorted(self._memory.reviews.get(request.user_id, {}))
        page = [name for name in ids if name > request.page_token][:1]
        answer = embedding_service_pb2.ExportUserResponse(next_page_token=page[0] if page[-1:] < ids[-1:] else "")
        for name in page:
            review = self._memory.reviews[request.user_id][name]
            answer.reviews.add(
                review_id=name,
                product_id=review.product_id,
                rating=review.rating,
                embedding=to_vector(np.zeros(384, np.float32)),
            )
        return answer

    async def GetUserFeatures(self, request: Any, context: Any) -> Any:
        self._memory.arrive("GetUserFeatures", request)
        return embedding_service_pb2.GetUserFeaturesResponse(
            features=self._features(request.user_id, request), release_id=RELEASE_ID
        )

    async def BatchGetUserFeatures(self, request: Any, context: Any) -> Any:
        self._memory.arrive("BatchGetUserFeatures", request)
        features = [self._features(user_id, request) for user_id in request.user_ids]
        return embedding_service_pb2.BatchGetUserFeaturesResponse(features=features, release_id=RELEASE_ID)

    async def EncodeTexts(self, request: Any, context: Any) -> Any:
        self._memory.arrive("EncodeTexts", request)
        answer = embedding_service_pb2.EncodeTextsResponse(encoder_id="e1")
        for text in request.texts:
            answer.embeddings.add(
                embedding=to_vector(np.full(BERT_DIM, len(text), np.float32)), token_count=len(text.split())
            )
        return answer

    async def GetPopularity(self, request: Any, context: Any) -> Any:
        """Number of reviews per product, not decayed."""
        self._memory.arrive("GetPopularity", request)
        counts = Counter(review.product_id for own in self._memory.reviews.values() for review in own.values())
        answer = embedding_service_pb2.GetPopularityResponse(product_ids=sorted(counts))
        answer.weights.CopyFrom(
            to_vector(np.array([counts[product_id] for product_id in answer.product_ids], np.float32))
        )
        answer.half_life.FromSeconds(7 * 86400)
        answer.as_of_time.FromJsonString("2026-01-02T03:04:05Z")
        return answer

    def _record(self, review: types_pb2.Review, path: str) -> embedding_service_pb2.RecordReviewResponse:
        if not 0 <= review.rating <= 5:
            raise InvalidArgument([FieldViolation(f"{path}.rating", f"must be 0 to 5, got {review.rating:g}")])
        own = self._memory.reviews.setdefault(review.user_id, {})
        self._memory.recorded.append(review)
        duplicate = review.review_id in own
        own[review.review_id] = review
        return embedding_service_pb2.RecordReviewResponse(
            outcome=embedding_service_pb2.RECORD_OUTCOME_DUPLICATE
            if duplicate
            else embedding_service_pb2.RECORD_OUTCOME_RECORDED,
            review_count=len(own),
            product_known=any(product.product_id == review.product_id for product in self._memory.products),
            release_id=RELEASE_ID,
            text_truncated=len(review.text) > 1000,
        )

    def _features(self, user_id: str, request: Any) -> types_pb2.UserFeatures:
        own = self._memory.reviews.get(user_id, {})
        features = types_pb2.UserFeatures(
            user_id=user_id,
            kind=self._memory.kind(user_id),
            bert_mean=to_vector(np.full(BERT_DIM, 0.05, np.float32)),
            als=to_vector(np.arange(ALS_DIM, dtype=np.float32)),
            als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
            review_count=len(own),
            seen_product_ids=sorted({review.product_id for review in own.values()}),
            space=request.space
            if request.HasField("space")
            else types_pb2.EmbeddingSpace(encoder_id="e1", als_id="a1"),
        )
        if own:
            features.age.FromSeconds(90)
        return features
