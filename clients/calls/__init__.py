"""The calls of the API as values: the request, its method and deadline, and how the answer is read.

Both clients send these, so a call is written down once. Building one checks only what protobuf could not carry or could
not tell apart: a number out of range, text that is not UTF-8, an empty list of which "only these" would mean "all".
Every other rule is the server's.
"""

from clients.calls.embedding import (
    Review,
    activate_release,
    batch_get_user_features,
    batch_record_reviews,
    delete_user,
    encode_texts,
    export_user,
    get_popularity,
    get_user_features,
    list_spaces,
    new_review_id,
    prepare_space,
    record_review,
    retract_review,
)
from clients.calls.methods import (
    EMBEDDING_SERVICE,
    METHODS,
    RANKING_SERVICE,
    RELEASE_SERVICE,
    SERVICES,
    Call,
    Deadlines,
    Method,
)
from clients.calls.options import BatchOptions, ProductFilter, RecommendOptions
from clients.calls.ranking import (
    batch_recommend,
    get_product,
    list_added_products,
    list_products,
    predict_ratings,
    recommend,
    remove_added_products,
    similar_products,
    upsert_products,
    withdraw_products,
)
from clients.calls.releases import list_releases, load_release, prepare_release, rollback, set_label

__all__ = [
    "EMBEDDING_SERVICE",
    "METHODS",
    "RANKING_SERVICE",
    "RELEASE_SERVICE",
    "SERVICES",
    "BatchOptions",
    "Call",
    "Deadlines",
    "Method",
    "ProductFilter",
    "RecommendOptions",
    "Review",
    "activate_release",
    "batch_get_user_features",
    "batch_recommend",
    "batch_record_reviews",
    "delete_user",
    "encode_texts",
    "export_user",
    "get_popularity",
    "get_product",
    "get_user_features",
    "list_added_products",
    "list_products",
    "list_releases",
    "list_spaces",
    "load_release",
    "new_review_id",
    "predict_ratings",
    "prepare_release",
    "prepare_space",
    "recommend",
    "record_review",
    "remove_added_products",
    "retract_review",
    "rollback",
    "set_label",
    "similar_products",
    "upsert_products",
    "withdraw_products",
]
