"""The presets as methods: trained on the fold's training part by the code that trains a release."""

import numpy as np

from trainer.best import calibrate_rating_slope, fit_best, held_out_rows, network_scores
from trainer.evaluation.methods import BEST_LIVE, BEST_PLAIN, BEST_STATIC, Method, Scored
from trainer.evaluation.period import Period
from trainer.fit import FitOptions, fit
from trainer.presets import PRESETS, Preset
from trainer.samples import Samples
from twotower.features import Float32
from twotower.model import as_rating

_CALIBRATION_SHARE = 0.1
"""The last share of the training part, on which the rating head is calibrated by a fit that does not see it."""


def preset_method(preset: Preset, options: FitOptions) -> Method:
    """A preset trained with MSE for a fixed number of epochs: choosing one would need rows, and the newest are worth most."""

    def score(period: Period) -> Scored:
        none = Samples(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
        options_here = FitOptions(options.epochs, options.batch_size, options.patience, options.learning_rate, period.seed)
        inputs = period.inputs
        fitted = fit(preset, inputs.tables, (inputs.training, none), options_here, on_step=lambda _: None)
        scores = _of_test_rows(period, fitted.network)
        return Scored(scores, as_rating(_own(period, scores)))

    return Method(preset.name, score, seeded=True, about=_about(preset))


class BestMethods:
    """One fit of `best` a period, three rankings."""

    def __init__(self) -> None:
        self._fitted: tuple[Period, dict[str, Scored]] | None = None
        self._slopes: dict[int, float] = {}

    def methods(self) -> tuple[Method, ...]:
        """Plain, lift with decayed popularity, lift with live popularity."""
        about = {
            BEST_PLAIN: "the network's output alone",
            BEST_STATIC: "personal lift + popularity at the end of the training period",
            BEST_LIVE: "personal lift + live popularity: as served",
        }
        return tuple(
            Method(name, lambda period, name=name: self._score(period)[name], seeded=True, about=text, live=name == BEST_LIVE)  # type: ignore[misc]
            for name, text in about.items()
        )

    def _score(self, period: Period) -> dict[str, Scored]:
        if self._fitted is None or self._fitted[0] is not period:
            self._fitted = (period, self._fit(period))
        return self._fitted[1]

    def _fit(self, period: Period) -> dict[str, Scored]:
        preset, inputs = PRESETS["best"], period.best_inputs()
        slope = self._slope(period)
        fitted = fit_best(preset, inputs, seed=period.seed, rating_slope=slope)
        network, scoring = _of_test_rows(period, fitted.network), fitted.scoring
        ratings = _own(period, scoring.ratings(network))
        return {
            BEST_PLAIN: Scored(network, ratings),
            BEST_STATIC: Scored(scoring.scores(network), ratings),
            BEST_LIVE: Scored(scoring.scores(network, period.live), ratings),
        }

    def _slope(self, period: Period) -> float:
        """Calibrated once a fold, on the end of its training part."""
        rows = period.fold.training
        if rows not in self._slopes:
            start = rows - int(rows * _CALIBRATION_SHARE)
            early = fit_best(PRESETS["best"], period.best_inputs(start), seed=period.seed)
            inputs = period.best_inputs()
            self._slopes[rows] = calibrate_rating_slope(early, inputs, held_out_rows(inputs, start))
        return self._slopes[rows]


def _of_test_rows(period: Period, network: object) -> Float32:
    users, place = period.states
    return network_scores(network, users, period.inputs.tables.products)[place]


def _own(period: Period, values: Float32) -> Float32:
    """(test rows, products) → (test rows,) of the product that was reviewed."""
    return np.take_along_axis(values, period.target[:, np.newaxis], axis=1)[:, 0]


def _about(preset: Preset) -> str:
    flag = "" if preset.with_is_anonymous else ", without is_anonymous_user"
    negatives = f"popularity^{preset.negatives_alpha:g}" if preset.negatives_alpha else "uniform"
    return f"{preset.activation}, {preset.initializer}, {preset.dropout}, {preset.optimizer}, {negatives} negatives{flag}"
