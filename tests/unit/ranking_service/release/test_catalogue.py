"""The catalogue: neighbours by tower."""

import numpy as np
import pytest

from ranking_service.release.catalogue import Catalogue
from tests.support.releases import random_product
from twotower.errors import NotFound


def test_neighbours_are_the_largest_cosines() -> None:
    rng = np.random.default_rng(4)
    towers = rng.normal(size=(9, 64)).astype(np.float32)
    towers[5] = 0
    towers[7] = 3 * towers[2]
    catalogue = Catalogue([random_product(rng, i) for i in range(9)], towers, "r")
    rows, cosines = catalogue.similar(2, 9)
    assert rows[0] == 7
    assert cosines[0] == pytest.approx(1)
    assert sorted(rows.tolist()) == [0, 1, 3, 4, 5, 6, 7, 8]
    expected = [towers[2] @ towers[r] / max(np.linalg.norm(towers[2]) * np.linalg.norm(towers[r]), 1e-9) for r in rows]
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    assert (np.diff(cosines) <= 0).all()
    with pytest.raises(NotFound, match="nothing"):
        catalogue.find("nothing")
