"""Files whose columns have other names than the schema's."""

from pathlib import Path

import pytest

from tests.support.reviews import ROW, read_file, write_csv
from twotower.errors import InvalidFile


def test_columns_of_another_name_are_mapped(tmp_path: Path) -> None:
    columns = ["stars" if name == "reviews.rating" else name for name in ROW]
    path = write_csv(tmp_path / "r.csv", [{"stars": "3"}], columns)
    with pytest.raises(InvalidFile, match=r"reviews\.rating: column is missing"):
        read_file(path)
    assert read_file(path, columns={"reviews.rating": "stars"}).rating.tolist() == [3.0]
    with pytest.raises(InvalidFile, match="--column stars: must be one of id, "):
        read_file(path, columns={"stars": "reviews.rating"})
