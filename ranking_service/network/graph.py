"""The network as a JAX function for XLA.

How it is written decides how fast it runs (docs/adr/0008-xla-head.md has the figures):

- elu and selu are written with ``exp``: XLA's ``expm1`` is several times slower on CPU and the scores differ by 4e-6.
- In the first fusion layer ``exp(u + p) = exp(u)·exp(p)``, so that layer needs no exponential per (user, product) pair
  at all.
- Users go through the fusion head a few at a time, and large catalogues a tile at a time, so that activations stay in
  the cache instead of being written out to fresh pages.
"""

import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from twotower.features import Float32
from twotower.model import LEAKY_RELU_SLOPE, SELU_ALPHA, SELU_SCALE, Activation, TwoTowerWeights

BUCKETS: Final = (1, 2, 4, 8, 16, 32)
"""Batch sizes that are compiled, in users.

The matrix products of the user tower for more users would be handed to XLA's one thread, where lanes would wait for
each other.
"""
PAIRS_PER_STEP: Final = 1200
"""(user, product) pairs that go through the fusion head at once: 0.3 MB of activations in the first layer."""
COMPILER_OPTIONS: Final = {"xla_cpu_prefer_vector_width": 512}
"""A tenth faster where the CPU has AVX-512; elsewhere without effect."""
_LARGEST_TABLE: Final = 100_000
"""Products up to which ``exp(p)`` is kept; above, memory matters more."""
_LARGEST_PRODUCT_EXPONENT: Final = 40.0
"""Up to here ``min(exp(u)·exp(p), 1)`` is ``exp(min(u + p, 0))`` for every float32 u.

Where exp(u) overflows or underflows, the true value is 1 or below 1e-20.
"""


class Parameters(NamedTuple):
    """All that the function reads.

    Attributes:
        user_tower: (kernel, bias) of each layer.
        user_kernel: (64, units), the user's half of the first fusion layer.
        rest: (kernel, bias) of the fusion layers after the first.
        products: (products, units), the products' half of the first fusion layer, bias included.
        table: ``exp(products)``; None where it would not fit or not pay.
    """

    user_tower: tuple[tuple[Float32, Float32], ...]
    user_kernel: Float32
    rest: tuple[tuple[Float32, Float32], ...]
    products: Float32
    table: Float32 | None


Activations = tuple[Activation, ...]


def import_jax() -> Any:
    """Import the ``jax`` module, for the CPU, computing in the thread that calls it.

    A batch is cut into one lane per core (:class:`ranking_service.network.lanes.Lanes`), so XLA's own threads would
    only meet each other there; and a hand-over to another thread costs as much as one user. The import takes half a
    second, so call it off the event loop.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("NPROC", "1")  # the size of XLA's thread pool, read when its CPU client is made
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax


def parameters(weights: TwoTowerWeights, product_fusion: Float32) -> Parameters:
    """Put what the function reads of a network and a catalogue into JAX arrays.

    An aligned, contiguous `product_fusion` is not copied.
    """
    first, *rest = weights.fusion
    arrays = Parameters(
        user_tower=tuple((layer.kernel, layer.bias) for layer in weights.user_tower),
        user_kernel=first.kernel[: weights.user_tower[-1].kernel.shape[1]],
        rest=tuple((layer.kernel, layer.bias) for layer in rest),
        products=product_fusion,
        table=np.exp(product_fusion) if _has_table(first.activation, product_fusion) else None,
    )
    params: Parameters = import_jax().device_put(arrays, may_alias=True)
    return params


def activations(weights: TwoTowerWeights) -> Activations:
    """List the activation of every layer of the user tower, then of the fusion head."""
    return tuple(layer.activation for layer in (*weights.user_tower, *weights.fusion))


def build(names: Activations) -> Callable[[Any, Parameters], Any]:
    """Build the function to be compiled: (users, 449) and parameters → (users, products).

    Args:
        names: from :func:`activations`.
    """
    import_jax()
    from jax import lax
    from jax import numpy as jnp

    def layers(x: Any, kernels: tuple[tuple[Float32, Float32], ...], names: Activations) -> Any:
        for (kernel, bias), activation in zip(kernels, names, strict=True):
            x = _activate(x @ kernel + bias, activation)
        return x

    def score(rows: Any, params: Parameters) -> Any:
        depth = len(params.user_tower)
        first, rest = names[depth], names[depth + 1 :]
        users = layers(rows, params.user_tower, names[:depth]) @ params.user_kernel
        count = len(params.products)

        def fuse(users: Any, products: Any, table: Any) -> Any:
            """Score users: (users, units) and (products, units) → (users, products)."""
            x = users[:, None, :] + products[None, :, :]
            if table is None:
                x = _activate(x, first)
            else:
                x = _exponential_unit(x, jnp.minimum(jnp.exp(users)[:, None, :] * table[None, :, :], 1.0), first)
            return layers(x.reshape(-1, x.shape[-1]), params.rest, rest).reshape(len(users), len(products))

        def few(users: Any) -> Any:
            """Score the users of one step, (users, units) → (users, products)."""
            return fuse(users, params.products, params.table)

        def tiled(user: Any) -> Any:
            """Score one user, (units,) → (products,), tile by tile; the last reaches back, so all are of one size."""

            def one(tile: Any, scores: Any) -> Any:
                start = jnp.minimum(tile * PAIRS_PER_STEP, count - PAIRS_PER_STEP)
                products = lax.dynamic_slice_in_dim(params.products, start, PAIRS_PER_STEP)
                table = None if params.table is None else lax.dynamic_slice_in_dim(params.table, start, PAIRS_PER_STEP)
                part = fuse(user[None], products, table)[0]
                return lax.dynamic_update_slice_in_dim(scores, part, start, 0)

            return lax.fori_loop(0, -(-count // PAIRS_PER_STEP), one, jnp.zeros(count, jnp.float32))

        if count > PAIRS_PER_STEP:
            return lax.map(tiled, users)
        step = max(size for size in BUCKETS if size == 1 or size * count <= PAIRS_PER_STEP)
        if len(rows) <= step:
            return few(users)
        return lax.map(few, users.reshape(-1, step, users.shape[1])).reshape(len(rows), count)

    return score


def _has_table(first: Activation, product_fusion: Float32) -> bool:
    if first not in ("elu", "selu") or len(product_fusion) > _LARGEST_TABLE:
        return False
    return bool(np.abs(product_fusion).max(initial=0) <= _LARGEST_PRODUCT_EXPONENT)


def _activate(x: Any, activation: Activation) -> Any:
    from jax import numpy as jnp

    if activation == "linear":
        return x
    if activation == "relu":
        return jnp.maximum(x, 0.0)
    if activation == "leaky_relu":
        return jnp.where(x >= 0, x, LEAKY_RELU_SLOPE * x)
    return _exponential_unit(x, jnp.exp(jnp.minimum(x, 0.0)), activation)


def _exponential_unit(x: Any, negative_exp: Any, activation: Activation) -> Any:
    """Apply elu or selu to x, given ``exp(min(x, 0))``."""
    from jax import numpy as jnp

    if activation == "elu":
        return jnp.maximum(x, 0.0) + negative_exp - 1.0
    return SELU_SCALE * (jnp.maximum(x, 0.0) + SELU_ALPHA * (negative_exp - 1.0))
