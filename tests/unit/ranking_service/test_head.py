"""The XLA head against the numpy reference."""

from pathlib import Path

import numpy as np
import pytest

from ranking_service.head import BUCKETS, Head
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
    np.testing.assert_allclose(scores, score_catalogue(release.weights, rows, release.product_fusion), atol=1e-4, rtol=0)


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


@pytest.mark.parametrize("count", sorted({*BUCKETS, *(b - 1 for b in BUCKETS if b > 2), *(b + 1 for b in BUCKETS), 300}))
def test_a_batch_equals_its_singles(head: Head, network: tuple[TwoTowerWeights, np.ndarray], count: int) -> None:
    """Scores within 1e-5, and so the same order wherever two scores are further apart than that."""
    rows = random_user_rows(np.random.default_rng(count), count)
    batch = head(rows)
    for index in sorted({0, 1 % count, count // 2, count - 1}):
        (single,) = head(rows[index : index + 1])
        np.testing.assert_allclose(batch[index], single, atol=SCORE_TOLERANCE, rtol=0)
        in_single_order = batch[index][np.argsort(-single, kind="stable")]
        assert (np.diff(in_single_order) <= 2 * SCORE_TOLERANCE).all()
    np.testing.assert_allclose(batch, score_catalogue(*[network[0], rows, network[1]]), atol=1e-4, rtol=0)


def test_a_user_scores_the_same_at_every_place_of_a_batch(head: Head) -> None:
    rows = random_user_rows(np.random.default_rng(9), 128)
    order = np.random.default_rng(10).permutation(128)
    np.testing.assert_allclose(head(rows)[order], head(rows[order]), atol=SCORE_TOLERANCE, rtol=0)
