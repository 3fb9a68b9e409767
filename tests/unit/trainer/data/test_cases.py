"""Files of the shapes that people bring, in the folder ``$TWOTOWER_CASES``; skipped where there is none."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trainer.data.cleaning import CleaningOptions
from trainer.data.raw import SourceOptions
from trainer.data.reviews import read_reviews
from twotower.errors import InvalidFile
from twotower.features import split_categories

CASES = Path(os.environ.get("TWOTOWER_CASES", ""))
pytestmark = pytest.mark.skipif(not os.environ.get("TWOTOWER_CASES"), reason="TWOTOWER_CASES is not set")
FIRST = datetime(2017, 1, 3, 8, 30, tzinfo=UTC)
COLUMNS = {"product": "1", "user": "2", "rating": "3", "date": "4"}


def read(name: str, **source: Any) -> Any:
    return read_reviews(CASES / name, CleaningOptions(), SourceOptions(**source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("epoch_ms.csv", {}),
        ("array_2023.json", {}),
        ("pretty_2018.json", {}),
        ("typed.inter", {}),
        ("headerless.csv", {"no_header": True, "columns": COLUMNS}),
        ("headerless.csv", {"header": ["item", "user", "rating", "timestamp"]}),
        ("cr_only.csv", {}),
        ("semicolon_bom.csv", {}),
        ("semicolon_cp1252.csv", {}),
        ("reviews_2014.jsonl", {}),
        ("reviews_for_meta.jsonl", {}),
    ],
)
def test_read_whole_and_dated(name: str, source: dict[str, Any]) -> None:
    reviews, report = read(name, **source)
    assert (len(reviews), len(reviews.user_ids), len(reviews.products)) == (240, 24, 12)
    assert reviews.dated.all()
    assert reviews.period()[0] == FIRST
    assert report.rows_read == report.rows_kept == 240


def test_what_was_guessed_or_left_out_is_said() -> None:
    assert "300 empty rows are left out" in read("cr_only.csv")[1].notes
    assert {product.brand for product in read("semicolon_bom.csv")[0].products} == {"Café"}
    reviews, report = read("semicolon_cp1252.csv")
    assert {product.brand for product in reviews.products} == {"Café"}
    assert any("Windows-1252, which is a guess" in note for note in report.notes)
    assert any("no row has a date" in note for note in read("no_dates.csv")[1].notes)
    with pytest.raises(InvalidFile, match="the first line looks like data"):
        read("headerless.csv")


def test_ratings_of_another_scale() -> None:
    with pytest.raises(InvalidFile, match=r"reach from 0 to 10.*--rating-scale.*--zero-is-unrated"):
        read("zero_to_ten.csv")
    reviews, _ = read("zero_to_ten.csv", rating_scale=(0, 10))
    assert (len(reviews), float(reviews.rating.max())) == (240, 5.0)
    rated, report = read("zero_to_ten.csv", rating_scale=(1, 10), zero_is_unrated=True)
    assert 0 < len(rated) < 240
    assert float(rated.rating.min()) >= 1.0
    assert report.rows_read == len(rated)


def test_odd_dates_are_undated_and_unpadded_ones_dated() -> None:
    reviews, report = read("odd_dates.csv")
    assert int((~reviews.dated).sum()) == 3
    assert any("today" in str(problem) for problem in report.problems)
    unpadded = read("unpadded_dates.csv")[0]
    assert unpadded.dated.all()
    assert unpadded.period()[0] == datetime(2017, 1, 3, tzinfo=UTC)


def test_metadata() -> None:
    products = {
        item.product_id: item
        for item in read("reviews_for_meta.jsonl", metadata=[CASES / "meta_odd.jsonl"])[0].products
    }
    assert products["P000"].name == 'Tom & Anna\'s "Classic" kettle'
    assert products["P000"].brand == "Able & Sons"
    assert split_categories(products["P000"].categories) == ["Home", "Clothing, Shoes & Jewelry", "Socks"]
    assert (products["P001"].name, products["P002"].categories, products["P003"].name) == ("P001", "Home", "Radio")
    literals = read("reviews_2014.jsonl", metadata=[CASES / "meta_2014_literals.json"])[0].products
    assert {item.name for item in literals} >= {'Say "hi"', "Girl's P001"}


def test_odd_types() -> None:
    reviews, _ = read("odd_types.parquet")
    assert len(reviews) == 239
    assert {product.product_id for product in reviews.products} == {str(number) for number in range(100, 112)}
    assert all(name.startswith("reader") for name in reviews.user_ids)
    assert split_categories(reviews.products[0].categories) == ["Home", "Clothing, Shoes & Jewelry"]
