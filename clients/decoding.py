"""From protobuf answers to results: pure functions, one an answer."""

from collections.abc import Iterable
from datetime import UTC
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from clients.results import (
    AlsOrigin,
    BatchRecommendations,
    EmbeddingSpace,
    Product,
    ProductDetails,
    ProductPage,
    RankedProducts,
    Recommendation,
    Recommendations,
    RecordedReview,
    RecordOutcome,
    ReleaseInfo,
    ReleaseLabel,
    TextEmbeddings,
    Timing,
    UserContext,
    UserFeatures,
    UserKind,
)
from twotower.features import ALS_DIM, BERT_DIM
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2, types_pb2
from twotower.wire import from_vector

E = TypeVar("E", bound=StrEnum)


def enum_value(kind: type[E], wrapper: Any, number: int) -> E:
    """An enum number as a word: ``USER_KIND_WARM`` is ``UserKind.WARM``; a number that this client does not know is UNSPECIFIED."""
    names: dict[int, str] = {value: name for name, value in wrapper.items()}
    prefix = wrapper.Name(0).removesuffix("UNSPECIFIED")
    word = names.get(number, "").removeprefix(prefix).lower()
    return kind(word if word in set(kind) else "unspecified")


def user_context(message: ranking_service_pb2.UserContext) -> UserContext:
    """What an answer was computed from."""
    return UserContext(
        kind=enum_value(UserKind, types_pb2.UserKind, message.kind),
        review_count=message.review_count,
        als_origin=enum_value(AlsOrigin, types_pb2.AlsOrigin, message.als_origin),
        feature_age_s=message.feature_age.ToNanoseconds() / 1e9 if message.HasField("feature_age") else None,
        degraded=message.degraded,
    )


def timing(message: ranking_service_pb2.Timing) -> Timing:
    """Where the server's time went."""
    return Timing(
        queue_ms=message.queue.ToNanoseconds() / 1e6,
        feature_lookup_ms=message.feature_lookup.ToNanoseconds() / 1e6,
        compute_ms=message.compute.ToNanoseconds() / 1e6,
    )


def recommendations(message: ranking_service_pb2.RecommendResponse) -> Recommendations:
    """The best k of one user."""
    return Recommendations(message.release_id, _scored(message.recommendations), user_context(message.user), timing(message.timing))


def predictions(message: ranking_service_pb2.PredictRatingsResponse) -> Recommendations:
    """Given products for one user."""
    return Recommendations(message.release_id, _scored(message.predictions), user_context(message.user), timing(message.timing))


def batch_recommendations(message: ranking_service_pb2.BatchRecommendResponse) -> BatchRecommendations:
    """The best k of many users.

    Raises:
        InvalidArgument: a column that is not as long as its product ids.
    """
    results = []
    for index, row in enumerate(message.results):
        count, field = len(row.product_ids), f"results[{index}]"
        results.append(
            RankedProducts(
                product_ids=tuple(row.product_ids),
                scores=from_vector(row.scores, count, f"{field}.scores"),
                predicted_ratings=from_vector(row.predicted_ratings, count, f"{field}.predicted_ratings"),
                user=user_context(row.user),
            )
        )
    return BatchRecommendations(message.release_id, tuple(results), timing(message.timing))


def product(message: types_pb2.Product) -> Product:
    """One product of the catalogue."""
    return Product(
        product_id=message.product_id,
        name=message.name,
        brand=message.brand,
        categories=message.categories,
        manufacturer=message.manufacturer,
        review_count=message.review_count,
        mean_rating=message.mean_rating,
    )


def product_details(message: ranking_service_pb2.GetProductResponse) -> ProductDetails:
    """One product and its release."""
    return ProductDetails(message.release_id, product(message.product))


def product_page(message: ranking_service_pb2.ListProductsResponse) -> ProductPage:
    """A page of the catalogue."""
    return ProductPage(message.release_id, tuple(map(product, message.products)), message.next_page_token, message.total_count)


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


def user_features(message: embedding_service_pb2.GetUserFeaturesResponse) -> UserFeatures:
    """A user's features.

    Raises:
        InvalidArgument: a vector of another dimension.
    """
    features = message.features
    return UserFeatures(
        user_id=features.user_id,
        kind=enum_value(UserKind, types_pb2.UserKind, features.kind),
        bert_mean=from_vector(features.bert_mean, BERT_DIM, "features.bert_mean"),
        als=from_vector(features.als, ALS_DIM, "features.als"),
        als_origin=enum_value(AlsOrigin, types_pb2.AlsOrigin, features.als_origin),
        review_count=features.review_count,
        age_s=features.age.ToNanoseconds() / 1e9 if features.HasField("age") else None,
        seen_product_ids=tuple(features.seen_product_ids),
        space=_space(features.space),
        release_id=message.release_id,
    )


def text_embeddings(message: embedding_service_pb2.EncodeTextsResponse) -> TextEmbeddings:
    """Embedded texts.

    Raises:
        InvalidArgument: a vector of another dimension.
    """
    rows = [from_vector(e.embedding, BERT_DIM, f"embeddings[{i}]") for i, e in enumerate(message.embeddings)]
    return TextEmbeddings(
        vectors=np.array(rows, np.float32).reshape(-1, BERT_DIM),
        truncated=tuple(e.truncated for e in message.embeddings),
        token_counts=tuple(e.token_count for e in message.embeddings),
        encoder_id=message.encoder_id,
    )


def release_info(message: release_service_pb2.ReleaseInfo) -> ReleaseInfo:
    """One release."""
    return ReleaseInfo(
        release_id=message.release_id,
        preset=message.preset,
        create_time=message.create_time.ToDatetime(UTC),
        product_count=message.product_count,
        space=_space(message.space),
        label=enum_value(ReleaseLabel, release_service_pb2.ReleaseLabel, message.label),
    )


def releases(message: release_service_pb2.ListReleasesResponse) -> tuple[ReleaseInfo, ...]:
    """The releases, newest first."""
    return tuple(map(release_info, message.releases))


def _scored(messages: Iterable[ranking_service_pb2.Recommendation]) -> tuple[Recommendation, ...]:
    return tuple(Recommendation(m.product_id, m.name, m.brand, m.score, m.predicted_rating) for m in messages)


def _space(message: types_pb2.EmbeddingSpace) -> EmbeddingSpace:
    return EmbeddingSpace(message.encoder_id, message.als_id)
