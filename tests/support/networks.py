"""Keras networks of other hands."""

from typing import Any

from trainer.network.keras_graph import WIDTHS


def foreign_network(*, flag: bool = True, swapped: bool = False, tower: int = 64, extra: Any = None) -> Any:
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
