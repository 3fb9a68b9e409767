"""Answers of the ranking service."""

from collections.abc import Iterable

from clients.decoding.fields import enum_value, milliseconds, seconds
from clients.results import (
    AddedProduct,
    AddedProductPage,
    AlsOrigin,
    BatchRecommendations,
    Explanation,
    PopularitySource,
    Product,
    ProductDetails,
    ProductPage,
    RankedProducts,
    Recommendation,
    Recommendations,
    RemovedProducts,
    SimilarProduct,
    SimilarProducts,
    Timing,
    UpsertedProducts,
    UserContext,
    UserKind,
    WithdrawnProducts,
)
from twotower.v1 import ranking_service_pb2, types_pb2
from twotower.wire import from_vector


def user_context(message: ranking_service_pb2.UserContext) -> UserContext:
    """What an answer was computed from."""
    return UserContext(
        kind=enum_value(UserKind, types_pb2.UserKind, message.kind),
        review_count=message.review_count,
        als_origin=enum_value(AlsOrigin, types_pb2.AlsOrigin, message.als_origin),
        feature_age_s=seconds(message.feature_age) if message.HasField("feature_age") else None,
        degraded=message.degraded,
        staleness_s=seconds(message.staleness) if message.HasField("staleness") else None,
    )


def timing(message: ranking_service_pb2.Timing) -> Timing:
    """Where the server's time went."""
    return Timing(
        queue_ms=milliseconds(message.queue),
        feature_lookup_ms=milliseconds(message.feature_lookup),
        compute_ms=milliseconds(message.compute),
    )


def recommendations(message: ranking_service_pb2.RecommendResponse) -> Recommendations:
    """The best k of one user."""
    return _recommendations(message, message.recommendations, message.next_page_token)


def predictions(message: ranking_service_pb2.PredictRatingsResponse) -> Recommendations:
    """Given products for one user."""
    return _recommendations(message, message.predictions)


def batch_recommendations(message: ranking_service_pb2.BatchRecommendResponse) -> BatchRecommendations:
    """The best k of many users.

    Raises:
        InvalidArgument: a column is not as long as its product ids.
    """
    return BatchRecommendations(
        release_id=message.release_id,
        results=tuple(
            _ranked(row, f"results[{index}]", message.release_id) for index, row in enumerate(message.results)
        ),
        timing=timing(message.timing),
        popularity_source=_popularity_source(message.popularity_source),
    )


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
    """One product, and the release whose catalogue has it."""
    return ProductDetails(message.release_id, product(message.product), message.withdrawn, message.added)


def product_page(message: ranking_service_pb2.ListProductsResponse) -> ProductPage:
    """A page of the catalogue."""
    return ProductPage(
        message.release_id,
        tuple(map(product, message.products)),
        message.next_page_token,
        message.total_count,
        tuple(message.withdrawn_product_ids),
    )


def similar_products(message: ranking_service_pb2.SimilarProductsResponse) -> SimilarProducts:
    """Neighbours of a product."""
    return SimilarProducts(
        message.release_id,
        tuple(SimilarProduct(product(similar.product), similar.similarity) for similar in message.products),
    )


def upserted_products(message: ranking_service_pb2.UpsertProductsResponse) -> UpsertedProducts:
    """What became of added products."""
    return UpsertedProducts(message.release_id, message.inserted_count, message.updated_count)


def added_product_page(message: ranking_service_pb2.ListAddedProductsResponse) -> AddedProductPage:
    """A page of the upserted products."""
    products = tuple(AddedProduct(product(row.product), row.release_id, row.served) for row in message.products)
    return AddedProductPage(message.release_id, products, message.next_page_token, message.total_count)


def removed_products(message: ranking_service_pb2.RemoveAddedProductsResponse) -> RemovedProducts:
    """What became of upserted products."""
    return RemovedProducts(message.release_id, message.removed_count)


def withdrawn_products(message: ranking_service_pb2.WithdrawProductsResponse) -> WithdrawnProducts:
    """What became of withdrawn products."""
    return WithdrawnProducts(message.release_id, message.changed_count, message.withdrawn_count)


def _ranked(row: ranking_service_pb2.RankedProducts, field: str, release_id: str) -> RankedProducts:
    count = len(row.product_ids)
    return RankedProducts(
        product_ids=tuple(row.product_ids),
        scores=from_vector(row.scores, count, f"{field}.scores"),
        predicted_ratings=from_vector(row.predicted_ratings, count, f"{field}.predicted_ratings"),
        user=user_context(row.user),
        release_id=row.release_id or release_id,
    )


def _recommendations(
    message: ranking_service_pb2.RecommendResponse | ranking_service_pb2.PredictRatingsResponse,
    products: Iterable[ranking_service_pb2.Recommendation],
    next_page_token: str = "",
) -> Recommendations:
    return Recommendations(
        release_id=message.release_id,
        products=tuple(map(_recommendation, products)),
        user=user_context(message.user),
        timing=timing(message.timing),
        popularity_source=_popularity_source(message.popularity_source),
        next_page_token=next_page_token,
    )


def _recommendation(message: ranking_service_pb2.Recommendation) -> Recommendation:
    return Recommendation(
        product_id=message.product_id,
        name=message.name,
        brand=message.brand,
        score=message.score,
        predicted_rating=message.predicted_rating,
        explanation=_explanation(message.explanation) if message.HasField("explanation") else None,
    )


def _explanation(message: ranking_service_pb2.Explanation) -> Explanation:
    return Explanation(
        score_without_als=message.score_without_als,
        score_without_bert=message.score_without_bert,
        score_without_popularity=message.score_without_popularity,
        nearest_reviewed_product_id=message.nearest_reviewed_product_id,
        nearest_reviewed_similarity=message.nearest_reviewed_similarity,
    )


def _popularity_source(number: int) -> PopularitySource:
    return enum_value(PopularitySource, ranking_service_pb2.PopularitySource, number)
