"""The network under XLA: user rows in, scores of the whole catalogue out.

The user tower and the split fusion head are compiled once for each of a few batch sizes; a batch is padded to the next one. Three things
make it fast (docs/adr/0008-xla-head.md has the figures):

- elu and selu are written with ``exp``: XLA's ``expm1`` is several times slower on CPU and the scores differ by 4e-6.
- In the first fusion layer ``exp(u + p) = exp(u)·exp(p)``, so that layer needs no exponential per (user, product) pair at all.
- Users go through the fusion head a few at a time, so that its activations stay in the cache instead of being written out to fresh pages.
"""

import logging
import os
import time
import weakref
from typing import Any, Final

import numpy as np

from twotower.features import USER_DIM, Float32
from twotower.model import LEAKY_RELU_SLOPE, SELU_ALPHA, SELU_SCALE, Activation, TwoTowerWeights

_LOG = logging.getLogger(__name__)

BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Batch sizes that are compiled, in users."""
MAX_BATCH: Final = BUCKETS[-1]

_ROWS_PER_STEP: Final = 9600
"""(user, product) pairs that go through the fusion head at once: 2.4 MB of activations in the first layer."""
_LARGEST_PRODUCT_EXPONENT: Final = 40.0
"""Up to here ``min(exp(u)·exp(p), 1)`` is ``exp(min(u + p, 0))`` for every float32 u: where exp(u) overflows or underflows, the true value
is 1 or below 1e-20."""


def import_tensorflow() -> None:
    """Import TensorFlow, quietly and without looking for a GPU; takes seconds, so call it off the event loop."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow  # noqa: F401


class Head:
    """Scores users against every product of one release. Thread-safe.

    Args:
        weights: the network.
        product_fusion: (products, units) float32, the product's half of the first fusion layer.
    """

    def __init__(self, weights: TwoTowerWeights, product_fusion: Float32) -> None:
        self.product_count = len(product_fusion)
        self._graph, self._variables = _graph(weights, product_fusion)
        self._compiled: dict[int, Any] = {}

    def load(self, weights: TwoTowerWeights, product_fusion: Float32) -> None:
        """Take other weights of the same :func:`signature`, without compiling anew; nobody may be scoring."""
        for variable, array in zip(self._variables, _arrays(weights, product_fusion), strict=True):
            variable.assign(array)

    def warm_up(self) -> None:
        """Compile every bucket and run it once; takes seconds."""
        for bucket in BUCKETS:
            start = time.perf_counter()
            self._bucket(bucket)(_zeros(bucket))
            _LOG.info("compiled %d users × %d products in %.2f s", bucket, self.product_count, time.perf_counter() - start)

    def __call__(self, user_rows: Float32) -> Float32:
        """Score users.

        Args:
            user_rows: (users, 449) float32, any number of users.

        Returns:
            (users, products) float32: the network's output. A user's scores in two different batches differ by
            rounding only, less than 1e-5.
        """
        parts = [self._padded(user_rows[start : start + MAX_BATCH]) for start in range(0, len(user_rows), MAX_BATCH)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _padded(self, rows: Float32) -> Float32:
        import tensorflow as tf

        count = len(rows)
        bucket = next(size for size in BUCKETS if size >= count)
        if count < bucket:
            rows = np.concatenate([rows, np.zeros((bucket - count, USER_DIM), np.float32)])
        scores: Float32 = self._bucket(bucket)(tf.constant(rows)).numpy()
        return scores[:count]

    def _bucket(self, bucket: int) -> Any:
        if bucket not in self._compiled:
            import tensorflow as tf

            function = tf.function(self._graph, jit_compile=True, autograph=False)
            # A concrete function skips a tenth of a millisecond of signature matching a call.
            self._compiled[bucket] = function.get_concrete_function(tf.TensorSpec([bucket, USER_DIM], tf.float32))
        return self._compiled[bucket]


def _zeros(bucket: int) -> Any:
    import tensorflow as tf

    return tf.zeros([bucket, USER_DIM])


def signature(weights: TwoTowerWeights, product_fusion: Float32) -> tuple[object, ...]:
    """Equal for two networks that compile to the same program."""
    layers = [(layer.kernel.shape, layer.activation) for layer in (*weights.user_tower, *weights.fusion)]
    return *layers, product_fusion.shape, _splits(product_fusion)


class HeadPool:
    """Compiled heads to be used again by the next release of the same shape.

    XLA keeps a compiled program for the life of the process, and compiling one takes the cores for seconds. So the head of a release that
    is no longer served takes the weights of the next one.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[object, ...], list[Head]] = {}

    def open(self, weights: TwoTowerWeights, product_fusion: Float32) -> "PooledHead":
        """A head with these weights; it comes back to the pool when the last reference to it is gone."""
        kind = signature(weights, product_fusion)
        self._free = {kind: self._free.get(kind, [])}
        free = self._free[kind]
        if free:
            head = free.pop()
            head.load(weights, product_fusion)
        else:
            head = Head(weights, product_fusion)
        pooled = PooledHead(head)
        weakref.finalize(pooled, free.append, head).atexit = False
        return pooled


class PooledHead:
    """A head of a pool."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def warm_up(self) -> None:
        """As :meth:`Head.warm_up`."""
        self._head.warm_up()

    def __call__(self, user_rows: Float32) -> Float32:
        """As :meth:`Head.__call__`."""
        return self._head(user_rows)


def _splits(product_fusion: Float32) -> bool:
    return bool(np.abs(product_fusion).max(initial=0) <= _LARGEST_PRODUCT_EXPONENT)


def _arrays(weights: TwoTowerWeights, product_fusion: Float32) -> list[Float32]:
    """All that the graph reads, in its order."""
    user_units = weights.user_tower[-1].kernel.shape[1]
    layers = [array for layer in (*weights.user_tower, *weights.fusion[1:]) for array in (layer.kernel, layer.bias)]
    table = np.exp(product_fusion) if _splits(product_fusion) else np.zeros(0, np.float32)
    return [np.ascontiguousarray(array) for array in (*layers, weights.fusion[0].kernel[:user_units], product_fusion, table)]


def _graph(weights: TwoTowerWeights, product_fusion: Float32) -> tuple[Any, list[Any]]:
    """The traced function, (users, 449) → (users, products), and its variables.

    Variables rather than constants, so that the buckets share one copy and another release can move in.
    """
    import tensorflow as tf

    variables = [tf.Variable(array, trainable=False) for array in _arrays(weights, product_fusion)]
    *layers, user_kernel, products, product_exp = variables
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    tower, rest = pairs[: len(weights.user_tower)], pairs[len(weights.user_tower) :]
    tower_activations = [layer.activation for layer in weights.user_tower]
    rest_activations = [layer.activation for layer in weights.fusion[1:]]
    first = weights.fusion[0].activation
    split = _splits(product_fusion)
    count, units = product_fusion.shape
    users_per_step = _users_per_step(count)

    def fuse(users: Any) -> Any:
        """(users, units) → (users, products)."""
        x = users[:, tf.newaxis, :] + products[tf.newaxis, :, :]
        if split and first in ("elu", "selu"):
            x = _exponential_unit(x, tf.minimum(tf.exp(users)[:, tf.newaxis, :] * product_exp[tf.newaxis, :, :], 1.0), first)
        else:
            x = _activate(x, first)
        x = tf.reshape(x, [-1, units])
        for (kernel, bias), activation in zip(rest, rest_activations, strict=True):
            x = _activate(tf.matmul(x, kernel) + bias, activation)
        return tf.reshape(x, [-1, count])

    def score(rows: Any) -> Any:
        x = rows
        for (kernel, bias), activation in zip(tower, tower_activations, strict=True):
            x = _activate(tf.matmul(x, kernel) + bias, activation)
        x = tf.matmul(x, user_kernel)
        if rows.shape[0] <= users_per_step:
            return fuse(x)
        return tf.reshape(tf.map_fn(fuse, tf.reshape(x, [-1, users_per_step, units])), [-1, count])

    return score, variables


def _users_per_step(product_count: int) -> int:
    """The largest bucket whose (user, product) pairs fit a step; at least 1."""
    return max((size for size in BUCKETS if size * product_count <= _ROWS_PER_STEP), default=1)


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
