"""Parquet files against CSV files of the same rows."""

from pathlib import Path

import pytest

from tests.support.reviews import read_file, write_csv
from twotower.errors import InvalidFile


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    import pandas as pd

    path = write_csv(tmp_path / "r.csv", [{"reviews.text": f"text {n}", "reviews.username": f"u{n}"} for n in range(5)])
    frame = pd.read_csv(path)
    frame["reviews.date"] = pd.to_datetime(frame["reviews.date"])
    frame.to_parquet(tmp_path / "r.bin")
    one, other = read_file(path), read_file(tmp_path / "r.bin")
    # The order within one moment is that of the ids, which are made of the text as it is written.
    assert sorted(one.texts) == sorted(other.texts)
    assert (one.time_us == other.time_us).all()
    assert one.products == other.products
    (tmp_path / "bad").write_bytes(b"PAR1 and no more\n")
    with pytest.raises(InvalidFile, match="must be readable Parquet"):
        read_file(tmp_path / "bad")
