"""Every argument of every call: a value of another type is refused as InvalidArgument, which names it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from clients import Product, ProductFilter, ReleaseLabel, Review, calls
from clients.errors import InvalidArgument
from clients.results import EmbeddingSpace

REVIEW = Review("u", "p", 5, review_id="r1")
WEST = timezone(-timedelta(hours=5))
NOT_A_TEXT = [None, 17, 1.5, b"user", True, ["user"]]
NOT_A_NUMBER = [None, "5", b"5", True, [5], 1j]
TEXT_ARGUMENTS: list[tuple[Callable[[Any], object], str]] = [
    (lambda bad: calls.recommend(bad, 1), "user_id"),
    (lambda bad: calls.recommend("u", 1, page_token=bad), "page_token"),
    (lambda bad: calls.batch_recommend([bad], 1), "user_ids[0]"),
    (lambda bad: calls.recommend("u", 1, filter=ProductFilter(brands=["b", bad])), "filter.brands[1]"),
    (
        lambda bad: calls.recommend("u", 1, filter=ProductFilter(denied_product_ids=[bad])),
        "filter.denied_product_ids[0]",
    ),
    (lambda bad: calls.predict_ratings(bad, ["p"]), "user_id"),
    (lambda bad: calls.predict_ratings("u", [bad]), "product_ids[0]"),
    (lambda bad: calls.similar_products(bad, 1), "product_id"),
    (calls.get_product, "product_id"),
    (lambda bad: calls.list_products(1, bad), "page_token"),
    (lambda bad: calls.upsert_products([Product(bad, "n")]), "products[0].product_id"),
    (lambda bad: calls.upsert_products([Product("p", bad)]), "products[0].name"),
    (lambda bad: calls.upsert_products([Product("p", "n", categories=bad)]), "products[0].categories"),
    (calls.load_release, "release_id"),
    (calls.prepare_release, "release_id"),
    (calls.activate_release, "release_id"),
    (lambda bad: calls.prepare_space(bad, EmbeddingSpace("e", "a")), "release_id"),
    (lambda bad: calls.prepare_space("r", EmbeddingSpace("e", bad)), "space.als_id"),
    (lambda bad: calls.list_added_products(1, bad), "page_token"),
    (lambda bad: calls.remove_added_products([bad]), "product_ids[0]"),
    (lambda bad: calls.withdraw_products([bad], restore=False), "product_ids[0]"),
    (lambda bad: calls.set_label(bad, ReleaseLabel.STABLE), "release_id"),
    (calls.get_user_features, "user_id"),
    (lambda bad: calls.get_user_features("u", EmbeddingSpace(bad, "a")), "space.encoder_id"),
    (lambda bad: calls.batch_get_user_features([bad]), "user_ids[0]"),
    (calls.delete_user, "user_id"),
    (calls.export_user, "user_id"),
    (lambda bad: calls.export_user("u", bad), "page_token"),
    (lambda bad: calls.retract_review(bad, "r"), "user_id"),
    (lambda bad: calls.retract_review("u", bad), "review_id"),
    (lambda bad: calls.encode_texts([bad]), "texts[0]"),
    (calls.get_popularity, "als_id"),
    *(
        (lambda bad, name=name: calls.record_review(replace(REVIEW, **{name: bad})), f"review.{name}")
        for name in ("user_id", "product_id", "title", "text", "review_id")
    ),
]
OTHER_ARGUMENTS: list[tuple[Callable[[Any], object], list[Any], str]] = [
    (lambda bad: calls.recommend("u", bad), [None, "5", 1.0, True], "k"),
    (lambda bad: calls.batch_recommend(["u"], bad), [None, "5", 1.0], "k"),
    (lambda bad: calls.similar_products("p", bad), [None, "5"], "k"),
    (lambda bad: calls.list_products(bad, ""), [None, "5"], "page_size"),
    (lambda bad: calls.list_added_products(bad, ""), [None, "5"], "page_size"),
    (calls.remove_added_products, [None, 17, "p"], "product_ids"),
    (lambda bad: calls.withdraw_products(bad, restore=True), [None, 17, "p"], "product_ids"),
    (lambda bad: calls.prepare_space("r", bad), ["e", ("e", "a")], "space"),
    (lambda bad: calls.recommend("u", 1, max_per_brand=bad), [None, "5", 1.0], "max_per_brand"),
    (lambda bad: calls.recommend("u", 1, diversity_strength=bad), NOT_A_NUMBER, "diversity_strength"),
    (lambda bad: calls.recommend("u", 1, max_staleness_s=bad), ["5", timedelta(1)], "max_staleness"),
    (lambda bad: calls.recommend("u", 1, include_seen=bad), [None, "yes", 1], "include_seen"),
    (lambda bad: calls.recommend("u", 1, explain=bad), [None, "yes", 1], "explain"),
    (lambda bad: calls.recommend("u", 1, paginate=bad), [None, "yes", 1], "paginate"),
    (lambda bad: calls.recommend("u", 1, filter=bad), ["Acme", {"brands": ["Acme"]}], "filter"),
    (
        lambda bad: calls.recommend("u", 1, filter=ProductFilter(min_predicted_rating=bad)),
        NOT_A_NUMBER,
        "filter.min_predicted_rating",
    ),
    (lambda bad: calls.recommend("u", 1, filter=ProductFilter(brands=bad)), [17], "filter.brands"),
    (lambda bad: calls.batch_recommend(bad, 1), [None, 17], "user_ids"),
    (lambda bad: calls.predict_ratings("u", bad), [None, 17, "p"], "product_ids"),
    (calls.upsert_products, [None, "p", Product("p", "n")], "products"),
    (lambda bad: calls.upsert_products([bad]), [None, "p", {"product_id": "p"}], "products[0]"),
    (calls.record_review, [None, "r"], "review"),
    (calls.batch_record_reviews, [None, "r", REVIEW], "reviews"),
    (lambda bad: calls.batch_record_reviews([REVIEW, bad]), [None, {"user_id": "u"}], "reviews[1]"),
    (lambda bad: calls.record_review(replace(REVIEW, rating=bad)), [*NOT_A_NUMBER, 10**400], "review.rating"),
    (
        lambda bad: calls.record_review(replace(REVIEW, review_time=bad)),
        ["2026-01-01", 1767225600, date(2026, 1, 1), datetime(2026, 1, 1), datetime.max.replace(tzinfo=WEST)],
        "review.review_time",
    ),
    (calls.batch_get_user_features, [None, 17], "user_ids"),
    (lambda bad: calls.get_user_features("u", bad), ["e", ("e", "a")], "space"),
    (calls.encode_texts, [None, 17, "text"], "texts"),
    (lambda bad: calls.set_label("r", bad), [None, "stable", 1], "label"),
    (lambda bad: calls.set_label("r", ReleaseLabel.CANARY, bad), NOT_A_NUMBER, "canary_share"),
    (lambda bad: calls.Deadlines(lookup_s=bad), [*NOT_A_NUMBER, -1, float("nan"), float("inf")], "deadlines.lookup_s"),
]


def refused(build: Callable[[Any], object], bad: object) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        build(bad)
    return [violation.field for violation in caught.value.violations]


@pytest.mark.parametrize(("build", "field"), TEXT_ARGUMENTS)
def test_an_id_or_text_of_another_type_is_refused_by_name(build: Callable[[Any], object], field: str) -> None:
    for bad in NOT_A_TEXT:
        assert refused(build, bad) == [field]


@pytest.mark.parametrize(("build", "values", "field"), OTHER_ARGUMENTS)
def test_any_argument_of_another_type_is_refused_by_name(
    build: Callable[[Any], object], values: list[Any], field: str
) -> None:
    for bad in values:
        assert refused(build, bad) == [field]


def test_the_refusal_says_what_was_given() -> None:
    with pytest.raises(InvalidArgument, match=r"user_id: must be a text, got 17 \(int\)"):
        calls.recommend(17, 1)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"user_id: must be a text, got None$"):
        calls.recommend(None, 1)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    request = calls.recommend(np.str_("u"), np.int64(3), diversity_strength=np.float32(0.5)).request  # type: ignore[arg-type]
    assert (request.user_id, request.k, request.diversity_strength) == ("u", 3, 0.5)
    assert calls.record_review(replace(REVIEW, rating=np.float64(4.5))).request.review.rating == 4.5
