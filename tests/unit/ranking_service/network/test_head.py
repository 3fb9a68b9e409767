"""The XLA head against the numpy reference."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from ranking_service.network.graph import BUCKETS
from ranking_service.network.head import Head, Programs, open_head
from ranking_service.network.lanes import Lanes
from tests.support.releases import random_user_rows, random_weights, write_random_release
from twotower.model import Activation, TwoTowerWeights, product_fusion, score_catalogue

PRODUCTS = 150
SCORE_TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network() -> tuple[TwoTowerWeights, np.ndarray]:
    rng = np.random.default_rng(3)
    weights = random_weights(rng, "elu")
    return weights, product_fusion(weights, rng.normal(0, 1, (PRODUCTS, 64)).astype(np.float32))


@pytest.fixture(scope="module")
def head(network: tuple[TwoTowerWeights, np.ndarray]) -> Head:
    head = Head(*network)
    head.warm_up()
    return head


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "selu"])
def test_equals_the_reference(tmp_path: Path, activation: Activation) -> None:
    release = write_random_release(tmp_path, products=64, activation=activation, seed=11)
    rows = np.concatenate([release.golden.user_rows, random_user_rows(np.random.default_rng(1), 5)])
    scores = Head(release.weights, release.product_fusion)(rows)
    assert scores.shape == (13, 64)
    np.testing.assert_allclose(
        scores, score_catalogue(release.weights, rows, release.product_fusion), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("activation", ["elu", "selu"])
@pytest.mark.parametrize("magnitude", [1, 39, 41, 120])
def test_large_activations_do_not_overflow(activation: Activation, magnitude: float) -> None:
    rng = np.random.default_rng(5)
    weights = random_weights(rng, activation)
    products = rng.normal(0, 1, (40, 64)).astype(np.float32)
    products *= magnitude / np.abs(products).max()
    rows = random_user_rows(rng, 4) * np.float32(magnitude)
    expected = score_catalogue(weights, rows, products)
    np.testing.assert_allclose(Head(weights, products)(rows), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "count", sorted({*BUCKETS, *(b - 1 for b in BUCKETS if b > 2), *(b + 1 for b in BUCKETS), 300})
)
def test_a_batch_equals_its_singles(head: Head, network: tuple[TwoTowerWeights, np.ndarray], count: int) -> None:
    """Scores within 1e-5, and so the same order wherever two scores are further apart than that."""
    rows = random_user_rows(np.random.default_rng(count), count)
    batch = head(rows)
    for index in sorted({0, 1 % count, count // 2, count - 1}):
        (single,) = head(rows[index : index + 1])
        np.testing.assert_allclose(batch[index], single, atol=SCORE_TOLERANCE, rtol=0)
        in_single_order = batch[index][np.argsort(-single, kind="stable")]
        assert (np.diff(in_single_order) <= 2 * SCORE_TOLERANCE).all()
    np.testing.assert_allclose(batch, score_catalogue(network[0], rows, network[1]), atol=1e-4, rtol=0)


def test_a_user_scores_the_same_at_every_place_of_a_batch(head: Head) -> None:
    rows = random_user_rows(np.random.default_rng(9), 128)
    order = np.random.default_rng(10).permutation(128)
    np.testing.assert_allclose(head(rows)[order], head(rows[order]), atol=SCORE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("products", [1_201, 9_601, 25_000])
@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_a_large_catalogue_in_tiles_and_slices_equals_the_reference(products: int, activation: Activation) -> None:
    """More than one tile; more than one slice, the last ones filled up."""
    rng = np.random.default_rng(6)
    weights = random_weights(rng, activation)
    fusion = product_fusion(weights, rng.normal(0, 1, (products, 64)).astype(np.float32))
    rows = random_user_rows(rng, 3)
    lanes = Lanes(2)
    head = open_head(weights, fusion, lanes, Programs())
    np.testing.assert_allclose(head(rows), score_catalogue(weights, rows, fusion), atol=1e-4, rtol=0)
    lanes.close()


def test_releases_of_one_shape_share_a_program_and_keep_their_weights() -> None:
    """Nothing is compiled anew, and the program goes with its last head."""
    rng = np.random.default_rng(7)
    programs, lanes = Programs(), Lanes(1)
    rows = random_user_rows(rng, 5)

    def network(products: int = 30, activation: Activation = "elu") -> tuple[TwoTowerWeights, np.ndarray]:
        weights = random_weights(rng, activation)
        return weights, product_fusion(weights, rng.normal(0, 1, (products, 64)).astype(np.float32))

    first, second = network(), network()
    a, b = (open_head(*made, lanes, programs) for made in (first, second))
    for head, made in ((a, first), (b, second), (a, first)):
        np.testing.assert_allclose(head(rows), score_catalogue(made[0], rows, made[1]), atol=1e-4)
    assert isinstance(a, Head)
    assert isinstance(b, Head)
    assert a._program is b._program
    for other in (network(31), network(activation="relu")):
        head = open_head(*other, lanes, programs)
        assert isinstance(head, Head)
        assert head._program is not a._program
        np.testing.assert_allclose(head(rows), score_catalogue(other[0], rows, other[1]), atol=1e-4)
    program = weakref.ref(a._program)
    del a, b, head
    gc.collect()
    assert program() is None
