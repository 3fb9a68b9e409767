"""Keras networks of other hands: found by their graph, or refused with what does not fit."""

import numpy as np
import pytest

from tests.support.networks import foreign_network
from trainer.network.keras_graph import graph_weights
from trainer.network.tensorflow_runtime import load_tensorflow
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
