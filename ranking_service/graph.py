"""The network as a TensorFlow graph for XLA: how it is written decides how fast it runs (docs/adr/0008-xla-head.md has the figures).

- elu and selu are written with ``exp``: XLA's ``expm1`` is several times slower on CPU and the scores differ by 4e-6.
- In the first fusion layer ``exp(u + p) = exp(u)·exp(p)``, so that layer needs no exponential per (user, product) pair at all.
- Users go through the fusion head a few at a time, and large catalogues a tile at a time, so that activations stay in the cache instead of
  being written out to fresh pages.
"""

from typing import Any, Final

import numpy as np

from twotower.features import Float32
from twotower.model import LEAKY_RELU_SLOPE, SELU_ALPHA, SELU_SCALE, Activation, TwoTowerWeights

BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Batch sizes that are compiled, in users."""
PAIRS_PER_STEP: Final = 9600
"""(user, product) pairs that go through the fusion head at once: 2.4 MB of activations in the first layer."""
_LARGEST_TABLE: Final = 100_000
"""Products up to which ``exp(p)`` is kept; above, memory matters more, and batches are small."""
_LARGEST_PRODUCT_EXPONENT: Final = 40.0
"""Up to here ``min(exp(u)·exp(p), 1)`` is ``exp(min(u + p, 0))`` for every float32 u: where exp(u) overflows or underflows, the true value
is 1 or below 1e-20."""


def signature(weights: TwoTowerWeights, product_fusion: Float32) -> tuple[object, ...]:
    """Equal for two networks that compile to the same program."""
    layers = [(layer.kernel.shape, layer.activation) for layer in (*weights.user_tower, *weights.fusion)]
    return *layers, product_fusion.shape, _has_table(product_fusion)


def arrays(weights: TwoTowerWeights, product_fusion: Float32) -> list[Float32]:
    """All that the graph reads, in its order; a catalogue of several tiles as (tiles, products of a tile, units), the last filled up."""
    user_units = weights.user_tower[-1].kernel.shape[1]
    layers = [array for layer in (*weights.user_tower, *weights.fusion[1:]) for array in (layer.kernel, layer.bias)]
    count, units = product_fusion.shape
    tiles = -(-count // PAIRS_PER_STEP)
    products = product_fusion
    if tiles > 1:
        products = np.zeros((tiles, PAIRS_PER_STEP, units), np.float32)
        products.reshape(-1, units)[:count] = product_fusion
    table = np.exp(products) if _has_table(product_fusion) else np.zeros(0, np.float32)
    return [np.ascontiguousarray(array) for array in (*layers, weights.fusion[0].kernel[:user_units], products, table)]


def build(weights: TwoTowerWeights, product_fusion: Float32) -> tuple[Any, list[Any]]:
    """The traced function, (users, 449) → (users, products), and its variables.

    Variables rather than constants, so that the buckets share one copy and another release can move in.
    """
    import tensorflow as tf

    variables = [tf.Variable(array, trainable=False) for array in arrays(weights, product_fusion)]
    *layers, user_kernel, products, table = variables
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    tower, rest = pairs[: len(weights.user_tower)], pairs[len(weights.user_tower) :]
    tower_activations = [layer.activation for layer in weights.user_tower]
    rest_activations = [layer.activation for layer in weights.fusion[1:]]
    first = weights.fusion[0].activation
    has_table = _has_table(product_fusion) and first in ("elu", "selu")
    count, units = product_fusion.shape
    users_per_step = max((size for size in BUCKETS if size * count <= PAIRS_PER_STEP), default=1)

    def fuse(users: Any, products: Any, table: Any) -> Any:
        """(users, units) and (products, units) → (users, products)."""
        x = users[:, tf.newaxis, :] + products[tf.newaxis, :, :]
        if has_table:
            x = _exponential_unit(x, tf.minimum(tf.exp(users)[:, tf.newaxis, :] * table[tf.newaxis, :, :], 1.0), first)
        else:
            x = _activate(x, first)
        x = tf.reshape(x, [-1, units])
        for (kernel, bias), activation in zip(rest, rest_activations, strict=True):
            x = _activate(tf.matmul(x, kernel) + bias, activation)
        return tf.reshape(x, [-1, products.shape[0]])

    def fuse_all(users: Any) -> Any:
        """(users of a step, units) → (users of a step, products)."""
        if len(products.shape) == 2:
            return fuse(users, products, table)
        tiles = tf.range(products.shape[0])
        scores = tf.map_fn(
            lambda tile: fuse(users, products[tile], table[tile] if has_table else None), tiles, fn_output_signature=tf.float32
        )
        return tf.reshape(scores, [1, -1])[:, :count]  # one user a step: a tile alone fills it

    def score(rows: Any) -> Any:
        x = rows
        for (kernel, bias), activation in zip(tower, tower_activations, strict=True):
            x = _activate(tf.matmul(x, kernel) + bias, activation)
        x = tf.matmul(x, user_kernel)
        if rows.shape[0] <= users_per_step:
            return fuse_all(x)
        return tf.reshape(tf.map_fn(fuse_all, tf.reshape(x, [-1, users_per_step, units])), [-1, count])

    return score, variables


def _has_table(product_fusion: Float32) -> bool:
    return len(product_fusion) <= _LARGEST_TABLE and bool(np.abs(product_fusion).max(initial=0) <= _LARGEST_PRODUCT_EXPONENT)


def _activate(x: Any, activation: Activation) -> Any:
    import tensorflow as tf

    if activation == "linear":
        return x
    if activation == "relu":
        return tf.maximum(x, 0.0)
    if activation == "leaky_relu":
        return tf.where(x >= 0, x, LEAKY_RELU_SLOPE * x)
    return _exponential_unit(x, tf.exp(tf.minimum(x, 0.0)), activation)


def _exponential_unit(x: Any, negative_exp: Any, activation: Activation) -> Any:
    """elu or selu of x, given ``exp(min(x, 0))``."""
    import tensorflow as tf

    if activation == "elu":
        return tf.maximum(x, 0.0) + negative_exp - 1.0
    return SELU_SCALE * (tf.maximum(x, 0.0) + SELU_ALPHA * (negative_exp - 1.0))
