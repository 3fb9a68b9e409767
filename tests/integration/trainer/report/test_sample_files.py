"""Samples on disk."""

from pathlib import Path

import pandas as pd
import pytest

from trainer.pipeline import TrainingResult
from trainer.report.sample_files import write_sample_files


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_samples_are_the_reviews_and_three_negatives_each(
    trained: TrainingResult, tmp_path: Path, file_format: str
) -> None:
    paths = write_sample_files(tmp_path, trained, file_format)
    read = pd.read_csv if file_format == "csv" else pd.read_parquet
    negative, final = (read(path) for path in paths)
    count = len(trained.reviews)
    assert (len(negative), len(final)) == (3 * count, 4 * count)
    assert negative["rating"].between(0, 2).all()
    own = final[~final["is_negative"].astype(bool)]
    assert own["rating"].tolist() == trained.reviews.rating.tolist()
    assert own["user_id"].tolist() == [trained.reviews.user_ids[user] for user in trained.reviews.user]
