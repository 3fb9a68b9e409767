"""Keras networks of other hands: found by their graph, or refused with what does not fit."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.support.networks import foreign_network
from trainer.network.keras_graph import graph_weights
from trainer.network.tensorflow_runtime import check_backend, load_tensorflow
from trainer.network.towers import score_pairs
from twotower.errors import InvalidArgument
from twotower.features import product_rows, user_rows
from twotower.model import full_forward

load_tensorflow()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("flag", [False, True])
def test_any_graph_of_dense_layers_is_the_kernels_network(flag: bool, swapped: bool) -> None:
    network = foreign_network(flag=flag, swapped=swapped)
    rng = np.random.default_rng(1)
    als, bert = (rng.normal(size=(9, width)).astype(np.float32) for width in (64, 384))
    users = user_rows(als, bert, np.arange(9) % 2 == 1)
    products = product_rows(*(rng.normal(size=(9, width)).astype(np.float32) for width in (64, 384)))
    np.testing.assert_allclose(
        full_forward(graph_weights(network), users, products), score_pairs(network, users, products), atol=1e-4
    )


def test_what_cannot_be_served_is_named() -> None:
    import keras

    with pytest.raises(InvalidArgument, match="is a BatchNormalization layer"):
        graph_weights(foreign_network(extra=keras.layers.BatchNormalization()))
    with pytest.raises(InvalidArgument, match=r"user tower: must end 64 wide, got 32"):
        graph_weights(foreign_network(tower=32))
    other = keras.Sequential([keras.Input((3,), name="numbers"), keras.layers.Dense(1)])
    with pytest.raises(
        InvalidArgument, match=r"user_ALS_Embedding: input is missing.*numbers: is not one of the contracted"
    ):
        graph_weights(other)


def parts_of(network: Any) -> tuple[Any, Any]:
    """The kernel's answers and Keras' own, on made-up users and products."""
    rng = np.random.default_rng(1)
    als, bert = (rng.normal(size=(9, width)).astype(np.float32) for width in (64, 384))
    users = user_rows(als, bert, np.arange(9) % 2 == 1)
    products = product_rows(*(rng.normal(size=(9, width)).astype(np.float32) for width in (64, 384)))
    return full_forward(graph_weights(network), users, products), score_pairs(network, users, products)


@pytest.mark.parametrize("name", ["LeakyReLU", "LeakyReLU 0.2", "ReLU", "ReLU 0.2", "ELU", "leaky_relu", "linear"])
def test_activations_of_layers_are_read_exactly(name: str) -> None:
    import keras

    layers = keras.layers
    activation: Any = {
        "LeakyReLU": layers.LeakyReLU(negative_slope=0.0),
        "LeakyReLU 0.2": layers.LeakyReLU(negative_slope=0.2),
        "ReLU": layers.ReLU(),
        "ReLU 0.2": layers.ReLU(negative_slope=0.2),
        "ELU": layers.ELU(),
    }.get(name, name)
    ours, theirs = parts_of(foreign_network(extra=layers.Dense(16, activation)))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda layers: layers.Dense(16, layers.LeakyReLU(negative_slope=0.3), name="odd"), "odd: must have the slope"),
        (lambda layers: layers.Dense(16, layers.ReLU(max_value=6), name="odd"), "odd: must have no max_value"),
        (lambda layers: layers.ReLU(max_value=6, name="odd"), "odd: must have no max_value"),
        (lambda layers: layers.ReLU(threshold=0.5, name="odd"), "odd: must have the threshold 0"),
        (lambda layers: layers.ELU(alpha=0.5, name="odd"), "odd: must have the alpha 1"),
        (lambda layers: layers.Dense(16, layers.PReLU(), name="odd"), "odd: has the activation PReLU"),
        (lambda layers: layers.Dense(16, "gelu", name="odd"), "odd: has the activation gelu"),
        (lambda layers: layers.Dense(16, lambda x: x, name="odd"), "odd: has the activation a function of its own"),
        (lambda layers: layers.Dense(16, partial(abs), name="odd"), "odd: has the activation a function of its own"),
        (lambda layers: layers.Dense(16, dtype="float16", name="odd"), "odd: has the precision float16"),
        (lambda layers: layers.Dense(16, dtype="mixed_float16", name="odd"), "odd: has the precision float16"),
        (lambda layers: layers.Dense(16, dtype="mixed_bfloat16", name="odd"), "odd: has the precision bfloat16"),
    ],
)
def test_what_would_answer_otherwise_is_refused_by_its_layer(make: Any, message: str) -> None:
    import keras

    with pytest.raises(InvalidArgument, match=message):
        graph_weights(foreign_network(extra=make(keras.layers)))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_another_backend_is_refused_in_a_sentence(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(InvalidArgument, match=f"KERAS_BACKEND: must be tensorflow or not set, got '{backend}'"):
        check_backend()
