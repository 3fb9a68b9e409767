"""The protocol: every method on every fold with every seed, pooled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.methods import Method, Scored
from trainer.evaluation.period import Period
from trainer.lift.calibration import Calibration
from trainer.measure.folds import Fold
from trainer.measure.metrics import CUT, ListQuality, expected_ranks, list_quality
from twotower.features import Float64
from twotower.model import top_k


@dataclass
class MethodRun:
    """What one method did, for each seed and each fold.

    Attributes:
        method: the method.
        ranks: (test rows,) of the product that was reviewed.
        squared_errors: (test rows,) of the predicted ratings; no folds for a method that predicts none.
        lists: coverage and diversity.
    """

    method: Method
    ranks: list[list[Float64]] = field(default_factory=list)
    squared_errors: list[list[Float64]] = field(default_factory=list)
    lists: list[list[ListQuality]] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """Everything measured.

    Attributes:
        runs: by method name, in the order of the table.
        warm: for each fold, (test rows,) bool, whether the user has a history.
        calibrations: for each fold.
        folds: the splits.
        seeds: used.
        about: the data, for the table's head.
    """

    runs: dict[str, MethodRun]
    warm: list[NDArray[np.bool_]]
    calibrations: list[Calibration]
    folds: list[Fold]
    seeds: list[int]
    about: dict[str, object]


def evaluate(
    methods: Sequence[Method],
    folds: list[Fold],
    seeds: list[int],
    period_of: Callable[[Fold, int], Period],
    *,
    about: dict[str, object],
    on_progress: Callable[[int], None],
) -> Evaluation:
    """Run all methods on all folds.

    Args:
        methods: what is compared; a method without a seed is run once per fold.
        folds: the splits.
        seeds: of the other methods.
        period_of: makes a fold ready with a seed.
        about: the data, passed on.
        on_progress: called with 1 after every fold and seed; methods differ too much for a rate.
    """
    runs = {method.name: MethodRun(method) for method in methods}
    for run in runs.values():
        for measured in (run.ranks, run.squared_errors, run.lists):
            measured.extend([] for _ in (seeds if run.method.seeded else seeds[:1]))
    warm, calibrations = [], []
    for fold in folds:
        for number, seed in enumerate(seeds):
            period = period_of(fold, seed)
            if not number:
                warm.append(period.warm)
                calibrations.append(period.calibration)
            for run in runs.values():
                if number < len(run.ranks):
                    _measure(run, number, period, run.method.score(period))
            on_progress(1)
    return Evaluation(runs, warm, calibrations, folds, seeds, about)


def _measure(run: MethodRun, seed: int, period: Period, scored: Scored) -> None:
    if scored.ratings is not None:
        error = scored.ratings.astype(np.float64) - period.reviews.rating[period.fold.test]
        run.squared_errors[seed].append(error**2)
    run.ranks[seed].append(expected_ranks(scored.scores, period.target, period.seen))
    lists = top_k(np.where(period.seen, -np.inf, scored.scores), CUT)
    run.lists[seed].append(list_quality(lists, period.product_vectors))
