"""What the service reads of a release."""

import numpy as np
import pytest

from embedding_service.releases.spaces import LoadedRelease
from twotower.release import Release
from twotower.scoring import LiftScoring


def test_the_half_life_of_a_release_that_scores_by_popularity(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros(50, np.float32)
    opened = Release.open(release.path)
    monkeypatch.setitem(opened.__dict__, "scoring", LiftScoring(1.0, 0.0, 3.5, nothing, nothing, nothing, 4.0))
    assert LoadedRelease.of(opened).half_life_days == 3.5
