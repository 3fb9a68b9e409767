"""Keras networks of other hands: found by their graph, or refused with what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.network.keras_graph import WIDTHS, graph_weights
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.network.towers import score_pairs
from trainer.release.import_keras import ImportedFiles, import_keras
from twotower.errors import InvalidArgument, InvalidFile
from twotower.features import product_rows, user_rows
from twotower.model import full_forward

load_tensorflow()


def foreign(*, flag: bool = True, swapped: bool = False, tower: int = 64, extra: Any = None) -> Any:
    """A network with other layers, other names and another order than ours."""
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    inputs = {
        name: keras.Input((width,), name=name) for name, width in WIDTHS.items() if flag or name != "is_anonymous_user"
    }
    user = layers.Concatenate()([inputs[name] for name in reversed(inputs) if not name.startswith("product")])
    user = layers.Dense(tower)(layers.Dropout(0.5)(layers.LeakyReLU(negative_slope=0.2)(layers.Dense(30)(user))))
    product = layers.Concatenate()([inputs["product_BERT_Embedding"], inputs["product_ALS_Embedding"]])
    product = layers.Dense(64, "selu")(layers.Activation("elu")(layers.Dense(20, use_bias=False)(product)))
    hidden = layers.Dense(16, "relu")(layers.Concatenate()([product, user] if swapped else [user, product]))
    if extra is not None:
        hidden = extra(hidden)
    return keras.Model(list(inputs.values()), layers.Dense(1)(hidden))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("flag", [False, True])
def test_any_graph_of_dense_layers_is_the_kernels_network(flag: bool, swapped: bool) -> None:
    network = foreign(flag=flag, swapped=swapped)
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
        graph_weights(foreign(extra=keras.layers.BatchNormalization()))
    with pytest.raises(InvalidArgument, match=r"user tower: must end 64 wide, got 32"):
        graph_weights(foreign(tower=32))
    other = keras.Sequential([keras.Input((3,), name="numbers"), keras.layers.Dense(1)])
    with pytest.raises(
        InvalidArgument, match=r"user_ALS_Embedding: input is missing.*numbers: is not one of the contracted"
    ):
        graph_weights(other)


def test_what_the_network_was_trained_with_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"--item-factors: is needed: .*; --global-mean: is needed"):
        import_keras(
            tmp_path / "m.keras", ImportedFiles(tmp_path / "p.jsonl", None, None), tmp_path, tmp_path, lambda _: None
        )


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    import keras

    (tmp_path / "bad.keras").write_bytes(b"not a zip")
    files = ImportedFiles(tmp_path / "p.jsonl", tmp_path / "f.npy", tmp_path / "m.npy")
    with pytest.raises(InvalidFile, match="must be a Keras 3 file"):
        import_keras(tmp_path / "bad.keras", files, tmp_path, tmp_path, lambda _: None)
    foreign(extra=keras.layers.Lambda(lambda x: x)).save(tmp_path / "code.keras")
    with pytest.raises(InvalidFile, match="without code of its own"):
        import_keras(tmp_path / "code.keras", files, tmp_path, tmp_path, lambda _: None)
    assert not list(tmp_path.glob("imported-*"))
