"""Fitting the network: MSE on reviews and negatives, the best epoch kept."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from trainer.presets import Preset
from trainer.runtime import load_tensorflow, make_deterministic
from trainer.samples import Samples
from trainer.towers import FeatureTables, build_network, with_feature_tables

_STEPS_PER_CALL: Final = 32
_EVALUATION_BATCH: Final = 4096


@dataclass(frozen=True)
class FitOptions:
    """What a user may choose.

    Attributes:
        epochs: at most this many passes over the samples.
        batch_size: samples a step.
        patience: epochs without a better validation MSE before the fit ends.
        learning_rate: of the optimiser.
        seed: of initial weights, order of samples and dropout.
    """

    epochs: int = 10
    batch_size: int = 256
    patience: int = 3
    learning_rate: float = 1e-3
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
        curve: from epoch 0.
        best_epoch: that of the lowest validation MSE; the last without validation samples.
    """

    network: Any
    curve: tuple[Epoch, ...]
    best_epoch: int

    def as_metrics(self) -> dict[str, object]:
        """For the manifest."""
        return {"best_epoch": self.best_epoch, "curve": [asdict(epoch) for epoch in self.curve]}


def fit(
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
    import keras

    training, validation = samples
    make_deterministic(options.seed)
    network = build_network(preset)
    model = with_feature_tables(network, tables)
    optimizer = {"adam": keras.optimizers.Adam, "nadam": keras.optimizers.Nadam}[preset.optimizer](options.learning_rate)
    model.compile(optimizer, "mse", metrics=["mae"], steps_per_execution=_STEPS_PER_CALL)
    curve = [_epoch(0, _evaluate(model, training), _evaluate(model, validation))]

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        """Records the curve and the progress."""

        done = 0

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras' signature
            on_step(batch + 1 - self.done)
            self.done = batch + 1

        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            self.done = 0
            held_out = _evaluate(model, validation)
            curve.append(_epoch(epoch + 1, (logs["loss"], logs["mae"]), held_out))
            if held_out:
                best.update(epoch + 1, held_out[0])

    best = _Best(model, options.patience)
    model.fit(
        [training.state, training.product],
        training.label,
        batch_size=options.batch_size,
        epochs=options.epochs,
        shuffle=True,
        verbose=0,
        callbacks=[Watch()],
    )
    return Fitted(network, tuple(curve), best.restore() or curve[-1].epoch)


class _Best:
    """Remembers the weights of the best epoch and ends the fit when none was better for a while."""

    def __init__(self, model: Any, patience: int) -> None:
        self._model = model
        self._patience = patience
        self._epoch = 0
        self._loss = math.inf
        self._weights: list[np.ndarray] | None = None

    def update(self, epoch: int, loss: float) -> None:
        if loss < self._loss:
            self._epoch, self._loss = epoch, loss
            self._weights = [np.copy(weight.numpy()) for weight in self._model.trainable_weights]
        elif epoch - self._epoch >= self._patience:
            self._model.stop_training = True

    def restore(self) -> int:
        """Put the weights back; returns their epoch, 0 if there was nothing to choose by."""
        if self._weights is not None:
            for variable, value in zip(self._model.trainable_weights, self._weights, strict=True):
                variable.assign(value)
        return self._epoch


def steps_per_epoch(samples: Samples, options: FitOptions) -> int:
    """Optimiser steps of one pass."""
    return -(-len(samples) // options.batch_size)


def _evaluate(model: Any, samples: Samples) -> tuple[float, float] | None:
    """MSE and MAE without dropout; None for no samples."""
    if not len(samples):
        return None
    squared = absolute = 0.0
    for start in range(0, len(samples), _EVALUATION_BATCH):
        part = slice(start, start + _EVALUATION_BATCH)
        predicted = model.predict_on_batch([samples.state[part], samples.product[part]])[:, 0]
        error = predicted.astype(np.float64) - samples.label[part]
        squared += float((error**2).sum())
        absolute += float(np.abs(error).sum())
    return squared / len(samples), absolute / len(samples)


def _epoch(number: int, training: tuple[float, float] | None, validation: tuple[float, float] | None) -> Epoch:
    assert training is not None
    return Epoch(number, *(float(value) for value in training), *(validation or (None, None)))
