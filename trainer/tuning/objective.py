"""What a trial is judged by: nDCG@10 on rolling folds of the first rows of a file, the last ones never looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trainer.data.reviews import Reviews
from trainer.evaluation.networks import scores_of, test_scores
from trainer.evaluation.period import Period, Periods
from trainer.lift.recipe import fit_best
from trainer.measure.folds import Fold, evaluation_rows, rolling_folds, select
from trainer.measure.metrics import Group, expected_ranks, group_masks, ndcg
from trainer.pipeline import TrainingOptions
from twotower.features import Float32, Float64

BLOCKS: Final = 5
"""A fold's test rows, in time order, are cut into so many instances that the pruner compares trials on."""


@dataclass(frozen=True)
class TuningRows:
    """What a search may see.

    Attributes:
        rows: reviews that are searched on, the first ones by time of those that ``twotower evaluate`` evaluates.
        usable: how many the file has that ``twotower evaluate`` evaluates.
        folds: rolling folds inside `rows`.
    """

    rows: Reviews
    usable: int
    folds: list[Fold]

    @classmethod
    def cut(cls, reviews: Reviews, share: float, folds: int) -> "TuningRows":
        """Take the first `share` of the rows that ``twotower evaluate`` evaluates."""
        usable = evaluation_rows(reviews)
        rows = select(usable, np.arange(round(len(usable) * share)))
        return cls(rows, len(usable), rolling_folds(len(rows), folds))

    def __str__(self) -> str:
        tests = ", ".join(f"{fold.test[0] + 1:,}–{fold.test[-1] + 1:,}" for fold in self.folds)
        unseen = f"{len(self.rows) + 1:,}–{self.usable:,}" if len(self.rows) < self.usable else "none"
        scored = f"scored on {tests}, each trained on all rows before"
        return f"rows by time, of {self.usable:,}: {scored}; not looked at: {unseen}"


class Diverged(ArithmeticError):
    """The network's output is no number."""


class Objective:
    """Scores recipes; what does not depend on their options is fitted once.

    Args:
        tuning: the rows.
        periods: makes folds of these rows ready.
        group: users whose nDCG@10 counts.
        seeds: fits per fold, averaged.
    """

    def __init__(self, tuning: TuningRows, periods: Periods, group: Group, seeds: int) -> None:
        self._folds, self._periods, self._group, self._seeds = tuning.folds, periods, group, seeds
        self._ready: dict[tuple[int, int], Period] = {}

    def folds(self, options: TrainingOptions) -> Iterator[Float64]:
        """Yield the nDCG@10 of each row of the group, averaged over seeds: (rows,) for one fold after the other.

        Raises:
            Diverged: a score is not finite, as with too high a learning rate.
        """
        for fold in self._folds:
            qualities = np.stack([self._quality(options, self._period(fold, seed)) for seed in range(self._seeds)])
            yield np.asarray(qualities.mean(axis=0), np.float64)

    def fitted_constants(self) -> dict[str, Any]:
        """Constants of the data as a listwise recipe fits them, on the training part of the last fold."""
        return self._period(self._folds[-1], 0).calibration.constants()

    def _period(self, fold: Fold, seed: int) -> Period:
        key = fold.training, seed
        if key not in self._ready:
            self._ready[key] = self._periods.prepare(fold, seed)
        return self._ready[key]

    def _quality(self, options: TrainingOptions, period: Period) -> Float64:
        scores = _scores(options, period)
        if not np.isfinite(scores).all():
            raise Diverged
        quality: Float64 = ndcg(expected_ranks(scores, period.target, period.seen))[
            group_masks(period.warm)[self._group]
        ]
        return quality


def _scores(options: TrainingOptions, period: Period) -> Float32:
    """Score as the recipe's release would online: (test rows, products)."""
    if options.preset.loss == "mse":
        return scores_of(options, period)
    calibration = period.calibration.with_half_life(options.listwise.half_life_days)
    fitted = fit_best(options.preset, period.lift_inputs(), options.listwise, seed=period.seed, calibration=calibration)
    return fitted.scoring.scores(test_scores(period, fitted.network), period.live_for(fitted.scoring))
