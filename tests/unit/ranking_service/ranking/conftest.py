"""The release that tests of ranking score with."""

import pytest

from ranking_service.release.served import ServedRelease, open_served
from tests.support.releases import ReferenceScorer, write_random_release


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    """A release of 24 products that scores by lift and popularity, with the numpy network."""
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=24, lift=True)
    return open_served(release.path, ReferenceScorer)
