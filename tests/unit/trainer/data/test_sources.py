"""Files whose columns have other names than the schema's."""

from pathlib import Path

import pytest

from tests.support.reviews import ROW, read_file, write_csv
from twotower.errors import InvalidFile


def test_columns_of_another_name_are_mapped(tmp_path: Path) -> None:
    columns = ["how_good" if name == "reviews.rating" else name for name in ROW]
    path = write_csv(tmp_path / "r.csv", [{"how_good": "3"}], columns)
    with pytest.raises(InvalidFile, match=r"reviews\.rating is missing"):
        read_file(path)
    assert read_file(path, columns={"reviews.rating": "how_good"}).rating.tolist() == [3.0]
    with pytest.raises(InvalidFile, match=r"--column ratng: must be one of id, .*did you mean rating"):
        read_file(path, columns={"ratng": "how_good"})
