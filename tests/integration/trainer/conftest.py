"""One small release, trained for real, for all tests of this folder."""

from pathlib import Path

import pytest

from tests.support.trained import tiny_reviews, train_tiny_result
from trainer.pipeline import TrainingResult


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the review file, the cache and the releases."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="session")
def trained(work: Path, encoder_path: Path) -> TrainingResult:
    """A v5_power release of 300 synthetic reviews, two epochs."""
    reviews = tiny_reviews(work / "reviews.csv.gz", 300)
    return train_tiny_result(work / "releases", work / "cache", encoder_path, reviews=reviews, epochs=2)
