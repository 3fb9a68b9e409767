"""The numpy reference of towers, fusion and split fusion: the mathematics that Keras and XLA are tested against."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from twotower.features import MAX_RATING, MIN_RATING, Float32

Activation = Literal["linear", "relu", "leaky_relu", "elu", "selu"]

LEAKY_RELU_SLOPE: Final = 0.2
"""Keras' default ``negative_slope``."""
SELU_ALPHA: Final = 1.6732632423543772
SELU_SCALE: Final = 1.0507009873554805


def activate(x: Float32, activation: Activation) -> Float32:
    """Apply an activation elementwise; ``exp`` of the clipped negative part, as the XLA head has it."""
    if activation == "linear":
        return x
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "leaky_relu":
        return np.where(x >= 0, x, np.float32(LEAKY_RELU_SLOPE) * x)
    negative = np.expm1(np.minimum(x, 0))
    if activation == "elu":
        return np.maximum(x, 0) + negative
    if activation == "selu":
        return np.float32(SELU_SCALE) * (np.maximum(x, 0) + np.float32(SELU_ALPHA) * negative)
    raise ValueError(f"activation {activation!r} is not known")


@dataclass(frozen=True)
class Dense:
    """One dense layer: ``activation(x @ kernel + bias)``; kernel (inputs, units), bias (units,), float32."""

    kernel: Float32
    bias: Float32
    activation: Activation

    def __call__(self, x: Float32) -> Float32:
        return activate(x @ self.kernel + self.bias, self.activation)


@dataclass(frozen=True)
class TwoTowerWeights:
    """Weights of the whole network; dropout has none and is not here.

    Attributes:
        user_tower: layers from a user row (449) to the user tower (64). A model without the ``is_anonymous_user`` input
            has a zero last row in its first kernel, so that serving knows one layout.
        product_tower: layers from a product row (448) to the product tower (64).
        fusion: layers from user tower ‖ product tower (128) to the output (1); at least two.
    """

    user_tower: tuple[Dense, ...]
    product_tower: tuple[Dense, ...]
    fusion: tuple[Dense, ...]

    @property
    def parameter_count(self) -> int:
        """Weights and biases, the zero row of a model without ``is_anonymous_user`` included."""
        return sum(
            layer.kernel.size + layer.bias.size for layer in (*self.user_tower, *self.product_tower, *self.fusion)
        )


def run_layers(layers: tuple[Dense, ...], x: Float32) -> Float32:
    """(batch, inputs) → (batch, units of the last layer)."""
    for layer in layers:
        x = layer(x)
    return x


def full_forward(weights: TwoTowerWeights, users: Float32, products: Float32) -> Float32:
    """The network as trained, one row a (user, product) pair: (rows, 449) and (rows, 448) → (rows,) float32 ratings."""
    user_tower = run_layers(weights.user_tower, users)
    product_tower = run_layers(weights.product_tower, products)
    return run_layers(weights.fusion, np.concatenate([user_tower, product_tower], axis=1))[:, 0]


def product_fusion(weights: TwoTowerWeights, product_towers: Float32) -> Float32:
    """The product's half of the first fusion layer, bias included: ``Wp·p + b``, (products, 64) → (products, units)."""
    first = weights.fusion[0]
    return product_towers @ first.kernel[-product_towers.shape[1] :] + first.bias


def user_fusion(weights: TwoTowerWeights, user_towers: Float32) -> Float32:
    """The user's half of the first fusion layer: ``Wu·u``, (users, 64) → (users, units)."""
    return user_towers @ weights.fusion[0].kernel[: user_towers.shape[1]]


def split_fusion(weights: TwoTowerWeights, users: Float32, products: Float32) -> Float32:
    """Scores of every user with every product from the two halves of the first fusion layer.

    ``W·[u;p] + b = Wu·u + (Wp·p + b)``: the second term is the same for every user and is computed once a release.

    Args:
        users: (users, units) from :func:`user_fusion`.
        products: (products, units) from :func:`product_fusion`.

    Returns:
        (users, products) float32.
    """
    hidden = activate(users[:, np.newaxis, :] + products[np.newaxis, :, :], weights.fusion[0].activation)
    return run_layers(weights.fusion[1:], hidden.reshape(-1, hidden.shape[-1])).reshape(len(users), len(products))


def score_catalogue(weights: TwoTowerWeights, users: Float32, products: Float32) -> Float32:
    """User rows (users, 449) against precomputed :func:`product_fusion` rows → (users, products) float32."""
    return split_fusion(weights, user_fusion(weights, run_layers(weights.user_tower, users)), products)


def as_rating(score: Float32) -> Float32:
    """A network output shown as a rating: clipped to 0–5."""
    rating: Float32 = np.minimum(np.maximum(score, np.float32(MIN_RATING)), np.float32(MAX_RATING)).astype(
        np.float32, copy=False
    )
    return rating


def top_k(scores: Float32, k: int) -> np.ndarray:
    """Indices of the k best of each row, best first, equal scores by ascending index.

    Args:
        scores: (users, products) float32; ``-inf`` marks a product that must not come back. A NaN counts as one, in
            its own row only.
        k: at most this many.

    Returns:
        (users, min(k, products)) int64; products with ``-inf`` come last and are for the caller to drop.
    """
    users, products = scores.shape
    k = min(k, products)
    if k == 0 or users == 0:
        return np.zeros((users, k), np.int64)
    if products >= _BLOCK * 2 * k:
        return np.stack([_top_k_wide(row, k) for row in scores])
    if users <= _FEW:
        return np.stack(
            [_best(row, np.flatnonzero(row >= np.partition(row, products - k)[products - k]), k) for row in scores]
        )
    # The k-th best value decides; ties at it are taken by index, which a plain partition does not promise.
    least = np.partition(scores, products - k, axis=1)[:, products - k, np.newaxis]
    chosen = scores >= least
    counts = np.count_nonzero(chosen, axis=1)
    if counts.min() < k:
        return top_k(_without_nan(scores), k)
    for row in np.flatnonzero(counts > k):
        best = _best(scores[row], np.flatnonzero(chosen[row]), k)
        chosen[row] = False
        chosen[row, best] = True
    candidates = np.flatnonzero(chosen).reshape(users, k) - np.arange(users)[:, np.newaxis] * products
    order = np.argsort(-np.take_along_axis(scores, candidates, axis=1), axis=1, kind="stable")
    return np.take_along_axis(candidates, order, axis=1)


_BLOCK: Final = 256
_FEW: Final = 4
"""Users up to which one after the other is faster than all at once."""


def _top_k_wide(values: Float32, k: int) -> np.ndarray:
    """The k best of one long row: the k-th largest of the blocks' maxima is at most the k-th best value, and few values
    reach it.
    """
    blocks = len(values) // _BLOCK
    maxima = values[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    least = np.partition(maxima, blocks - k)[blocks - k]
    return _best(values, np.flatnonzero(values >= least), k)


def _best(values: Float32, candidates: np.ndarray, k: int) -> np.ndarray:
    """The k best of some ascending indices, best first, equal values by index."""
    if len(candidates) < k:
        values, candidates = _without_nan(values), np.arange(len(values))
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


def _without_nan(values: Float32) -> Float32:
    """Put −inf in the place of NaN, which a partition takes for the largest, so that too few values reach its k-th."""
    return np.where(np.isnan(values), np.float32(-np.inf), values)
