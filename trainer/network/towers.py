"""The Keras network with the contracted names, whole and in its three parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trainer.features.history import States
from trainer.network.presets import Preset
from twotower.features import (
    FINAL_OUTPUT,
    IS_ANONYMOUS_INPUT,
    PRODUCT_INPUTS,
    PRODUCT_TOWER_OUTPUT,
    TOWER_DIM,
    USER_INPUTS,
    USER_TOWER_OUTPUT,
    Float32,
)

_TOWER_UNITS: Final = (256, 128)
_FUSION_UNITS: Final = (64, 32)


@dataclass(frozen=True)
class FeatureTables:
    """The rows that samples point at.

    Attributes:
        users: (states, 449) float32 distinct user rows: an array, or what makes them as they are asked for.
        products: (products, 448) float32.
    """

    users: States | Float32
    products: Float32


def build_network(preset: Preset) -> Any:
    """Build the untrained network of a preset.

    Returns:
        A ``keras.Model`` with four or five named inputs and the output ``Final_Output`` (batch, 1).
    """
    import keras

    inputs = {name: keras.Input((width,), name=name) for name, width in input_widths(preset).items()}
    user_inputs = [inputs[name] for name in USER_INPUTS if name in inputs]
    user = keras.layers.Concatenate(name="user_features")(user_inputs)
    product = keras.layers.Concatenate(name="product_features")([inputs[name] for name in PRODUCT_INPUTS])
    towers = [_tower(preset, user, "user", USER_TOWER_OUTPUT), _tower(preset, product, "product", PRODUCT_TOWER_OUTPUT)]
    fused = keras.layers.Concatenate(name="towers")(towers)
    hidden = _dense(preset, _FUSION_UNITS[0], "fusion_1")(fused)
    hidden = _dropout(preset, preset.fusion_dropout, "fusion_dropout")(hidden)
    hidden = _dense(preset, _FUSION_UNITS[1], "fusion_2")(hidden)
    output = keras.layers.Dense(1, kernel_initializer=preset.initializer, name=FINAL_OUTPUT)(hidden)
    network = keras.Model(list(inputs.values()), output, name=f"two_tower_{preset.name}")
    assert network.count_params() == preset.parameter_count, network.count_params()
    return network


def build_optimizer(preset: Preset, learning_rate: Any) -> Any:
    """Build the optimiser of a preset, with a learning rate or a Keras schedule of it."""
    import keras

    optimizers = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "nadam": keras.optimizers.Nadam}
    return optimizers[preset.optimizer](learning_rate)


def input_widths(preset: Preset) -> dict[str, int]:
    """Inputs of a preset's network and their widths."""
    widths = USER_INPUTS | PRODUCT_INPUTS
    return {name: width for name, width in widths.items() if preset.with_is_anonymous or name != IS_ANONYMOUS_INPUT}


def _tower(preset: Preset, features: Any, side: str, output_name: str) -> Any:
    hidden = _dense(preset, _TOWER_UNITS[0], f"{side}_1")(features)
    hidden = _dense(preset, _TOWER_UNITS[1], f"{side}_2")(hidden)
    hidden = _dropout(preset, preset.tower_dropout, f"{side}_dropout")(hidden)
    return _dense(preset, TOWER_DIM, output_name)(hidden)


def _dense(preset: Preset, units: int, name: str) -> Any:
    import keras

    return keras.layers.Dense(units, preset.activation, kernel_initializer=preset.initializer, name=name)


def _dropout(preset: Preset, rate: float, name: str) -> Any:
    import keras

    layer = keras.layers.AlphaDropout if preset.dropout == "alpha_dropout" else keras.layers.Dropout
    return layer(rate, name=name)


@dataclass(frozen=True)
class SplitNetwork:
    """The three parts of a network, which share its weights: a tower runs once for a row that many samples have.

    Attributes:
        user_tower: user rows (rows, 449) → (rows, 64).
        product_tower: product rows (rows, 448) → (rows, 64).
        head: user towers and product towers, (samples, 64) each → (samples, 1).
    """

    user_tower: Any
    product_tower: Any
    head: Any

    @classmethod
    def of(cls, network: Any) -> "SplitNetwork":
        """Cut a network at the outputs of its towers."""
        import keras

        users, products = (network.get_layer(name).output for name in (USER_TOWER_OUTPUT, PRODUCT_TOWER_OUTPUT))
        sides = [
            [tensor for tensor in network.inputs if tensor.name in names] for names in (USER_INPUTS, PRODUCT_INPUTS)
        ]
        return cls(
            keras.Model(sides[0], users),
            keras.Model(sides[1], products),
            keras.Model([users, products], network.output),
        )

    def users(self, rows: Any, *, training: bool) -> Any:
        """Run the user tower: rows (rows, 449), a tensor or an array → (rows, 64)."""
        features = _columns(rows, USER_INPUTS)
        return self.user_tower([features[tensor.name] for tensor in self.user_tower.inputs], training=training)

    def products(self, rows: Any, *, training: bool) -> Any:
        """Run the product tower: rows (rows, 448), a tensor or an array → (rows, 64)."""
        features = _columns(rows, PRODUCT_INPUTS)
        return self.product_tower([features[tensor.name] for tensor in self.product_tower.inputs], training=training)


def _columns(rows: Any, inputs: Mapping[str, int]) -> dict[str, Any]:
    """Cut feature rows (batch, width) into the network's inputs; works for arrays and for Keras tensors."""
    columns, start = {}, 0
    for name, width in inputs.items():
        columns[name] = rows[:, start : start + width]
        start += width
    return columns


def score_pairs(network: Any, users: Float32, products: Float32) -> Float32:
    """Run the full Keras network on pairs: (rows, 449) and (rows, 448) → (rows,) float32."""
    features = _columns(users, USER_INPUTS) | _columns(products, PRODUCT_INPUTS)
    output = network([features[tensor.name] for tensor in network.inputs], training=False)
    return np.asarray(output, np.float32)[:, 0]
