"""The loss of `best`: softmax over the whole catalogue, in four parts.

Each step scores every product for a few hundred *contexts* (user rows) and sums

1. weight 1: the cold and the anonymous context against popularity at the end of the training period;
2. weight 0.3: reviews of users with a history, each against its product, with ``log p_t − log p_T`` added to the logits, so that what was
   popular at that time explains what it can and the network learns the rest;
3. weight 1: contexts, half of them users with one review, against a teacher, ``softmax(log p_T + weight · z(similarity))``;
4. weight 0.05: squared error of the score against (rating − shrunk item mean), so that the output carries taste in stars too.

Products that the user had reviewed are masked. The dropout mask of the fusion head is shared over the products of one context: what is
compared within a list is then compared alike.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.presets import Preset
from trainer.runtime import load_tensorflow, make_deterministic
from trainer.towers import SplitNetwork, build_network
from twotower.features import TOWER_DIM, Float32, Int64

RATING_ROWS: Final = 192
MAX_CANDIDATES: Final = 2048
"""Of a larger catalogue each step sees this many products, drawn uniformly, beside its reviewed ones."""
_WARM_UP_SHARE: Final = 0.1
_WEIGHTS: Final = (1.0, 0.3, 1.0, 0.05)
_MASKED: Final = np.float32(-1e9)
_REPORTED_STEPS: Final = 10


@dataclass(frozen=True)
class ListwiseOptions:
    """What a user may choose; ``twotower tune`` searches it.

    Attributes:
        steps: optimiser steps; the learning rate rises over the first tenth and then falls along a cosine.
        learning_rate: the highest.
        contexts: C, contexts of each of the parts 2 and 3 in a step.
        temperature: τ: the logits are score / τ, so a rating-sized output spans the range of log popularity.
        half_life_days: of popularity; None fits it on the training period.
        teacher_weight: of text similarity in the teacher; None fits it on the training period.
    """

    steps: int = 300
    learning_rate: float = 2e-3
    contexts: int = 96
    temperature: float = 0.1
    half_life_days: float | None = None
    teacher_weight: float | None = None


@dataclass(frozen=True)
class Contexts:
    """Rows to learn from, drawn for one step.

    Attributes:
        users: (contexts, 449) user rows.
        seen: (contexts, products) bool.
    """

    users: Float32
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Step:
    """What one step learns from; C contexts, P products.

    Attributes:
        observed: contexts of reviews.
        observed_product: (C,) product of each.
        observed_offset: (C, P) ``log p_t − log p_T`` at the time of each.
        taught: contexts for the teacher.
        teacher: (C, P) its logits.
        rated_users: (rows, 449) user rows.
        rated_product: (rows,) their products.
        rated_residual: (rows,) rating − shrunk item mean.
    """

    observed: Contexts
    observed_product: Int64
    observed_offset: Float32
    taught: Contexts
    teacher: Float32
    rated_users: Float32
    rated_product: Int64
    rated_residual: Float32


@dataclass(frozen=True)
class LossPoint:
    """Mean losses over a few steps: the whole, and the four parts before weighting."""

    step: int
    loss: float
    cold: float
    observed: float
    teacher: float
    rating: float


def fit_listwise(
    preset: Preset,
    cold: Float32,
    products: Float32,
    log_popularity: Float32,
    steps: Iterator[Step],
    *,
    options: ListwiseOptions,
    seed: int,
    on_step: Callable[[int], None],
) -> tuple[Any, list[LossPoint]]:
    """Train a network of the preset's architecture.

    Args:
        preset: the architecture.
        cold: (2, 449) the cold and the anonymous user row.
        products: (products, 448) product rows.
        log_popularity: (products,) log p_T.
        steps: endless.
        options: steps, learning rate and temperature.
        seed: of weights, dropout and candidates.
        on_step: called with 1 after each step.

    Returns:
        The network, and the losses along the way.
    """
    load_tensorflow()
    import keras

    make_deterministic(seed)
    network = build_network(preset)
    warm_up = max(1, round(_WARM_UP_SHARE * options.steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, options.steps - warm_up, warmup_target=options.learning_rate, warmup_steps=warm_up
    )
    stepper = _Stepper(network, preset, keras.optimizers.AdamW(schedule), products, temperature=options.temperature, seed=seed)
    popularity = np.exp(log_popularity - log_popularity.max())
    rng = np.random.default_rng([seed, 2])
    losses, curve = [], []
    for number in range(1, options.steps + 1):
        step = next(steps)
        candidates = _candidates(len(products), step.observed_product, rng)
        losses.append(stepper.take(number, _batch(step, cold, popularity, candidates)))
        on_step(1)
        if number % _REPORTED_STEPS == 0:
            parts = np.mean(losses, axis=0)
            curve.append(LossPoint(number, float(parts @ np.array(_WEIGHTS)), *parts.tolist()))
            losses.clear()
    return network, curve


def _candidates(products: int, needed: Int64, rng: np.random.Generator) -> Int64:
    """Products of a step, ascending."""
    if products <= MAX_CANDIDATES:
        return np.arange(products)
    return np.union1d(rng.choice(products, MAX_CANDIDATES, replace=False), needed)


def _batch(step: Step, cold: Float32, popularity: Float32, candidates: Int64) -> dict[str, NDArray[Any]]:
    """The arrays of one step: cold, observed and taught contexts one under the other."""
    count = len(cold), len(step.observed.users), len(step.taught.users)
    own = step.observed_product
    seen = step.observed.seen.copy()
    seen[np.arange(len(own)), own] = False
    offset = np.zeros((sum(count), len(candidates)), np.float32)
    offset[count[0] : count[0] + count[1]] = np.where(seen, _MASKED, step.observed_offset)[:, candidates]
    offset[count[0] + count[1] :] = np.where(step.taught.seen, _MASKED, np.float32(0))[:, candidates]
    target = np.zeros_like(offset)
    target[: count[0]] = popularity[candidates] / popularity[candidates].sum()
    target[count[0] + np.arange(count[1]), np.searchsorted(candidates, own)] = 1.0
    target[count[0] + count[1] :] = _softmax(np.where(step.taught.seen, _MASKED, step.teacher)[:, candidates])
    return {
        "users": np.concatenate([cold, step.observed.users, step.taught.users]),
        "candidates": candidates,
        "offset": offset,
        "target": target,
        "part": np.repeat(np.arange(3), count).astype(np.int32),
        "rated_users": step.rated_users,
        "rated_product": step.rated_product,
        "rated_residual": step.rated_residual,
    }


def _softmax(logits: Float32) -> Float32:
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Float32 = (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


class _Stepper:
    """One optimiser step inside a graph."""

    def __init__(self, network: Any, preset: Preset, optimizer: Any, products: Float32, *, temperature: float, seed: int) -> None:
        import tensorflow as tf

        self._parts = SplitNetwork.of(network)
        self._network, self._rate, self._seed = network, preset.fusion_dropout, seed
        self._temperature = temperature
        self._products = tf.constant(products)
        self._optimizer, self._variables = optimizer, network.trainable_variables
        optimizer.build(self._variables)
        self._step = tf.function(self._descend, reduce_retracing=True)

    def take(self, number: int, batch: dict[str, NDArray[Any]]) -> Float32:
        """One step; the four losses."""
        import tensorflow as tf

        losses: Float32 = self._step(tf.constant(number), {name: tf.constant(array) for name, array in batch.items()}).numpy()
        return losses

    def _descend(self, number: Any, batch: dict[str, Any]) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            losses = self._losses(number, batch)
            loss = tf.tensordot(losses, tf.constant(_WEIGHTS), 1)
        self._optimizer.apply(tape.gradient(loss, self._variables), self._variables)
        return losses

    def _losses(self, number: Any, batch: dict[str, Any]) -> Any:
        import tensorflow as tf

        contexts = tf.shape(batch["users"])[0]
        users = self._parts.users(tf.concat([batch["users"], batch["rated_users"]], axis=0), training=True)
        products = self._parts.products(self._products, training=True)
        scores = self._scores(number, users[:contexts], tf.gather(products, batch["candidates"]))
        log_share = tf.nn.log_softmax(scores / self._temperature + batch["offset"])
        # A masked product has no share in the target either.
        entropies = -tf.reduce_sum(batch["target"] * tf.maximum(log_share, -1e4), axis=1)
        lists = tf.math.unsorted_segment_mean(entropies, batch["part"], 3)
        rated = self._parts.head([users[contexts:], tf.gather(products, batch["rated_product"])], training=True)[:, 0]
        return tf.concat([lists, [tf.reduce_mean((rated - batch["rated_residual"]) ** 2)]], axis=0)

    def _scores(self, number: Any, users: Any, products: Any) -> Any:
        """Every context with every candidate: user towers (C, 64) and product towers (P, 64) → (C, P)."""
        import tensorflow as tf

        first, second, last = (self._network.get_layer(name) for name in ("fusion_1", "fusion_2", "Final_Output"))
        halves = users @ first.kernel[:TOWER_DIM], products @ first.kernel[TOWER_DIM:] + first.bias
        hidden = first.activation(halves[0][:, tf.newaxis, :] + halves[1][tf.newaxis, :, :])
        kept = tf.random.stateless_uniform([tf.shape(users)[0], 1, first.units], [self._seed, number]) >= self._rate
        hidden *= tf.cast(kept, hidden.dtype) / (1.0 - self._rate)
        return last(second(hidden))[:, :, 0]
