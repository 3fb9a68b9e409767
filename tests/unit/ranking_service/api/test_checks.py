"""Every bound of the ranking API, from both sides."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import duration_pb2

from ranking_service.api import checks
from twotower.errors import InvalidArgument
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2

CATALOGUE = 10


def recommend(**fields: Any) -> Callable[[], None]:
    return lambda: checks.check_recommend(pb.RecommendRequest(**{"user_id": "u", "k": 3, **fields}), CATALOGUE)


def batch(**fields: Any) -> Callable[[], None]:
    return lambda: checks.check_batch_recommend(
        pb.BatchRecommendRequest(**{"user_ids": ["u"], "k": 3, **fields}), CATALOGUE, longest_id_bytes=13
    )


def predict(**fields: Any) -> Callable[[], None]:
    return lambda: checks.check_predict_ratings(
        pb.PredictRatingsRequest(**{"user_id": "u", "product_ids": ["p"], **fields})
    )


def similar(**fields: Any) -> Callable[[], None]:
    return lambda: checks.check_similar_products(
        pb.SimilarProductsRequest(**{"product_id": "p", "k": 1, **fields}), CATALOGUE
    )


def load(release_id: str) -> Callable[[], None]:
    return lambda: checks.check_load_release(release_service_pb2.LoadReleaseRequest(release_id=release_id))


@pytest.mark.parametrize(
    ("check", "fields"),
    [
        (recommend(k=0), ["k"]),
        (recommend(k=CATALOGUE + 1), ["k"]),
        (recommend(k=2**32 - 1), ["k"]),
        (recommend(user_id=""), ["user_id"]),
        (recommend(user_id="é" * 129), ["user_id"]),
        (recommend(user_id="a\0b"), ["user_id"]),
        (recommend(user_id="", k=0), ["user_id", "k"]),
        (batch(user_ids=[]), ["user_ids"]),
        (batch(user_ids=["u"] * 1025), ["user_ids"]),
        (batch(user_ids=["u", "", "v", "x" * 257]), ["user_ids[1]", "user_ids[3]"]),
        (batch(k=0), ["k"]),
        (recommend(max_staleness=duration_pb2.Duration(seconds=315_576_000_001)), ["max_staleness"]),
        (recommend(max_staleness=duration_pb2.Duration(seconds=2**62)), ["max_staleness"]),
        (predict(user_id=""), ["user_id"]),
        (predict(product_ids=[]), ["product_ids"]),
        (predict(product_ids=["p"] * 1025), ["product_ids"]),
        (predict(product_ids=["p", ""]), ["product_ids[1]"]),
        (similar(product_id=""), ["product_id"]),
        (similar(k=0), ["k"]),
        (similar(k=CATALOGUE + 1), ["k"]),
        (lambda: checks.check_get_product(pb.GetProductRequest()), ["product_id"]),
        (lambda: checks.check_list_products(pb.ListProductsRequest(page_size=1001)), ["page_size"]),
        (load(""), ["release_id"]),
        (load("../other"), ["release_id"]),
        (load("a/b"), ["release_id"]),
        (load(".writing-1"), ["release_id"]),
        (load("x" * 129), ["release_id"]),
    ],
)
def test_names_the_field(check: Callable[[], object], fields: list[str]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check()
    assert [violation.field for violation in refused.value.violations] == fields
    assert all(violation.description for violation in refused.value.violations)


@pytest.mark.parametrize(
    "check",
    [
        recommend(k=1),
        recommend(k=CATALOGUE),
        recommend(user_id="x" * 256),
        recommend(max_staleness=duration_pb2.Duration(seconds=86_400)),
        recommend(max_staleness=duration_pb2.Duration(seconds=315_576_000_000)),
        recommend(user_id="名前 {with} braces"),
        batch(user_ids=["u"] * 1024),
        predict(product_ids=["p"] * 1024),
        similar(k=CATALOGUE),
        load("v5_power-0123456789ab"),
    ],
)
def test_accepts_the_bound_itself(check: Callable[[], None]) -> None:
    check()


def test_page_sizes() -> None:
    requests = [pb.ListProductsRequest(page_size=size) for size in (0, 1, 1000)]
    assert [checks.check_list_products(request) for request in requests] == [100, 1, 1000]


def test_the_work_of_a_diverse_batch_is_bounded_and_its_bound_is_named() -> None:
    def check(users: int) -> None:
        request = pb.BatchRecommendRequest(user_ids=["u"] * users, k=900, diversity_strength=0.5)
        checks.check_batch_recommend(request, product_count=1_000_000, longest_id_bytes=2)

    with pytest.raises(InvalidArgument, match=r"user_ids: must be at most \d+ users") as refused:
        check(300)
    most = int(str(refused.value).split("at most ")[1].split()[0])
    check(most)
    with pytest.raises(InvalidArgument, match="user_ids"):
        check(most + 1)


@pytest.mark.parametrize(
    "rules",
    [
        {"max_per_brand": 1},
        {"filter": pb.ProductFilter()},
        {"filter": pb.ProductFilter(brands=["Acme"])},
        {"diversity_strength": 0.5, "k": 14},
    ],
)
def test_a_whole_batch_may_have_rules_however_large_the_catalogue(rules: dict[str, Any]) -> None:
    request = pb.BatchRecommendRequest(**{"user_ids": ["u"] * 1024, "k": 182, **rules})
    checks.check_batch_recommend(request, product_count=1_000_000, longest_id_bytes=10)


def test_k_is_bounded_however_large_the_catalogue() -> None:
    checks.check_recommend(pb.RecommendRequest(user_id="u", k=10_000), 1_000_000)
    with pytest.raises(InvalidArgument, match="k: must be 1 to 10000, got 10001"):
        checks.check_recommend(pb.RecommendRequest(user_id="u", k=10_001), 1_000_000)
