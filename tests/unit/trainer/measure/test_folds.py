"""The rows and the folds that quality is measured on."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.reviews import read
from trainer.measure.folds import evaluation_rows, rolling_folds
from twotower.errors import InvalidArgument


def test_repeats_and_undated_rows_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"reviews.username": "bob", "id": "P2", "reviews.date": "2017-01-01"},
        {"reviews.username": "ann", "id": "P1", "reviews.date": "2017-01-02", "reviews.text": "first"},
        {"reviews.username": "ann", "id": "P1", "reviews.date": "2017-01-03", "reviews.text": "again"},
        {"reviews.username": "cid", "id": "P3", "reviews.date": ""},
        {"reviews.username": "ann", "id": "P2", "reviews.date": "2017-01-04"},
    ]
    kept = evaluation_rows(read(tmp_path / "a.csv", rows, max_dropped=1.0))
    assert [kept.user_ids[user] for user in kept.user] == ["bob", "ann", "ann"]
    assert [kept.products[product].product_id for product in kept.product] == ["P2", "P1", "P2"]
    assert kept.texts[1] == "first"


def test_four_folds_are_the_last_tenths() -> None:
    folds = rolling_folds(1000, 4)
    assert [fold.training for fold in folds] == [600, 700, 800, 900]
    assert np.concatenate([fold.test for fold in folds]).tolist() == list(range(600, 1000))
    with pytest.raises(InvalidArgument, match="reviews: must be at least"):
        rolling_folds(30, 4)
