"""Releases of every format version that was ever written keep loading and answer what they answered."""

from pathlib import Path

import numpy as np
import pytest

from twotower.features import Float32
from twotower.model import score_catalogue
from twotower.release import FORMAT_VERSION, MANIFEST, Release

FIXTURES = Path(__file__).parent / "releases"
RELEASES = sorted(path.parent for path in FIXTURES.glob(f"*/*/{MANIFEST}"))


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.parent.name)
def test_an_old_release_loads_and_its_golden_requests_hold(path: Path) -> None:
    release = Release.open(path)

    def score(rows: Float32) -> tuple[Float32, Float32]:
        network = score_catalogue(release.weights, rows, release.product_fusion)
        return release.scoring.scores(network), release.scoring.ratings(network)

    assert release.replay_golden(score) <= release.manifest.golden_tolerance
    assert len(release.catalogue) == release.manifest.product_count
    assert np.ptp(release.golden.scores) > 0.1


def test_the_present_format_has_a_fixture() -> None:
    assert {path.parent.name for path in RELEASES} == {f"v{version}" for version in range(1, FORMAT_VERSION + 1)}
