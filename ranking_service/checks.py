"""Checks of requests: pure functions that raise InvalidArgument naming every field that breaks a rule, and its bound."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import id_problem
from twotower.v1 import ranking_service_pb2, release_service_pb2

MAX_USERS: Final = 1_024
MAX_PRODUCTS: Final = 1_024
MAX_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 100
_RELEASE_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def recommend(request: ranking_service_pb2.RecommendRequest, product_count: int) -> None:
    """One user, and k within the catalogue."""
    _require([*_id("user_id", request.user_id), *_k(request.k, product_count)])


def batch_recommend(request: ranking_service_pb2.BatchRecommendRequest, product_count: int) -> None:
    """1 to 1,024 users, and k within the catalogue."""
    _require([*_ids("user_ids", request.user_ids, MAX_USERS), *_k(request.k, product_count)])


def predict_ratings(request: ranking_service_pb2.PredictRatingsRequest) -> None:
    """One user and 1 to 1,024 products."""
    _require([*_id("user_id", request.user_id), *_ids("product_ids", request.product_ids, MAX_PRODUCTS)])


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
    release_id(request.release_id)


def release_id(value: str) -> None:
    """A name that can't lead out of the folder of releases."""
    if not _RELEASE_ID.fullmatch(value):
        raise InvalidArgument([FieldViolation("release_id", f"must be 1 to 128 letters, digits, '.', '_' or '-', got {value[:140]!r}")])


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
    return [FieldViolation(f"{field}[{index}]", problem) for index, value in enumerate(values) if (problem := id_problem(value))]


def _k(k: int, product_count: int) -> list[FieldViolation]:
    return [] if 1 <= k <= product_count else [FieldViolation("k", f"must be 1 to {product_count}, the size of the catalogue, got {k}")]
