"""Releases of every format version that was ever written keep loading and answer what they answered."""

import json
from pathlib import Path

import numpy as np
import pytest

from twotower.features import Float32
from twotower.model import score_catalogue
from twotower.release import FORMAT_VERSION, MANIFEST, ROW_LAYOUT, Release
from twotower.scoring import LiftScoring

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


def test_format_1_tells_what_format_2_names() -> None:
    release = next(Release.open(path) for path in RELEASES if path.parent.name == "v1")
    assert release.manifest.row_layout == ROW_LAYOUT
    assert json.loads(release.manifest.to_json()) == json.loads((release.path / MANIFEST).read_text())
    assert isinstance(release.scoring, LiftScoring)
    # Its writer drew the bases at random, so the reader's answer is only known to be the median it describes.
    counts = np.array([product.review_count for product in release.catalogue])
    means = np.array([product.mean_rating for product in release.catalogue])
    priors = (release.scoring.rating_base * (counts + 10) - counts * means) / 10
    assert release.scoring.prior_mean == pytest.approx(min(5, max(0, np.median(priors))))


def test_the_present_format_has_a_fixture() -> None:
    assert {path.parent.name for path in RELEASES} == {f"v{version}" for version in range(1, FORMAT_VERSION + 1)}
