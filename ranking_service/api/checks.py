"""Checks of requests: pure functions that raise InvalidArgument naming every field that breaks a rule, and its
bound.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf import duration_pb2

from ranking_service.release.registry import require_release_id
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import MAX_RATING, MIN_RATING, id_problem
from twotower.v1 import ranking_service_pb2, release_service_pb2, types_pb2

MAX_USERS: Final = 1_024
MAX_PRODUCTS: Final = 1_024
MAX_UPSERTS: Final = 256
MAX_TEXT_BYTES: Final = 16 * 2**10
MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100


def recommend(request: ranking_service_pb2.RecommendRequest, product_count: int) -> None:
    """One user, k within the catalogue, and what may be asked beyond it."""
    _require([*_id("user_id", request.user_id), *_k(request.k, product_count), *_choice(request)])


def batch_recommend(request: ranking_service_pb2.BatchRecommendRequest, product_count: int) -> None:
    """1 to 1,024 users, k within the catalogue, and what may be asked beyond it."""
    _require([*_ids("user_ids", request.user_ids, MAX_USERS), *_k(request.k, product_count), *_choice(request)])


def predict_ratings(request: ranking_service_pb2.PredictRatingsRequest) -> None:
    """One user and 1 to 1,024 products."""
    violations = [*_id("user_id", request.user_id), *_ids("product_ids", request.product_ids, MAX_PRODUCTS)]
    _require([*violations, *_duration("max_staleness", request.max_staleness)])


def similar_products(request: ranking_service_pb2.SimilarProductsRequest, product_count: int) -> None:
    """One product, and k within the catalogue."""
    _require([*_id("product_id", request.product_id), *_k(request.k, product_count)])


def get_product(request: ranking_service_pb2.GetProductRequest) -> None:
    """One product."""
    _require(_id("product_id", request.product_id))


def list_products(request: ranking_service_pb2.ListProductsRequest) -> int:
    """A page size; returns the one to use."""
    if request.page_size > MAX_PAGE:
        raise InvalidArgument([FieldViolation("page_size", f"must be at most {MAX_PAGE}, got {request.page_size}")])
    return request.page_size or DEFAULT_PAGE


def load_release(request: release_service_pb2.LoadReleaseRequest) -> None:
    """A release id."""
    require_release_id(request.release_id)


def upsert_products(request: ranking_service_pb2.UpsertProductsRequest) -> None:
    """1 to 256 products, each once and with a name, no text above 16 KiB."""
    products = request.products
    if not 1 <= len(products) <= MAX_UPSERTS:
        raise InvalidArgument([FieldViolation("products", f"must be 1 to {MAX_UPSERTS}, got {len(products)}")])
    _require(
        violation for index, product in enumerate(products) for violation in _product(f"products[{index}]", product)
    )
    seen: set[str] = set()
    for index, product in enumerate(products):
        if product.product_id in seen:
            raise InvalidArgument(
                [FieldViolation(f"products[{index}].product_id", f"{product.product_id!r} is there twice")]
            )
        seen.add(product.product_id)


def set_label(request: release_service_pb2.SetLabelRequest) -> None:
    """A release, a label that exists, and a share if it is for the canary."""
    require_release_id(request.release_id)
    if request.label not in release_service_pb2.ReleaseLabel.values():
        raise InvalidArgument([FieldViolation("label", f"must be one of the labels, got {request.label}")])
    canary = request.label == release_service_pb2.RELEASE_LABEL_CANARY
    if canary and not 0 < request.canary_share <= 1:
        raise InvalidArgument(
            [FieldViolation("canary_share", f"must be above 0 and at most 1, got {request.canary_share:g}")]
        )
    if not canary and request.canary_share:
        raise InvalidArgument([FieldViolation("canary_share", "must be unset for other labels than canary")])


def _product(field: str, product: types_pb2.Product) -> list[FieldViolation]:
    violations = _id(f"{field}.product_id", product.product_id)
    if not product.name.strip():
        violations.append(FieldViolation(f"{field}.name", "must not be empty"))
    for name in ("name", "brand", "categories", "manufacturer"):
        size = len(getattr(product, name).encode())
        if size > MAX_TEXT_BYTES:
            violations.append(
                FieldViolation(f"{field}.{name}", f"must be at most {MAX_TEXT_BYTES} bytes of UTF-8, got {size}")
            )
    return violations


def _choice(
    request: ranking_service_pb2.RecommendRequest | ranking_service_pb2.BatchRecommendRequest,
) -> list[FieldViolation]:
    """The rules of filters, diversity and staleness."""
    violations = _duration("max_staleness", request.max_staleness)
    if not 0 <= request.diversity_strength <= 1:  # also for NaN
        violations.append(FieldViolation("diversity_strength", f"must be 0 to 1, got {request.diversity_strength:g}"))
    chosen = request.filter
    for name, limit in (
        ("allowed_product_ids", MAX_PRODUCTS),
        ("denied_product_ids", MAX_PRODUCTS),
        ("categories", 64),
        ("brands", 64),
    ):
        if len(getattr(chosen, name)) > limit:
            violations.append(
                FieldViolation(f"filter.{name}", f"must be at most {limit}, got {len(getattr(chosen, name))}")
            )
    if not MIN_RATING <= chosen.min_predicted_rating <= MAX_RATING:
        problem = f"must be {MIN_RATING:g} to {MAX_RATING:g}, got {chosen.min_predicted_rating:g}"
        violations.append(FieldViolation("filter.min_predicted_rating", problem))
    return violations


def _duration(field: str, value: duration_pb2.Duration) -> list[FieldViolation]:
    return [FieldViolation(field, "must not be negative")] if value.seconds < 0 or value.nanos < 0 else []


def _require(violations: Iterable[FieldViolation]) -> None:
    found = list(violations)
    if found:
        raise InvalidArgument(found)


def _id(field: str, value: str) -> list[FieldViolation]:
    problem = id_problem(value)
    return [FieldViolation(field, problem)] if problem else []


def _ids(field: str, values: Sequence[str], limit: int) -> list[FieldViolation]:
    if not 1 <= len(values) <= limit:
        return [FieldViolation(field, f"must be 1 to {limit}, got {len(values)}")]
    return [
        FieldViolation(f"{field}[{index}]", problem)
        for index, value in enumerate(values)
        if (problem := id_problem(value))
    ]


def _k(k: int, product_count: int) -> list[FieldViolation]:
    return (
        []
        if 1 <= k <= product_count
        else [FieldViolation("k", f"must be 1 to {product_count}, the size of the catalogue, got {k}")]
    )
