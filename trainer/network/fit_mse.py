"""Fitting the network: MSE on reviews and negatives, the best epoch kept."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trainer.features.samples import SAMPLES_PER_REVIEW, Samples
from trainer.network.presets import Preset
from trainer.network.tensorflow_runtime import load_tensorflow, make_deterministic
from trainer.network.towers import FeatureTables, SplitNetwork, build_network, build_optimizer
from twotower.features import USER_DIM, Float32, Int32, Int64

if TYPE_CHECKING:
    from trainer.network.fit_lift import LossPoint

_STEPS_PER_CALL: Final = 32
_EVALUATION_BATCH: Final = 16_384
_MAX_UNTRAINED: Final = 2**20
"""The untrained network is measured on this many training samples: it only says where the curve starts."""


@dataclass(frozen=True)
class FitOptions:
    """What a user may choose.

    Attributes:
        epochs: at most this many passes over the samples.
        batch_size: samples per step.
        patience: epochs without a better validation MSE before the fit ends.
        learning_rate: of the optimiser. Twice what batch 256 takes, by the square root of the batch size.
        seed: of initial weights, order of samples and dropout.
    """

    epochs: int = 10
    batch_size: int = 1024
    patience: int = 3
    learning_rate: float = 2e-3
    seed: int = 7


@dataclass(frozen=True)
class Epoch:
    """Losses after one pass; epoch 0 is the untrained network.

    Attributes:
        epoch: 0, 1, …
        mse, mae: on the training samples; from epoch 1 on the mean over the epoch's steps, with dropout.
        validation_mse, validation_mae: on the validation samples; None if there are none.
    """

    epoch: int
    mse: float
    mae: float
    validation_mse: float | None
    validation_mae: float | None


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        network: a ``keras.Model`` with the weights of `best_epoch`.
        curve: from epoch 0 on; for `best`, losses every few steps.
        best_epoch: index into `curve` of the lowest validation MSE; of the last point without validation samples and
            for `best`.
        constants: those of the data, for a preset that fits some.
    """

    network: Any
    curve: "tuple[Epoch, ...] | tuple[LossPoint, ...]"
    best_epoch: int
    constants: Mapping[str, float] = field(default_factory=dict)

    def as_metrics(self) -> dict[str, object]:
        """What the manifest says of the fit."""
        fitted = {"constants": dict(self.constants)} if self.constants else {}
        return {"best_epoch": self.best_epoch, "curve": [asdict(point) for point in self.curve], **fitted}


def fit_mse(
    preset: Preset,
    tables: FeatureTables,
    samples: tuple[Samples, Samples],
    options: FitOptions,
    *,
    on_step: Callable[[int], None],
) -> Fitted:
    """Train a preset.

    Args:
        preset: the recipe.
        tables: what the samples point at.
        samples: to learn from, and to choose the epoch by; the latter may be empty.
        options: see :class:`FitOptions`.
        on_step: called with the number of steps done since the last call, of ``epochs · steps_per_epoch(…)`` at most.
    """
    load_tensorflow()
    training, validation = samples
    make_deterministic(options.seed)
    network = build_network(preset)
    loop = _Loop(network, tables, build_optimizer(preset, options.learning_rate))
    curve = [_epoch(0, loop.evaluate(training.thinned(_MAX_UNTRAINED)), loop.evaluate(validation))]
    best = _EarlyStopping(network, options.patience)
    rng = np.random.default_rng(options.seed)
    for number in range(1, options.epochs + 1):
        losses = loop.run(training, _Order(len(training), options.batch_size, rng), on_step)
        held_out = loop.evaluate(validation)
        curve.append(_epoch(number, losses, held_out))
        if held_out and best.update(number, held_out[0]):
            break
    return Fitted(network, tuple(curve), best.restore() or curve[-1].epoch)


class _Order:
    """The order of an epoch's samples.

    A review stays beside its negatives: they share a user state, whose tower then runs once for all.

    Args:
        samples: how many there are.
        batch_size: of a step; the last one may be shorter.
        rng: shuffles the reviews.
    """

    def __init__(self, samples: int, batch_size: int, rng: np.random.Generator) -> None:
        self._samples, self._batch_size = samples, batch_size
        self._reviews = rng.permutation(samples // SAMPLES_PER_REVIEW)

    def calls(self) -> Iterator[Int64]:
        """Yield rows of up to :data:`_STEPS_PER_CALL` steps, (steps, batch) int64; a short last batch goes alone."""
        full = self._samples // self._batch_size
        for first in range(0, full, _STEPS_PER_CALL):
            last = min(first + _STEPS_PER_CALL, full)
            yield self._rows(first * self._batch_size, last * self._batch_size).reshape(last - first, self._batch_size)
        if full * self._batch_size < self._samples:
            yield self._rows(full * self._batch_size, self._samples)[np.newaxis]

    def _rows(self, start: int, end: int) -> Int64:
        review, sample = np.divmod(np.arange(start, end), SAMPLES_PER_REVIEW)
        rows: Int64 = self._reviews[review] * SAMPLES_PER_REVIEW + sample
        return rows


class _Loop:
    """Steps of gradient descent, with each tower run once per distinct row of a step.

    Feature rows are gathered by index inside the graph. Most reviews are a user's first and all of those see the same
    state, so a step of 1,024 samples needs some 40 user
    towers and no more product towers than there are products, in place of 1,024 each; samples that share a row share
    its dropout mask. The user rows of one call are put together for it, so that memory does not grow with the number of
    states.
    """

    def __init__(self, network: Any, tables: FeatureTables, optimizer: Any) -> None:
        import tensorflow as tf

        self._users, self._products = tables.users, tf.constant(tables.products)
        self._parts = SplitNetwork.of(network)
        self._optimizer = optimizer
        self._variables = network.trainable_variables
        optimizer.build(self._variables)
        indices, labels = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)
        users, row = tf.TensorSpec([None, USER_DIM], tf.float32), tf.TensorSpec([None], tf.int32)
        self._steps = tf.function(self._take_steps, input_signature=[users, indices, indices, labels])
        self._predict = tf.function(self._forward, input_signature=[users, row, row])

    def run(self, samples: Samples, order: _Order, on_step: Callable[[int], None]) -> tuple[float, float]:
        """Run one epoch; returns mean MSE and MAE over its samples as they were met."""
        squared = absolute = 0.0
        for rows in order.calls():
            sums = self._steps(*self._gathered(samples.state[rows]), samples.product[rows], samples.label[rows])
            squared, absolute = squared + float(sums[0]), absolute + float(sums[1])
            on_step(len(rows))
        return squared / len(samples), absolute / len(samples)

    def _gathered(self, state: Int32) -> tuple[Float32, Int32]:
        """The distinct user rows of some samples, and which of them each sample has."""
        distinct, inverse = np.unique(state, return_inverse=True)
        return self._users[distinct], inverse.reshape(state.shape).astype(np.int32)

    def evaluate(self, samples: Samples) -> tuple[float, float] | None:
        """MSE and MAE without dropout; None for no samples."""
        if not len(samples):
            return None
        squared = absolute = 0.0
        for start in range(0, len(samples), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            output = self._predict(*self._gathered(samples.state[part]), samples.product[part])
            error = output.numpy().astype(np.float64) - samples.label[part]
            squared += float((error**2).sum())
            absolute += float(np.abs(error).sum())
        return squared / len(samples), absolute / len(samples)

    def _forward(self, rows: Any, state: Any, product: Any, training: bool = False) -> Any:
        """User rows, and (samples,) indices into them and the product table → (samples,) outputs."""
        import tensorflow as tf

        states, state_of_sample = tf.unique(state)
        products, product_of_sample = tf.unique(product)
        users = self._parts.users(tf.gather(rows, states), training=training)
        towers = self._parts.products(tf.gather(self._products, products), training=training)
        pairs = [tf.gather(users, state_of_sample), tf.gather(towers, product_of_sample)]
        return self._parts.head(pairs, training=training)[:, 0]

    def _take_steps(self, rows: Any, state: Any, product: Any, label: Any) -> Any:
        """Take steps, (steps, batch), one after the other; returns the sums of squared and of absolute errors."""
        import tensorflow as tf

        sums = tf.zeros(2, tf.float64)
        for step in tf.range(tf.shape(state)[0]):
            with tf.GradientTape() as tape:
                error = self._forward(rows, state[step], product[step], training=True) - label[step]
                loss = tf.reduce_mean(error * error)
            self._optimizer.apply(tape.gradient(loss, self._variables), self._variables)
            exact = tf.cast(error, tf.float64)
            sums += tf.stack([tf.reduce_sum(exact * exact), tf.reduce_sum(tf.abs(exact))])
        return sums


class _EarlyStopping:
    """Remembers the weights of the best epoch and says when none was better for a while."""

    def __init__(self, network: Any, patience: int) -> None:
        self._network = network
        self._patience = patience
        self._epoch = 0
        self._loss = math.inf
        self._weights: list[np.ndarray] | None = None

    def update(self, epoch: int, loss: float) -> bool:
        """Note an epoch; returns whether to end the fit."""
        if loss < self._loss:
            self._epoch, self._loss = epoch, loss
            self._weights = [np.copy(weight.numpy()) for weight in self._network.trainable_weights]
        return epoch - self._epoch >= self._patience

    def restore(self) -> int:
        """Put the weights back; returns their epoch, 0 if there was nothing to choose by."""
        if self._weights is not None:
            for variable, value in zip(self._network.trainable_weights, self._weights, strict=True):
                variable.assign(value)
        return self._epoch


def steps_per_epoch(samples: Samples, options: FitOptions) -> int:
    """Optimiser steps of one pass."""
    return -(-len(samples) // options.batch_size)


def _epoch(number: int, training: tuple[float, float] | None, validation: tuple[float, float] | None) -> Epoch:
    assert training is not None
    return Epoch(number, *(float(value) for value in training), *(validation or (None, None)))
