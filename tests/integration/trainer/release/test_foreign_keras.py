"""Keras files of other hands: what is imported answers as Keras does, what is not is refused and leaves nothing."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ranking_service.network.head import Programs, open_head
from ranking_service.network.lanes import Lanes
from ranking_service.release.served import open_served
from tests.support.networks import foreign_network
from tests.support.releases import unit_vectors
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.network.towers import score_pairs
from trainer.release.import_keras import ImportedFiles, import_keras
from twotower.encoder import TextEncoder
from twotower.errors import InvalidArgument
from twotower.features import PRODUCT_INPUTS, USER_INPUTS, dequantize, product_rows, product_text

load_tensorflow()
PRODUCTS = 12


def reference_network(*, flag: bool, activation: str = "relu", dropout: str = "Dropout") -> Any:
    """A network as the reference project builds and names it, with four inputs or five."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    widths = USER_INPUTS | PRODUCT_INPUTS
    inputs = {
        name: keras.Input((width,), name=name) for name, width in widths.items() if flag or name != "is_anonymous_user"
    }
    towers = []
    for side, names in (("User", USER_INPUTS), ("Product", PRODUCT_INPUTS)):
        x = layers.Concatenate()([inputs[name] for name in names if name in inputs])
        for units in (256, 128):
            x = layers.Dense(units, activation=activation)(x)
        x = getattr(layers, dropout)(0.3)(x)
        towers.append(layers.Dense(64, activation=activation, name=f"{side}_Tower_Output")(x))
    x = layers.Dense(64, activation=activation)(layers.Concatenate()(towers))
    x = layers.Dense(32, activation=activation)(getattr(layers, dropout)(0.2)(x))
    model = keras.Model(list(inputs.values()), layers.Dense(1, activation="linear", name="Final_Output")(x))
    model.compile("adam", "mse")
    return model


@pytest.fixture
def files(tmp_path: Path) -> ImportedFiles:
    rng = np.random.default_rng(0)
    lines = [json.dumps({"product_id": f"P{row}", "name": f"Thing {row}", "brand": "B"}) for row in range(PRODUCTS)]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    np.save(tmp_path / "f.npy", rng.normal(0, 0.2, (PRODUCTS, 64)).astype(np.float32))
    np.save(tmp_path / "m.npy", unit_vectors(rng, 1)[0])
    return ImportedFiles(tmp_path / "p.jsonl", tmp_path / "f.npy", tmp_path / "m.npy")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "shape",
    [
        (False, "relu", "Dropout"),
        (True, "leaky_relu", "Dropout"),
        (True, "elu", "Dropout"),
        (True, "selu", "AlphaDropout"),
    ],
)
def test_the_reference_projects_files_are_served_as_keras_answers(
    shape: tuple[bool, str, str], suffix: str, files: ImportedFiles, encoder_path: Path, tmp_path: Path
) -> None:
    flag, activation, dropout = shape
    if suffix == ".h5" and not flag:
        pytest.skip("one shape is enough for the older container")
    network = reference_network(flag=flag, activation=activation, dropout=dropout)
    network.save(tmp_path / f"reference{suffix}")
    release = import_keras(tmp_path / f"reference{suffix}", files, tmp_path / "out", encoder_path, lambda _: None)
    lanes = Lanes(1)
    served = open_served(
        release.path,
        lambda opened: open_head(opened.weights, opened.product_fusion, lanes, Programs()),
        pause=lambda: None,
    )
    texts = [product_text(item.name, item.brand, "", "") for item in release.catalogue]
    vectors = dequantize(TextEncoder(encoder_path).encode(texts).fixed_point)
    products = product_rows(np.load(str(files.item_factors)), vectors)
    users = np.asarray(release.golden.user_rows)
    expected = np.stack([score_pairs(network, np.repeat(row[None], PRODUCTS, 0), products) for row in users])
    np.testing.assert_allclose(served.scoring.scores(served.scorer(users)), expected, atol=1e-4)


def keras_of(layer: Callable[[Any], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import keras

        foreign_network(extra=layer(keras.layers)).save(folder / "m.keras")
        return folder / "m.keras"

    return make


def with_config(folder: Path, change: Callable[[Any], Any]) -> Path:
    foreign_network().save(folder / "good.keras")
    with zipfile.ZipFile(folder / "good.keras") as source, zipfile.ZipFile(folder / "m.keras", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, json.dumps(change(json.loads(data))) if name == "config.json" else data)
    return folder / "m.keras"


def zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("config.json", "{}")
        with target.open("model.weights.h5", "w") as file:
            for _ in range(600):
                file.write(bytes(2**20))
    return folder / "m.keras"


def weights_bomb(folder: Path) -> Path:
    foreign_network().save(folder / "good.keras")
    bomb = io.BytesIO()
    with h5py.File(bomb, "w") as weights:
        weights.create_dataset("x", (2**17, 2**17), "f4", chunks=(1024, 1024), compression="gzip")
    with zipfile.ZipFile(folder / "good.keras") as source, zipfile.ZipFile(folder / "m.keras", "w") as target:
        target.writestr("config.json", source.read("config.json"))
        target.writestr("model.weights.h5", bomb.getvalue())
    return folder / "m.keras"


def outside_weights(folder: Path) -> Path:
    with h5py.File(folder / "m.h5", "w") as weights:
        weights.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    return folder / "m.h5"


class _Exploit:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/twotower-unpickled"),)


def pickled(folder: Path) -> Path:
    (folder / "m.keras").write_bytes(pickle.dumps(_Exploit()))
    return folder / "m.keras"


def wide(config: Any) -> Any:
    config["config"]["layers"][-1]["config"]["units"] = 10**9
    return config


def wide_input(config: Any) -> Any:
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, 10**9]
    return config


def odd_options(options: Any) -> Callable[[Any], Any]:
    def change(config: Any) -> Any:
        config["config"]["layers"][-1]["config"] = options
        return config

    return change


def foreign_module(config: Any) -> Any:
    config["config"]["layers"][-1] |= {"module": "os", "class_name": "system"}
    return config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (keras_of(lambda layers: layers.Lambda(lambda x: x, name="odd")), "odd: is a Lambda"),
        (keras_of(lambda layers: layers.ReLU(max_value=6, name="odd")), "odd: must have no max_value"),
        (keras_of(lambda layers: layers.ELU(alpha=0.5, name="odd")), "odd: must have the alpha 1"),
        (keras_of(lambda layers: layers.Dense(16, layers.LeakyReLU(0.3), name="odd")), "odd: must have the slope"),
        (
            keras_of(lambda layers: layers.Dense(16, dtype="mixed_float16", name="odd")),
            "odd: has the precision float16",
        ),
        (keras_of(lambda layers: layers.Dense(16, dtype="float16", name="odd")), "odd: has the precision float16"),
        (lambda folder: with_config(folder, wide), "more than 16384 units wide in all"),
        (lambda folder: with_config(folder, wide_input), "more than 16384 units wide in all"),
        (lambda folder: with_config(folder, odd_options("abc")), "must be a Keras 3 file"),
        (lambda folder: with_config(folder, odd_options({"units": "7"})), "must be a Keras 3 file"),
        (lambda folder: with_config(folder, foreign_module), "is a system of the module os"),
        (lambda folder: with_config(folder, lambda _: [[[]]]), "."),
        (zip_bomb, "must be at most 1000 entries of 512 MiB, has 2 entries of 600 MiB"),
        (weights_bomb, "weights: must be at most 512 MiB unpacked, are 65536"),
        (outside_weights, "x: must be in the file itself"),
        (pickled, "must be a Keras 3 file"),
    ],
)
def test_what_is_refused_leaves_nothing(
    make: Callable[[Path], Path], message: str, files: ImportedFiles, encoder_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InvalidArgument, match=message):
        import_keras(make(tmp_path), files, out, encoder_path, lambda _: None)
    assert not out.exists()
    assert not Path("/tmp/twotower-unpickled").exists()
