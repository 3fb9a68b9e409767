"""The loss of `best`: popularity for everybody, and a taught lift for users with a history.

Each step scores every product, or as many as :data:`MAX_CANDIDATES`, for some *contexts* (user rows) and sums

1. the cold and the anonymous context: softmax of score / τ against popularity at the end of the training period;
2. contexts of users with a history: squared error of their *lift*, ``(s(u, i) − s(cold, i)) / τ``, to the teacher's
   (:mod:`trainer.lift.teacher`), each less its mean over the products of the context.

The lift is learned as it is served. A softmax against ``log p_T + lift`` would teach it only for what is popular at the
end of the training period, and served with live popularity it is needed for what will be popular later: so half of the
weight of part 2 is spread evenly over the products, and half by p_T. Products that the user had reviewed are left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.network.presets import Preset
from trainer.network.tensorflow_runtime import load_tensorflow, make_deterministic
from trainer.network.towers import SplitNetwork, build_network, build_optimizer
from twotower.features import TOWER_DIM, Float32, Int64

MAX_CANDIDATES: Final = 2048
"""A step sees at most so many products; of more they are drawn uniformly."""
_WARM_UP_SHARE: Final = 0.1
_EVEN_SHARE: Final = 0.5
"""Share of the weight in part 2 that is spread evenly over the products; the rest goes by popularity."""
_REPORTED_STEPS: Final = 10
_COLD_CONTEXTS: Final = 2


@dataclass(frozen=True)
class ListwiseOptions:
    """What a user may choose; ``twotower tune`` searches it.

    Attributes:
        steps: optimiser steps; the learning rate rises over the first tenth and then falls along a cosine.
        learning_rate: the highest.
        contexts: C, contexts of part 2 per step.
        temperature: τ: the logits are score / τ, so a rating-sized output spans the range of log popularity.
        half_life_days: of popularity; None fits it on the training period.
    """

    steps: int = 600
    learning_rate: float = 4e-3
    contexts: int = 48
    temperature: float = 0.1
    half_life_days: float | None = None


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
        taught: contexts of users with a history.
        lift: (C, P) the teacher's, up to a constant per context.
    """

    taught: Contexts
    lift: Float32


@dataclass(frozen=True)
class LossPoint:
    """Mean losses over a few steps: their sum, that of the contexts without a history, and that of the lift."""

    step: int
    loss: float
    cold: float
    lift: float


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
        steps: what to learn from, step by step, without end.
        options: steps, learning rate and temperature.
        seed: of initial weights, dropout and candidates.
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
    stepper = _Stepper(
        network, preset, build_optimizer(preset, schedule), products, temperature=options.temperature, seed=seed
    )
    popularity = np.exp(log_popularity - log_popularity.max())
    rng = np.random.default_rng([seed, 2])
    losses, curve = [], []
    for number in range(1, options.steps + 1):
        step = next(steps)
        candidates = _candidates(len(products), rng)
        losses.append(stepper.take(number, _batch(step, cold, popularity, candidates)))
        on_step(1)
        if number % _REPORTED_STEPS == 0:
            parts = np.mean(losses, axis=0)
            curve.append(LossPoint(number, float(parts.sum()), *parts.tolist()))
            losses.clear()
    return network, curve


def _candidates(products: int, rng: np.random.Generator) -> Int64:
    """Draw the products of a step, ascending."""
    if products <= MAX_CANDIDATES:
        return np.arange(products)
    return np.sort(rng.choice(products, MAX_CANDIDATES, replace=False))


def _batch(step: Step, cold: Float32, popularity: Float32, candidates: Int64) -> dict[str, NDArray[Any]]:
    """Put together the arrays of one step: the cold contexts, and the taught ones under them."""
    share = popularity[candidates] / popularity[candidates].sum()
    spread = _EVEN_SHARE / len(candidates) + (1.0 - _EVEN_SHARE) * share
    weight = np.where(step.taught.seen[:, candidates], 0.0, spread)
    # Somebody who has reviewed everything teaches nothing.
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return {
        "users": np.concatenate([cold, step.taught.users]),
        "candidates": candidates,
        "share": share.astype(np.float32),
        "weight": weight.astype(np.float32),
        "lift": step.lift[:, candidates],
    }


class _Stepper:
    """One optimiser step inside a graph."""

    def __init__(
        self, network: Any, preset: Preset, optimizer: Any, products: Float32, *, temperature: float, seed: int
    ) -> None:
        import tensorflow as tf

        self._parts = SplitNetwork.of(network)
        self._network, self._rate, self._seed = network, preset.fusion_dropout, seed
        self._temperature = temperature
        self._products = tf.constant(products)
        self._optimizer, self._variables = optimizer, network.trainable_variables
        optimizer.build(self._variables)
        self._step = tf.function(self._descend, reduce_retracing=True)

    def take(self, number: int, batch: dict[str, NDArray[Any]]) -> Float32:
        """Take one step; returns the two losses."""
        import tensorflow as tf

        losses: Float32 = self._step(
            tf.constant(number), {name: tf.constant(array) for name, array in batch.items()}
        ).numpy()
        return losses

    def _descend(self, number: Any, batch: dict[str, Any]) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            losses = self._losses(number, batch)
            loss = tf.reduce_sum(losses)
        self._optimizer.apply(tape.gradient(loss, self._variables), self._variables)
        return losses

    def _losses(self, number: Any, batch: dict[str, Any]) -> Any:
        import tensorflow as tf

        users = self._parts.users(batch["users"], training=True)
        products = tf.gather(self._parts.products(self._products, training=True), batch["candidates"])
        logits = self._scores(number, users, products) / self._temperature
        popular = -tf.reduce_mean(tf.reduce_sum(batch["share"] * tf.nn.log_softmax(logits[:_COLD_CONTEXTS]), axis=1))
        # The first context is the cold one.
        error = logits[_COLD_CONTEXTS:] - logits[:1] - batch["lift"]
        error -= tf.reduce_sum(batch["weight"] * error, axis=1, keepdims=True)
        taught = tf.reduce_mean(tf.reduce_sum(batch["weight"] * error * error, axis=1))
        return tf.stack([popular, taught])

    def _scores(self, number: Any, users: Any, products: Any) -> Any:
        """Score every context with every candidate: user towers (C, 64) and product towers (P, 64) → (C, P)."""
        import tensorflow as tf

        first, second, last = (self._network.get_layer(name) for name in ("fusion_1", "fusion_2", "Final_Output"))
        halves = users @ first.kernel[:TOWER_DIM], products @ first.kernel[TOWER_DIM:] + first.bias
        hidden = first.activation(halves[0][:, tf.newaxis, :] + halves[1][tf.newaxis, :, :])
        mask = tf.random.stateless_uniform([tf.shape(users)[0], 1, first.units], [self._seed, number]) >= self._rate
        hidden *= tf.cast(mask, hidden.dtype) / (1.0 - self._rate)
        return last(second(hidden))[:, :, 0]
