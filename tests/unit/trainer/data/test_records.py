"""Amazon dumps of all years, and what is said of bad ones."""

import gzip
import json
from pathlib import Path

import pytest

from tests.support.reviews import read_file
from trainer.data.cleaning import CleaningOptions
from trainer.data.raw import SourceOptions
from trainer.data.reviews import read_reviews
from twotower.errors import InvalidFile

DUMP_2014 = {
    "reviewerID": "A1",
    "asin": "B1",
    "reviewText": "Sings",
    "summary": "Good",
    "overall": 4.0,
    "unixReviewTime": 1400000000,
}
DUMP_2023 = {
    "user_id": "A1",
    "parent_asin": "B1",
    "asin": "B9",
    "text": "Sings",
    "title": "Good",
    "rating": 4.0,
    "timestamp": 1400000000000,
}
META_2014 = {"asin": "B1", "title": "Song", "brand": None, "categories": [["Music", "Pop"], ["Music", "Rock"]]}
META_2023 = {
    "parent_asin": "B1",
    "title": "Song",
    "store": "Label",
    "categories": ["Music"],
    "details": {"Manufacturer": "Press"},
}


def write_lines(path: Path, *rows: object) -> Path:
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("row", "meta", "expected"),
    [
        (DUMP_2014, META_2014, ("Song", "", "Music,Pop,Rock", "")),
        (DUMP_2023, META_2023, ("Song", "Label", "Music", "Press")),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_amazon_dumps_of_all_years(
    tmp_path: Path, row: object, meta: object, expected: tuple[str, ...], suffix: str
) -> None:
    reviews = read_file(
        write_lines(tmp_path / f"r{suffix}", row), metadata=[write_lines(tmp_path / f"m{suffix}", meta)]
    )
    assert (reviews.user_ids, reviews.rating.tolist(), reviews.titles, reviews.texts) == (  # type: ignore[comparison-overlap]
        ["A1"],
        [4.0],
        ["Good"],
        ["Sings"],
    )
    assert reviews.time_us.tolist() == [1_400_000_000_000_000]
    (product,) = reviews.products
    assert (product.product_id, product.name, product.brand, product.categories, product.manufacturer) == (
        "B1",
        *expected,
    )


def test_bad_amazon_lines_are_named_by_line_and_key(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", DUMP_2014, "{broken", {**DUMP_2014, "overall": 7})
    with pytest.raises(InvalidFile) as caught:
        read_reviews(path, CleaningOptions(strict=True), SourceOptions())
    assert "row 2: '{broken'" in str(caught.value)
    assert "overall: must be a number from 0 to 5, broken in 1 row (row 3: '7')" in str(caught.value)
    assert len(read_file(path)) == 1


def test_a_key_that_no_line_has_is_named(tmp_path: Path) -> None:
    row = {key: value for key, value in DUMP_2014.items() if key != "overall"}
    with pytest.raises(InvalidFile, match=r"reviews\.rating is missing.*--column reviews\.rating=COLUMN"):
        read_file(write_lines(tmp_path / "r.jsonl", row))


def test_a_broken_metadata_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"line: must be a JSON object, broken in 1 lines \(2\)"):
        read_file(
            write_lines(tmp_path / "r.jsonl", DUMP_2014), metadata=[write_lines(tmp_path / "m.jsonl", META_2014, "[]")]
        )
