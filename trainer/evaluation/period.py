"""One fold with its features: what every method gets."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import FIRST_WARM, first_of_moment, seen_mask
from trainer.features.popularity import frozen_log_popularity, live_matrix
from trainer.features.samples import Samples, draw_samples
from trainer.lift.calibration import Calibration, fit_calibration, standardised_similarity
from trainer.lift.inputs import LiftInputs
from trainer.measure.folds import Fold
from trainer.network.fit_mse import FitOptions
from trainer.network.presets import PRESETS
from trainer.pipeline import TrainingInputs, TrainingOptions, prepare
from trainer.progress import Progress
from twotower.features import BERT_COLUMNS, Float32, Int64
from twotower.scoring import LiftScoring


@dataclass(frozen=True)
class Period:
    """A fold, a seed, and everything that was fitted on the training part.

    Attributes:
        reviews: the evaluated ones.
        vectors: their embeddings.
        fold: which rows are trained on, which are predicted.
        inputs: factors, features and samples.
        seed: of whatever is drawn.
        calibration: fitted on the training part.
    """

    reviews: Reviews
    vectors: ReviewVectors
    fold: Fold
    inputs: TrainingInputs
    seed: int
    calibration: Calibration

    @cached_property
    def before(self) -> Int64:
        """(test rows,) a row that sees what the user of each test row had done strictly before."""
        return first_of_moment(self.reviews, self.fold.test)

    @cached_property
    def target(self) -> Int64:
        """(test rows,) the product that was reviewed."""
        return self.reviews.product[self.fold.test].astype(np.int64)

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """(test rows, products) what the user had reviewed before."""
        return seen_mask(self.reviews, self.before)

    @cached_property
    def warm(self) -> NDArray[np.bool_]:
        """(test rows,) whether the user has a history."""
        return np.asarray(self.inputs.features.state[self.before] >= FIRST_WARM)

    @cached_property
    def states(self) -> tuple[Float32, Int64]:
        """Distinct user rows (states, 449), and which of them each test row has."""
        distinct, inverse = np.unique(self.inputs.features.state[self.before], return_inverse=True)
        return self.inputs.features.states[distinct], inverse

    def samples(self, alpha: float) -> Samples:
        """The training part with negatives drawn by popularity^alpha."""
        return draw_samples(self.reviews, self.fold.training, self.inputs.features, alpha, self.seed)[0]

    @property
    def product_vectors(self) -> Float32:
        """(products, 384) text embeddings."""
        return self.inputs.tables.products[:, BERT_COLUMNS]

    @cached_property
    def decayed(self) -> Float32:
        """(products,) log popularity at the fold's start."""
        return frozen_log_popularity(self.reviews, self.fold.training, self.calibration.half_life_days)

    @cached_property
    def live(self) -> Float32:
        """(test rows, products) log popularity just before each test row."""
        return live_matrix(self.reviews, self.fold.test, self.calibration.half_life_days)

    def live_for(self, scoring: LiftScoring) -> Float32:
        """(test rows, products) log popularity just before each test row, as a release would weigh it."""
        return live_matrix(self.reviews, self.fold.test, scoring.half_life_days, scoring.live_log_popularity)

    @cached_property
    def similarity(self) -> Float32:
        """(test rows, products) standardised text similarity."""
        users, inverse = self.states
        return standardised_similarity(users, self.product_vectors)[inverse]

    def lift_inputs(self, rows: int | None = None) -> LiftInputs:
        """The training part, or its first `rows` reviews, as `best` takes it."""
        inputs = self.inputs
        return LiftInputs(
            self.reviews, rows or self.fold.training, self.vectors, inputs.space, inputs.features, inputs.tables
        )


class Periods:
    """Makes folds ready: what the methods share is fitted once per fold and seed, the calibration once per fold.

    Args:
        reviews: the evaluated ones.
        vectors: their embeddings.
        product_vectors: (products, 384) float32.
    """

    def __init__(self, reviews: Reviews, vectors: ReviewVectors, product_vectors: Float32) -> None:
        self._reviews, self._vectors, self._product_vectors = reviews, vectors, product_vectors
        self._calibrations: dict[int, Calibration] = {}

    def prepare(self, fold: Fold, seed: int) -> Period:
        """Fit factors, features and calibration on a fold's training part."""
        options = TrainingOptions(PRESETS["best"], fit=FitOptions(seed=seed))
        inputs = prepare(
            self._reviews, fold.training, self._vectors, self._product_vectors, options, progress=Progress()
        )
        if fold.training not in self._calibrations:
            self._calibrations[fold.training] = fit_calibration(
                LiftInputs(self._reviews, fold.training, self._vectors, inputs.space, inputs.features, inputs.tables)
            )
        return Period(self._reviews, self._vectors, fold, inputs, seed, self._calibrations[fold.training])
