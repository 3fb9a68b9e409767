"""From the API's messages to results: a pure function per answer."""

from clients.decoding.fields import enum_value
from clients.decoding.ranking import (
    added_product_page,
    batch_recommendations,
    predictions,
    product_details,
    product_page,
    recommendations,
    removed_products,
    similar_products,
    timing,
    upserted_products,
    user_context,
    withdrawn_products,
)
from clients.decoding.releases import answered_release, loaded_space, loaded_spaces, release_info, releases
from clients.decoding.users import (
    batch_user_features,
    deleted_user,
    popularity,
    recorded_review,
    recorded_reviews,
    retracted_review,
    text_embeddings,
    user_features,
    user_page,
)

__all__ = [
    "added_product_page",
    "answered_release",
    "batch_recommendations",
    "batch_user_features",
    "deleted_user",
    "enum_value",
    "loaded_space",
    "loaded_spaces",
    "popularity",
    "predictions",
    "product_details",
    "product_page",
    "recommendations",
    "recorded_review",
    "recorded_reviews",
    "release_info",
    "releases",
    "removed_products",
    "retracted_review",
    "similar_products",
    "text_embeddings",
    "timing",
    "upserted_products",
    "user_context",
    "user_features",
    "user_page",
    "withdrawn_products",
]
