"""Cleaned reviews: numbers of users and products, and the training period."""

from pathlib import Path

import pytest

from tests.support.reviews import ROW, read
from trainer.data.reviews import training_rows


def test_users_and_products_are_numbered_by_first_appearance_in_time(tmp_path: Path) -> None:
    rows = [
        {"reviews.username": "late", "id": "P9", "reviews.date": "2017-01-09", "name": "ignored"},
        {"reviews.username": "early", "id": "P5", "reviews.date": "2017-01-01"},
        {"reviews.username": "early", "id": "P9", "reviews.date": "2017-01-05", "name": "first seen"},
    ]
    reviews = read(tmp_path / "r.csv", rows)
    assert reviews.user_ids == ["early", "late"]
    assert [product.product_id for product in reviews.products] == ["P5", "P9"]
    assert reviews.products[1].name == "first seen"
    assert reviews.user.tolist() == [0, 0, 1]
    assert reviews.product.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 30), (0.1, 27), (0.34, 20), (0.999, 1)])
def test_the_training_period_is_the_first_rows(tmp_path: Path, fraction: float, expected: int) -> None:
    reviews = read(tmp_path / "r.csv", [ROW] * 30)
    assert training_rows(reviews, fraction) == expected
