"""Reviews that several tests of the trainer only look at."""

import pytest

from tests.support.trained import tiny_reviews
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import Reviews, read_reviews


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    """500 synthetic reviews, cleaned."""
    return read_reviews(tiny_reviews(tmp_path_factory.mktemp("reviews") / "reviews.csv.gz", 500), CleaningOptions())[0]
