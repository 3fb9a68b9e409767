"""The release that features and popularity are asked for."""

import pytest

from ranking_service.release.served import ServedRelease, open_served
from tests.support.releases import ReferenceScorer, write_random_release


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    """A release of 9 products that scores by lift and popularity."""
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=9, lift=True)
    return open_served(release.path, ReferenceScorer)
