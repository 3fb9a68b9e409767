"""The recipe of the preset `best`: calibration, teacher, network, and how its output is served."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from trainer.features.history import ANONYMOUS, COLD, FIRST_WARM, first_of_moment, seen_mask
from trainer.features.popularity import frozen_log_popularity, prior_mean, shrunk_item_means
from trainer.lift.calibration import Calibration, fit_calibration, row_half_life_days
from trainer.lift.inputs import LiftInputs
from trainer.lift.teacher import Teacher, fit_teacher
from trainer.network.fit_lift import Contexts, ListwiseOptions, LossPoint, Step, fit_listwise
from trainer.network.keras_graph import graph_weights
from trainer.network.presets import Preset
from twotower.als import fold_in
from twotower.features import Float32, Float64, Int64, running_mean, user_rows
from twotower.model import product_fusion, run_layers, score_catalogue
from twotower.scoring import US_PER_DAY, LiftScoring

_CHUNK: Final = 256
_MAX_WARM_CELLS: Final = 40_000_000
"""Reviews of users with a history × products: of more, the newest reviews are learned from, because for each of them
the products that its user had seen are held in memory.
"""


@dataclass(frozen=True)
class FittedBest:
    """A trained `best`.

    Attributes:
        network: the ``keras.Model``.
        curve: losses along the way.
        calibration: the constants of the data.
        teacher: what the lift was learned from.
        scoring: lift vector, popularity and rating head.
    """

    network: Any
    curve: list[LossPoint]
    calibration: Calibration
    teacher: Teacher
    scoring: LiftScoring


def fit_best(
    preset: Preset,
    inputs: LiftInputs,
    options: ListwiseOptions,
    *,
    seed: int,
    calibration: Calibration | None = None,
    teacher: Teacher | None = None,
    rating_slope: float = 0.0,
    on_step: Callable[[int], None] = lambda _: None,
) -> FittedBest:
    """Fit the preset `best`.

    Args:
        preset: the architecture.
        inputs: the training period.
        options: see :class:`ListwiseOptions`.
        seed: of everything random.
        calibration: fitted here if None, but for what the options name.
        teacher: fitted here if None.
        rating_slope: of the rating head.
        on_step: called with 1 after each optimiser step.
    """
    reviews, rows = inputs.reviews, inputs.rows
    calibration = calibration or fit_calibration(inputs).with_half_life(options.half_life_days)
    log_popularity = frozen_log_popularity(reviews, rows, calibration.half_life_days)
    cold = inputs.features.states[[COLD, ANONYMOUS]]
    teacher = teacher or fit_teacher(inputs, calibration.half_life_days)
    steps = _Draws(inputs, teacher, options.contexts, seed).steps()
    network, curve = fit_listwise(
        preset, cold, inputs.tables.products, log_popularity, steps, options=options, seed=seed, on_step=on_step
    )
    scoring = LiftScoring(
        temperature=options.temperature,
        rating_slope=rating_slope,
        half_life_days=calibration.half_life_days,
        cold_scores=network_scores(network, cold[:1], inputs.tables.products)[0],
        rating_base=shrunk_item_means(reviews, rows),
        log_popularity=log_popularity,
        prior_mean=prior_mean(reviews, rows),
        prior_reviews=calibration.prior.prior_reviews,
        least_reviews=calibration.prior.least_reviews,
        new_product_share=calibration.prior.new_product_share,
    )
    return FittedBest(network, curve, calibration, teacher, scoring)


def network_scores(network: Any, users: Float32, products: Float32) -> Float32:
    """(users, 449) and (products, 448) → (users, products) network outputs, by split fusion."""
    weights = graph_weights(network)
    fusion = product_fusion(weights, run_layers(weights.product_tower, products))
    parts = [score_catalogue(weights, users[start : start + _CHUNK], fusion) for start in range(0, len(users), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, len(products)), np.float32)


def calibrate_rating_slope(fitted: FittedBest, inputs: LiftInputs, rows: Int64) -> float:
    """Slope of the rating head by least squares on held-out `rows`; 0 unless it surely beats the shrunk item mean.

    Surely: the mean gain in squared error is more than two standard errors above 0.
    """
    product = inputs.reviews.product[rows]
    distinct, inverse = np.unique(inputs.features.state[rows], return_inverse=True)
    scores = network_scores(fitted.network, inputs.features.states[distinct], inputs.tables.products)
    lift: Float64 = (scores[inverse, product] - fitted.scoring.cold_scores[product]).astype(np.float64)
    base = fitted.scoring.rating_base[product].astype(np.float64)
    rating = inputs.reviews.rating[rows].astype(np.float64)
    if not (lift**2).sum():
        return 0.0
    slope = float((lift * (rating - base)).sum() / (lift**2).sum())
    gain = (rating - np.clip(base, 0, 5)) ** 2 - (rating - np.clip(base + slope * lift, 0, 5)) ** 2
    return slope if slope > 0 and gain.mean() > 2 * gain.std() / np.sqrt(len(gain)) else 0.0


class _Draws:
    """Draws what each step learns from.

    Half of the contexts are users with a history; the others are pseudo-users whose history is one review of anybody
    with a name.
    """

    def __init__(self, inputs: LiftInputs, teacher: Teacher, contexts: int, seed: int) -> None:
        self._inputs, self._teacher, self._contexts = inputs, teacher, contexts
        self._rng = np.random.default_rng([seed, 3])
        reviews, state = inputs.reviews, inputs.features.state[: inputs.rows]
        max_rows = max(1, _MAX_WARM_CELLS // len(reviews.products))
        self._warm = np.flatnonzero((state >= FIRST_WARM) & reviews.dated[: inputs.rows])[-max_rows:]
        self._probability = self._shares()
        self._seen = seen_mask(reviews, self._warm)
        named = np.flatnonzero(state != ANONYMOUS)
        self._single = named if len(named) else np.arange(inputs.rows)

    def _shares(self) -> Float64:
        """Probability of each warm row: old ones are drawn less."""
        if not len(self._warm):
            return np.zeros(0)
        time_us = self._inputs.reviews.time_us[self._warm]
        ages = (time_us[-1] - time_us) / US_PER_DAY
        weights = np.exp2(-ages / row_half_life_days(ages, 10 * self._contexts))
        return np.asarray(weights / weights.sum())

    def steps(self) -> Iterator[Step]:
        """Draw one step after the other, without end."""
        while True:
            contexts = self._draw()
            yield Step(contexts, self._teacher.lift(contexts.users, contexts.seen))

    def _draw(self) -> Contexts:
        reviews, features = self._inputs.reviews, self._inputs.features
        half = self._contexts // 2
        drawn = (
            self._rng.choice(len(self._warm), half, p=self._probability) if len(self._warm) else np.zeros(0, np.int64)
        )
        rows = self._warm[drawn]
        single = self._rng.choice(self._single, self._contexts - len(rows))
        histories = [{int(reviews.product[row]): float(reviews.rating[row])} for row in single.tolist()]
        als = fold_in(self._inputs.space, histories)
        means = running_mean(self._inputs.vectors.of(single).astype(np.int32), np.ones(len(single), np.int64))
        seen = np.zeros((len(single), len(reviews.products)), bool)
        seen[np.arange(len(single)), reviews.product[single]] = True
        users = np.concatenate([features.states[features.state[rows]], user_rows(als, means, False)])
        return Contexts(users, np.concatenate([self._seen[drawn], seen]))


def held_out_rows(inputs: LiftInputs, start: int) -> Int64:
    """Rows to calibrate the rating head on: the dated ones from `start` to the end of the training period.

    Each is given as its user's first of that moment, which sees strictly earlier reviews only.
    """
    rows = np.arange(start, inputs.rows)
    return first_of_moment(inputs.reviews, rows[inputs.reviews.dated[rows]])
