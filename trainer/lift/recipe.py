"""The preset `best`: listwise training, the lift serving vector and the calibrated rating head."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import ANONYMOUS, COLD, FIRST_WARM, AsOfFeatures, first_of_moment, seen_mask
from trainer.features.popularity import frozen_log_popularity, prior_mean, shrunk_item_means
from trainer.lift.calibration import DataConstants, fit_constants, row_half_life_days
from trainer.lift.teacher import Teacher, fit_teacher
from trainer.network.fit_lift import Contexts, ListwiseOptions, LossPoint, Step, fit_listwise
from trainer.network.keras_graph import graph_weights
from trainer.network.presets import Preset
from trainer.network.towers import FeatureTables
from twotower.als import ItemFactors, fold_in
from twotower.features import BERT_COLUMNS, Float32, Float64, Int64, running_mean, user_rows
from twotower.model import product_fusion, run_layers, score_catalogue
from twotower.scoring import US_PER_DAY, LiftScoring

_CHUNK: Final = 256
_MAX_WARM_CELLS: Final = 40_000_000
"""Reviews of users with a history × products: of more, the newest reviews are learned from. What each had seen is kept.
"""


@dataclass(frozen=True)
class BestInputs:
    """What `best` is trained on: the reviews of a training period and their features.

    Attributes:
        reviews: in time order.
        rows: of the training period.
        vectors: of the reviews.
        space: item factors of the training period.
        features: as of every review.
        tables: user rows and product rows.
    """

    reviews: Reviews
    rows: int
    vectors: ReviewVectors
    space: ItemFactors
    features: AsOfFeatures
    tables: FeatureTables

    @property
    def product_vectors(self) -> Float32:
        """(products, 384) text embeddings."""
        return self.tables.products[:, BERT_COLUMNS]


@dataclass(frozen=True)
class FittedBest:
    """A trained `best`.

    Attributes:
        network: the ``keras.Model``.
        curve: losses along the way.
        constants: those of the data.
        teacher: what the lift was learned from.
        scoring: lift vector, popularity and rating head.
    """

    network: Any
    curve: list[LossPoint]
    constants: DataConstants
    teacher: Teacher
    scoring: LiftScoring


def fit_best(
    preset: Preset,
    inputs: BestInputs,
    options: ListwiseOptions,
    *,
    seed: int,
    constants: DataConstants | None = None,
    teacher: Teacher | None = None,
    rating_slope: float = 0.0,
    on_step: Callable[[int], None] = lambda _: None,
) -> FittedBest:
    """Fit the constants and the teacher unless they are given, then the network; the rating head has the slope
    given.
    """
    reviews, rows = inputs.reviews, inputs.rows
    constants = constants or constants_for(inputs, options)
    log_popularity = frozen_log_popularity(reviews, rows, constants.half_life_days)
    cold = inputs.features.states[[COLD, ANONYMOUS]]
    teacher = teacher or teacher_for(inputs, constants)
    steps = _Draws(inputs, teacher, options.contexts, seed).steps()
    network, curve = fit_listwise(
        preset, cold, inputs.tables.products, log_popularity, steps, options=options, seed=seed, on_step=on_step
    )
    cold_scores = network_scores(network, cold[:1], inputs.tables.products)[0]
    scoring = LiftScoring(
        temperature=options.temperature,
        rating_slope=rating_slope,
        half_life_days=constants.half_life_days,
        cold_scores=cold_scores,
        rating_base=shrunk_item_means(reviews, rows),
        log_popularity=log_popularity,
        prior_mean=prior_mean(reviews, rows),
    )
    return FittedBest(network, curve, constants, teacher, scoring)


def constants_for(inputs: BestInputs, options: ListwiseOptions) -> DataConstants:
    """The constants that the options name; what they leave open is fitted on the training period."""
    return override(fit_constants(inputs.reviews, inputs.rows, inputs.features, inputs.product_vectors), options)


def teacher_for(inputs: BestInputs, constants: DataConstants) -> Teacher:
    """The teacher of the training period."""
    return fit_teacher(
        inputs.reviews,
        inputs.rows,
        vectors=inputs.vectors,
        features=inputs.features,
        product_vectors=inputs.product_vectors,
        half_life_days=constants.half_life_days,
    )


def override(fitted: DataConstants, options: ListwiseOptions) -> DataConstants:
    """Fitted constants, but for those that the options name."""
    return fitted if options.half_life_days is None else replace(fitted, half_life_days=options.half_life_days)


def network_scores(network: Any, users: Float32, products: Float32) -> Float32:
    """(users, 449) and (products, 448) → (users, products) network outputs, by split fusion."""
    weights = graph_weights(network)
    fusion = product_fusion(weights, run_layers(weights.product_tower, products))
    parts = [score_catalogue(weights, users[start : start + _CHUNK], fusion) for start in range(0, len(users), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, len(products)), np.float32)


def calibrate_rating_slope(fitted: FittedBest, inputs: BestInputs, rows: Int64) -> float:
    """Slope of the rating head by least squares on held-out `rows`; 0 unless it surely beats the shrunk item mean
    there.

    Surely: the mean gain in squared error is more than two standard errors above 0.
    """
    reviews, product = inputs.reviews, inputs.reviews.product[rows]
    distinct, place = np.unique(inputs.features.state[rows], return_inverse=True)
    scores = network_scores(fitted.network, inputs.features.states[distinct], inputs.tables.products)
    lift: Float64 = (scores[place, product] - fitted.scoring.cold_scores[product]).astype(np.float64)
    base = fitted.scoring.rating_base[product].astype(np.float64)
    rating = reviews.rating[rows].astype(np.float64)
    if not (lift**2).sum():
        return 0.0
    slope = float((lift * (rating - base)).sum() / (lift**2).sum())
    gain = (rating - np.clip(base, 0, 5)) ** 2 - (rating - np.clip(base + slope * lift, 0, 5)) ** 2
    return slope if slope > 0 and gain.mean() > 2 * gain.std() / np.sqrt(len(gain)) else 0.0


class _Draws:
    """Draws what each step learns from: half users with a history, half pseudo-users whose history is one review of
    anybody with a name.
    """

    def __init__(self, inputs: BestInputs, teacher: Teacher, contexts: int, seed: int) -> None:
        self._inputs, self._teacher, self._contexts = inputs, teacher, contexts
        self._rng = np.random.default_rng([seed, 3])
        reviews, state = inputs.reviews, inputs.features.state[: inputs.rows]
        warm = np.flatnonzero((state >= FIRST_WARM) & reviews.dated[: inputs.rows])[
            -max(1, _MAX_WARM_CELLS // len(reviews.products)) :
        ]
        self._warm = warm
        self._probability = self._weights(warm)
        self._seen = seen_mask(reviews, warm)
        named = np.flatnonzero(state != ANONYMOUS)
        self._single = named if len(named) else np.arange(inputs.rows)

    def _weights(self, warm: Int64) -> Float64:
        if not len(warm):
            return np.zeros(0)
        time_us = self._inputs.reviews.time_us[warm]
        ages = (time_us[-1] - time_us) / US_PER_DAY
        weights = np.exp2(-ages / row_half_life_days(ages, 10 * self._contexts))
        return np.asarray(weights / weights.sum())

    def steps(self) -> Iterator[Step]:
        """Endless."""
        while True:
            taught = self._taught()
            yield Step(taught, self._teacher.lift(taught.users, taught.seen))

    def _taught(self) -> Contexts:
        reviews, features = self._inputs.reviews, self._inputs.features
        half = self._contexts // 2
        real = (
            self._rng.choice(len(self._warm), half, p=self._probability) if len(self._warm) else np.zeros(0, np.int64)
        )
        rows = self._warm[real]
        single = self._rng.choice(self._single, self._contexts - len(rows))
        histories = [{int(reviews.product[row]): float(reviews.rating[row])} for row in single.tolist()]
        als = fold_in(self._inputs.space, histories)
        means = running_mean(self._inputs.vectors.of(single).astype(np.int32), np.ones(len(single), np.int64))
        seen = np.zeros((len(single), len(reviews.products)), bool)
        seen[np.arange(len(single)), reviews.product[single]] = True
        users = np.concatenate([features.states[features.state[rows]], user_rows(als, means, False)])
        return Contexts(users, np.concatenate([self._seen[real], seen]))


def held_out_rows(inputs: BestInputs, start: int) -> Int64:
    """Dated rows from `start` to the end of the training period, for the calibration: each as its user's first of that
    moment.
    """
    rows = np.arange(start, inputs.rows)
    return first_of_moment(inputs.reviews, rows[inputs.reviews.dated[rows]])
