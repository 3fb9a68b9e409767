"""The Keras network of every preset against the kernel's numpy reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.network.keras_graph import graph_weights
from trainer.network.presets import PRESETS, preset_named
from trainer.network.tensorflow_runtime import load_tensorflow, make_deterministic
from trainer.network.towers import SplitNetwork, build_network, score_pairs
from twotower.model import full_forward, product_fusion, run_layers, score_catalogue


@pytest.fixture(scope="module", params=sorted(PRESETS))
def network(request: pytest.FixtureRequest) -> Any:
    load_tensorflow()
    make_deterministic(3)
    network = build_network(preset_named(request.param))
    rng = np.random.default_rng(5)
    # Biases start at zero: random ones show whether they are carried over.
    network.set_weights([weight + rng.normal(0, 0.05, weight.shape) for weight in network.get_weights()])
    return network


def pairs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    users = np.concatenate(
        [rng.normal(0, 1, (rows, 64)), rng.normal(0, 0.05, (rows, 384)), rng.integers(0, 2, (rows, 1))], axis=1
    )
    products = np.concatenate([rng.normal(0, 1, (rows, 64)), rng.normal(0, 0.05, (rows, 384))], axis=1)
    return users.astype(np.float32), products.astype(np.float32)


def test_keras_is_the_numpy_reference(network: Any) -> None:
    users, products = pairs(64)
    weights = graph_weights(network)
    keras_scores = score_pairs(network, users, products)
    np.testing.assert_allclose(full_forward(weights, users, products), keras_scores, atol=1e-4)
    fusion = product_fusion(weights, run_layers(weights.product_tower, products))
    np.testing.assert_allclose(np.diag(score_catalogue(weights, users, fusion)), keras_scores, atol=1e-4)


def test_inputs_and_outputs_have_the_contracted_names(network: Any) -> None:
    shapes = {tensor.name: tensor.shape[1] for tensor in network.inputs}
    expected = {
        "user_ALS_Embedding": 64,
        "user_BERT_Embedding": 384,
        "product_ALS_Embedding": 64,
        "product_BERT_Embedding": 384,
    }
    if "v1" not in network.name:
        expected["is_anonymous_user"] = 1
    assert shapes == expected
    for name, width in (("User_Tower_Output", 64), ("Product_Tower_Output", 64), ("Final_Output", 1)):
        assert network.get_layer(name).output.shape[1] == width


def test_parameter_count(network: Any) -> None:
    assert network.count_params() == (322_561 if "v1" in network.name else 322_817)
    # v1 has a zero row in place of the input that it lacks.
    assert graph_weights(network).parameter_count == 322_817


def test_the_parts_together_are_the_network(network: Any) -> None:
    users, products = pairs(20)
    state, product = np.array([3, 3, 19, 0]), np.array([1, 2, 0, 19])
    parts = SplitNetwork.of(network)
    towers = (
        np.asarray(parts.users(users, training=False))[state],
        np.asarray(parts.products(products, training=False))[product],
    )
    scores = np.asarray(parts.head(list(towers), training=False))[:, 0]
    np.testing.assert_allclose(scores, score_pairs(network, users[state], products[product]), atol=1e-5)
    trained = {
        id(variable)
        for part in (parts.user_tower, parts.product_tower, parts.head)
        for variable in part.trainable_variables
    }
    assert trained == {id(variable) for variable in network.trainable_variables}


def test_a_saved_network_is_the_same(network: Any, tmp_path: Path) -> None:
    import keras

    network.save(tmp_path / "saved.keras")
    users, products = pairs(8)
    again = keras.saving.load_model(tmp_path / "saved.keras", safe_mode=True)
    np.testing.assert_array_equal(score_pairs(again, users, products), score_pairs(network, users, products))
