"""The network three times over: as trained (Keras), as written down (numpy), as served (XLA split fusion)."""

import numpy as np
import pytest

from ranking_service.network.graph import BUCKETS
from ranking_service.network.head import Head
from tests.support.releases import unit_vectors
from trainer.network.keras_graph import graph_weights
from trainer.network.presets import PRESETS
from trainer.network.towers import build_network, score_pairs
from twotower.features import ALS_DIM, Float32, product_rows, user_rows
from twotower.model import full_forward, product_fusion, run_layers, score_catalogue

PRODUCTS = 37
USERS = 9


def make_features(seed: int) -> tuple[Float32, Float32]:
    rng = np.random.default_rng(seed)
    als = rng.normal(scale=0.5, size=(USERS, ALS_DIM)).astype(np.float32)
    users = user_rows(als, unit_vectors(rng, USERS), np.arange(USERS) % 2 == 1)
    products = product_rows(
        rng.normal(scale=0.5, size=(PRODUCTS, ALS_DIM)).astype(np.float32), unit_vectors(rng, PRODUCTS)
    )
    return users, products


def perturbed_network(preset: str) -> object:
    """An untrained network with biases and outputs of the size that training gives."""
    import keras

    keras.utils.set_random_seed(3)
    network = build_network(PRESETS[preset])
    rng = np.random.default_rng(3)
    network.set_weights([w + rng.normal(scale=0.05, size=w.shape) for w in network.get_weights()])
    return network


@pytest.mark.parametrize("preset", PRESETS)
def test_keras_numpy_and_xla_agree_for_every_preset(preset: str) -> None:
    network = perturbed_network(preset)
    weights = graph_weights(network)
    users, products = make_features(1)
    pairs = np.repeat(users, PRODUCTS, axis=0), np.tile(products, (USERS, 1))
    keras_scores = score_pairs(network, *pairs).reshape(USERS, PRODUCTS)
    assert np.ptp(keras_scores) > 0.1, "a network that answers the same for all would prove nothing"
    numpy_full = full_forward(weights, *pairs).reshape(USERS, PRODUCTS)
    fusion = product_fusion(weights, run_layers(weights.product_tower, products))
    head = Head(weights, fusion)
    for ours in (numpy_full, score_catalogue(weights, users, fusion), head(users)):
        assert np.abs(ours - keras_scores).max() <= 1e-4


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_batch_equals_its_singles_for_every_bucket(bucket: int) -> None:
    weights = graph_weights(perturbed_network("v5_power"))
    _, products = make_features(2)
    rng = np.random.default_rng(bucket)
    users = user_rows(rng.normal(size=(bucket, ALS_DIM)).astype(np.float32), unit_vectors(rng, bucket), False)
    head = Head(weights, product_fusion(weights, run_layers(weights.product_tower, products)))
    singles = np.concatenate([head(users[i : i + 1]) for i in range(bucket)])
    assert np.abs(head(users) - singles).max() <= 1e-5
