"""Answers of the embedding service."""

from collections.abc import Sequence
from datetime import UTC

import numpy as np

from clients.decoding.fields import enum_value, seconds
from clients.errors import FieldViolation, InvalidArgument
from clients.results import (
    AlsOrigin,
    DeletedUser,
    EmbeddingSpace,
    Popularity,
    RecordedReview,
    RecordOutcome,
    RetractedReview,
    TextEmbeddings,
    UserFeatures,
    UserKind,
    UserPage,
)
from twotower.features import ALS_DIM, BERT_DIM
from twotower.v1 import embedding_service_pb2, types_pb2
from twotower.wire import from_vector


def recorded_review(message: embedding_service_pb2.RecordReviewResponse, review_id: str) -> RecordedReview:
    """What became of the review that was sent under `review_id`."""
    return RecordedReview(
        review_id=review_id,
        outcome=enum_value(RecordOutcome, embedding_service_pb2.RecordOutcome, message.outcome),
        review_count=message.review_count,
        text_truncated=message.text_truncated,
        product_known=message.product_known,
        release_id=message.release_id,
    )


def recorded_reviews(
    message: embedding_service_pb2.BatchRecordReviewsResponse, review_ids: Sequence[str]
) -> tuple[RecordedReview, ...]:
    """What became of the reviews that were sent under `review_ids`.

    Raises:
        InvalidArgument: there is not one answer per review.
    """
    if len(message.results) != len(review_ids):
        raise InvalidArgument(
            [FieldViolation("results", f"must be {len(review_ids)}, one a review, got {len(message.results)}")]
        )
    return tuple(map(recorded_review, message.results, review_ids))


def retracted_review(message: embedding_service_pb2.RetractReviewResponse) -> RetractedReview:
    """What became of a retraction."""
    return RetractedReview(message.retracted, message.review_count, message.release_id)


def deleted_user(message: embedding_service_pb2.DeleteUserResponse) -> DeletedUser:
    """What became of a deletion."""
    return DeletedUser(message.deleted)


def user_page(message: embedding_service_pb2.ExportUserResponse) -> UserPage:
    """A page of all that is kept of a user.

    Raises:
        InvalidArgument: a vector has another dimension.
    """
    return UserPage(
        states=tuple(
            {
                "encoder_id": state.encoder_id,
                "review_count": state.review_count,
                "change_time": state.change_time.ToDatetime(UTC),
                "seen_product_ids": list(state.seen_product_ids),
                "bert_mean": from_vector(state.bert_mean, BERT_DIM, "states.bert_mean"),
            }
            for state in message.states
        ),
        als=tuple(
            {
                "als_id": als.als_id,
                "origin": enum_value(AlsOrigin, types_pb2.AlsOrigin, als.origin),
                "als": from_vector(als.als, ALS_DIM, "als.als"),
            }
            for als in message.als
        ),
        tombstones=tuple(
            {"review_id": stone.review_id, "time": stone.time.ToDatetime(UTC)} for stone in message.tombstones
        ),
        reviews=tuple(
            {
                "encoder_id": review.encoder_id,
                "review_id": review.review_id,
                "product_id": review.product_id,
                "rating": review.rating,
                "review_time": review.review_time.ToDatetime(UTC) if review.HasField("review_time") else None,
                "embedding": from_vector(review.embedding, BERT_DIM, "reviews.embedding"),
            }
            for review in message.reviews
        ),
        next_page_token=message.next_page_token,
    )


def user_features(message: embedding_service_pb2.GetUserFeaturesResponse) -> UserFeatures:
    """A user's features.

    Raises:
        InvalidArgument: a vector has another dimension.
    """
    return _features(message.features, "features", message.release_id)


def batch_user_features(message: embedding_service_pb2.BatchGetUserFeaturesResponse) -> tuple[UserFeatures, ...]:
    """Many users' features, in the order of the request.

    Raises:
        InvalidArgument: a vector has another dimension.
    """
    return tuple(_features(row, f"features[{index}]", message.release_id) for index, row in enumerate(message.features))


def text_embeddings(message: embedding_service_pb2.EncodeTextsResponse) -> TextEmbeddings:
    """Embedded texts.

    Raises:
        InvalidArgument: a vector has another dimension.
    """
    texts = message.embeddings
    vectors = [from_vector(text.embedding, BERT_DIM, f"embeddings[{index}]") for index, text in enumerate(texts)]
    return TextEmbeddings(
        vectors=np.array(vectors, np.float32).reshape(-1, BERT_DIM),
        truncated=tuple(text.truncated for text in texts),
        token_counts=tuple(text.token_count for text in texts),
        encoder_id=message.encoder_id,
    )


def popularity(message: embedding_service_pb2.GetPopularityResponse) -> Popularity:
    """Time-decayed review counts.

    Raises:
        InvalidArgument: there is not one weight per product id.
    """
    return Popularity(
        product_ids=tuple(message.product_ids),
        weights=from_vector(message.weights, len(message.product_ids), "weights"),
        half_life_s=seconds(message.half_life),
        as_of_time=message.as_of_time.ToDatetime(UTC),
    )


def embedding_space(message: types_pb2.EmbeddingSpace) -> EmbeddingSpace:
    """The pair of spaces that vectors live in."""
    return EmbeddingSpace(message.encoder_id, message.als_id)


def _features(message: types_pb2.UserFeatures, field: str, release_id: str) -> UserFeatures:
    return UserFeatures(
        user_id=message.user_id,
        kind=enum_value(UserKind, types_pb2.UserKind, message.kind),
        bert_mean=from_vector(message.bert_mean, BERT_DIM, f"{field}.bert_mean"),
        als=from_vector(message.als, ALS_DIM, f"{field}.als"),
        als_origin=enum_value(AlsOrigin, types_pb2.AlsOrigin, message.als_origin),
        review_count=message.review_count,
        age_s=seconds(message.age) if message.HasField("age") else None,
        seen_product_ids=tuple(message.seen_product_ids),
        space=embedding_space(message.space),
        release_id=release_id,
    )
