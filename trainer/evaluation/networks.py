"""The presets as methods: trained on the fold's training part by the code that trains a release."""

from dataclasses import replace
from functools import partial

import numpy as np

from trainer.evaluation.methods import BEST_LIVE, BEST_PLAIN, BEST_STATIC, Method, Scored
from trainer.evaluation.period import Period
from trainer.features.samples import Samples
from trainer.lift.recipe import calibrate_rating_slope, fit_best, held_out_rows, network_scores
from trainer.lift.teacher import Teacher, fit_teacher
from trainer.network.fit_mse import fit_mse
from trainer.network.presets import Preset
from trainer.pipeline import TrainingOptions
from twotower.features import Float32
from twotower.model import as_rating

_CALIBRATION_SHARE = 0.1
"""The last share of the training part, on which the rating head is calibrated by a fit that does not see it."""


def preset_method(options: TrainingOptions) -> Method:
    """A preset trained with MSE, as a method.

    It is trained for a fixed number of epochs: choosing one would need rows, and the newest are worth most.
    """

    def score(period: Period) -> Scored:
        scores = scores_of(options, period)
        return Scored(scores, as_rating(_of_target(period, scores)))

    return Method(options.preset.name, score, seeded=True, about=_about(options.preset))


def scores_of(options: TrainingOptions, period: Period) -> Float32:
    """Train a recipe with MSE on a period's training part with the period's seed: (test rows, products) outputs."""
    no_samples = Samples(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    samples = period.samples(options.preset.negatives_alpha), no_samples
    fit_options = replace(options.fit, seed=period.seed)
    fitted = fit_mse(options.preset, period.inputs.tables, samples, fit_options, on_step=lambda _: None)
    return test_scores(period, fitted.network)


class BestMethods:
    """One fit of `best` per period, three rankings.

    Args:
        options: for preset and listwise options.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self._options = options
        self._scored: tuple[Period, dict[str, Scored]] | None = None
        self._slopes: dict[int, float] = {}
        self._teachers: dict[int, Teacher] = {}

    def methods(self) -> tuple[Method, ...]:
        """Plain, lift with decayed popularity, lift with live popularity."""
        about = {
            BEST_PLAIN: "the network's output alone",
            BEST_STATIC: "personal lift + popularity at the end of the training period",
            BEST_LIVE: "personal lift + live popularity: as served",
        }
        return tuple(
            Method(name, partial(self._score, name), seeded=True, about=text, live=name == BEST_LIVE)
            for name, text in about.items()
        )

    def _score(self, name: str, period: Period) -> Scored:
        if self._scored is None or self._scored[0] is not period:
            self._scored = (period, self._fit(period))
        return self._scored[1][name]

    def _fit(self, period: Period) -> dict[str, Scored]:
        preset, listwise, inputs = self._options.preset, self._options.listwise, period.lift_inputs()
        calibration = period.calibration.with_half_life(listwise.half_life_days)
        # Slope and teacher are fitted once per fold: the teacher has no seed.
        slope, rows = self._slope(period), period.fold.training
        if rows not in self._teachers:
            self._teachers[rows] = fit_teacher(inputs, calibration.half_life_days)
        fitted = fit_best(
            preset,
            inputs,
            listwise,
            seed=period.seed,
            calibration=calibration,
            teacher=self._teachers[rows],
            rating_slope=slope,
        )
        network, scoring = test_scores(period, fitted.network), fitted.scoring
        ratings = _of_target(period, scoring.ratings(network))
        return {
            BEST_PLAIN: Scored(network, ratings),
            BEST_STATIC: Scored(scoring.scores(network), ratings),
            BEST_LIVE: Scored(scoring.scores(network, period.live_for(scoring)), ratings),
        }

    def _slope(self, period: Period) -> float:
        """Slope of the rating head, calibrated once per fold on the end of its training part."""
        rows = period.fold.training
        if rows not in self._slopes:
            start = rows - int(rows * _CALIBRATION_SHARE)
            early = fit_best(self._options.preset, period.lift_inputs(start), self._options.listwise, seed=period.seed)
            inputs = period.lift_inputs()
            self._slopes[rows] = calibrate_rating_slope(early, inputs, held_out_rows(inputs, start))
        return self._slopes[rows]


def test_scores(period: Period, network: object) -> Float32:
    """What a network says of a period's test rows: (test rows, products)."""
    users, inverse = period.states
    return network_scores(network, users, period.inputs.tables.products)[inverse]


def _of_target(period: Period, values: Float32) -> Float32:
    """(test rows, products) → (test rows,) of the product that was reviewed."""
    return np.take_along_axis(values, period.target[:, np.newaxis], axis=1)[:, 0]


def _about(preset: Preset) -> str:
    flag = "" if preset.with_is_anonymous else ", without is_anonymous_user"
    negatives = f"popularity^{preset.negatives_alpha:g}" if preset.negatives_alpha else "uniform"
    return (
        f"{preset.activation}, {preset.initializer}, {preset.dropout}, {preset.optimizer}, {negatives} negatives{flag}"
    )
