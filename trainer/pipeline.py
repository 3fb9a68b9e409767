"""The training run: from a review file to a release."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainer.data.cleaning import CleaningOptions, CleaningReport
from trainer.data.raw import SourceOptions
from trainer.data.reviews import Reviews, read_reviews, training_rows
from trainer.encoding.cache import ReviewVectors, VectorCache, encode_unique
from trainer.features.als import ITERATIONS, fit_item_factors
from trainer.features.catalogue import build_catalogue
from trainer.features.history import AsOfFeatures, as_of_features, global_mean
from trainer.features.samples import NEGATIVES_PER_POSITIVE, Samples, draw_samples
from trainer.lift.inputs import LiftInputs
from trainer.lift.recipe import calibrate_rating_slope, fit_best
from trainer.lift.teacher import SIGNALS
from trainer.network.fit_lift import ListwiseOptions
from trainer.network.fit_mse import FitOptions, Fitted, fit_mse, steps_per_epoch
from trainer.network.keras_graph import graph_weights
from trainer.network.presets import Preset
from trainer.network.tensorflow_runtime import load_tensorflow
from trainer.network.towers import FeatureTables
from trainer.progress import Progress
from trainer.release.export import library_versions, write_release
from trainer.release.golden import golden_requests, golden_texts, golden_tolerance, golden_users
from twotower.als import ItemFactors
from twotower.encoder import TextEncoder
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import Float32, Int32, dequantize, product_rows, product_text, review_text
from twotower.release import Product, Release
from twotower.release_writer import ReleaseContents
from twotower.scoring import RatingScoring, Scoring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class TrainingOptions:
    """What a user may choose.

    Attributes:
        preset: the recipe.
        cleaning: rules for the file.
        fit: epochs, batch size and learning rate of a preset trained with MSE; seed of any.
        listwise: options of a preset with that loss, which has no epochs.
        source: format of the file and what belongs to it.
        validation_fraction: last share of the rows by time that is not trained on, 0 to below 1.
    """

    preset: Preset
    cleaning: CleaningOptions = field(default_factory=CleaningOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    listwise: ListwiseOptions = field(default_factory=ListwiseOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    validation_fraction: float = 0.1


@dataclass(frozen=True)
class TrainingInputs:
    """What the network learns from: all that depends on the file, and nothing that depends on the network.

    Attributes:
        space: item factors of the training period.
        global_mean: (384,) float32, mean embedding of its reviews.
        features: as of every review.
        tables: distinct user rows as of every review, and product rows.
        training: samples of the training period.
        validation: samples of the rest.
    """

    space: ItemFactors
    global_mean: Float32
    features: AsOfFeatures
    tables: FeatureTables
    training: Samples
    validation: Samples


@dataclass(frozen=True)
class TrainingResult:
    """What a run made.

    Attributes:
        release: on disk, verified.
        report: what cleaning found.
        reviews: rows of the file after cleaning.
        fitted: the network and its curve.
        inputs: what the network learned from.
        training_rows: how many rows the training period has.
        golden_difference: largest difference of the replayed golden requests.
    """

    release: Release
    report: CleaningReport
    reviews: Reviews
    fitted: Fitted
    inputs: TrainingInputs
    training_rows: int
    golden_difference: float

    @property
    def samples(self) -> tuple[int, int]:
        """How many samples there are, training and validation."""
        return len(self.inputs.training), len(self.inputs.validation)


def train(
    paths: Path | Sequence[Path],
    out: Path,
    options: TrainingOptions,
    *,
    encoder_path: Path,
    cache: Path,
    progress: Progress,
) -> TrainingResult:
    """Read review files and train on them: see :func:`train_reviews`.

    Raises:
        InvalidFile: the file breaks a rule.
    """
    with progress.stage("read reviews"):
        reviews, report = read_reviews(paths, options.cleaning, options.source)
    return train_reviews(reviews, report, out, options, encoder_path=encoder_path, cache=cache, progress=progress)


def train_reviews(
    reviews: Reviews,
    report: CleaningReport,
    out: Path,
    options: TrainingOptions,
    *,
    encoder_path: Path,
    cache: Path,
    progress: Progress,
    users: Path | None = None,
    signing_key: "Ed25519PrivateKey | None" = None,
) -> TrainingResult:
    """Train a preset on reviews and write the release ``<out>/<release id>``.

    The same file, options and machine give the same release id.

    Args:
        reviews: in time order.
        report: what cleaning found.
        out: folder of releases.
        options: see :class:`TrainingOptions`.
        encoder_path: folder of the text encoder.
        cache: folder of the vector cache.
        progress: shows the stages.
        users: folder of users; the one beside `out` if None.
        signing_key: signs the release if given.
    """
    rows = training_rows(reviews, options.validation_fraction)
    check_trainable(reviews, rows, options.preset)
    catalogue = build_catalogue(reviews, rows)
    encoder = TextEncoder(encoder_path)
    vectors, product_vectors, replayed = encode_reviews(reviews, catalogue, encoder, VectorCache(cache), progress)
    inputs = prepare(reviews, rows, vectors, product_vectors, options, progress=progress)
    with progress.stage("load TensorFlow"):
        load_tensorflow()
    fitted, scoring = _fit(options, reviews, rows, vectors, inputs, progress=progress)
    with progress.stage("write release"):
        contents = ReleaseContents(
            preset=options.preset.name,
            weights=graph_weights(fitted.network),
            space=inputs.space,
            global_mean=inputs.global_mean,
            catalogue=catalogue,
            product_rows=inputs.tables.products,
            scoring=scoring,
            golden=golden_requests(
                fitted.network,
                golden_users(inputs.space, inputs.global_mean, inputs.tables.products),
                inputs.tables.products,
                scoring,
            ),
            golden_tolerance=golden_tolerance(scoring),
            encoder_path=encoder_path,
            encoder_id=encoder.encoder_id,
            golden_texts=replayed,
            anonymous_names=reviews.anonymous_names,
            metrics=_metrics(options, inputs, fitted),
            dataset=_dataset(reviews, report, rows),
            versions=library_versions("implicit"),
        )
        release, difference = write_release(
            out, contents, fitted.network, reviews, vectors, users=users, signing_key=signing_key
        )
    return TrainingResult(release, report, reviews, fitted, inputs, rows, difference)


def check_trainable(reviews: Reviews, rows: int, preset: Preset) -> None:
    """Refuse reviews that a preset can't be trained on, before the long work.

    Raises:
        InvalidArgument: fewer than two products in the training period, or no dates for a preset that learns from them.
    """
    if not (reviews.product[:rows] != reviews.product[0]).any():
        message = "must be at least 2 in the training period, or there are no negatives"
        raise InvalidArgument([FieldViolation("products", message)])
    if preset.loss == "listwise" and not reviews.dated.any():
        message = f"{preset.name} learns what comes after what, and no row has a date: --preset v5_power needs none"
        raise InvalidArgument([FieldViolation("reviews.date", message)])


def prepare(
    reviews: Reviews,
    rows: int,
    vectors: ReviewVectors,
    product_vectors: Float32,
    options: TrainingOptions,
    *,
    progress: Progress,
) -> TrainingInputs:
    """Make factors, features and samples.

    Nothing of the training period depends on a review after it: its factors, features, negatives and labels stay bit
    for bit the same whatever comes later.

    Args:
        reviews: in time order.
        rows: the first so many are the training period.
        vectors: embeddings of the reviews.
        product_vectors: (products, 384) float32 embeddings of the product texts.
        options: preset and seed are used.
        progress: shows the stages.
    """
    with progress.stage("fit ALS", ITERATIONS) as on_progress:
        space = fit_item_factors(reviews, rows, options.fit.seed, on_progress)
    with progress.stage("as-of features") as on_progress:
        mean = global_mean(vectors, rows)
        features = as_of_features(reviews, vectors, space, mean, on_progress=on_progress)
    with progress.stage("draw negatives"):
        training, validation = draw_samples(reviews, rows, features, options.preset.negatives_alpha, options.fit.seed)
    tables = FeatureTables(features.states, product_rows(space.factors, product_vectors))
    return TrainingInputs(space, mean, features, tables, training, validation)


def encode_reviews(
    reviews: Reviews, catalogue: list[Product], encoder: TextEncoder, cache: VectorCache, progress: Progress
) -> tuple[ReviewVectors, Float32, tuple[list[str], np.ndarray]]:
    """Embed the texts of reviews and products; also gives the golden texts with their vectors."""
    numbers: dict[str, int] = {}
    review_numbers = number_texts(reviews, numbers)
    review_count = len(numbers)
    product_texts = [product_text(item.name, item.brand, item.categories, item.manufacturer) for item in catalogue]
    product_numbers = [numbers.setdefault(text, len(numbers)) for text in product_texts]
    replayed = golden_texts()
    replayed_numbers = [numbers.setdefault(text, len(numbers)) for text in replayed]
    texts = list(numbers)
    with progress.stage("encode texts", len(texts)) as on_progress:
        encoded = encode_unique(texts, encoder, cache, on_progress)
    vectors = ReviewVectors(encoded[:review_count], review_numbers)
    return vectors, dequantize(encoded[product_numbers]), (replayed, encoded[replayed_numbers])


def number_texts(reviews: Reviews, numbers: dict[str, int]) -> Int32:
    """Number every review's text by first appearance, (reviews,) int32; new texts are added to `numbers`."""
    import pandas as pd

    titles, texts = reviews.titles, reviews.texts
    # Texts are put together once per pair, not once per row.
    pair_of_row, pairs = pd.factorize(titles.code.astype(np.int64) * len(texts.distinct) + texts.code)
    title, text = np.divmod(np.asarray(pairs), len(texts.distinct))
    both = zip(titles.distinct.take(title), texts.distinct.take(text), strict=True)
    return np.array([numbers.setdefault(review_text(*pair), len(numbers)) for pair in both], np.int32)[pair_of_row]


def _fit(
    options: TrainingOptions,
    reviews: Reviews,
    rows: int,
    vectors: ReviewVectors,
    inputs: TrainingInputs,
    *,
    progress: Progress,
) -> tuple[Fitted, Scoring]:
    """Fit the network by the preset's loss; how its output becomes score and rating."""
    preset, seed = options.preset, options.fit.seed
    if preset.loss == "mse":
        samples, steps = (inputs.training, inputs.validation), steps_per_epoch(inputs.training, options.fit)
        with progress.stage("fit network", options.fit.epochs * steps) as on_step:
            return fit_mse(preset, inputs.tables, samples, options.fit, on_step=on_step), RatingScoring()
    lift_inputs = LiftInputs(reviews, rows, vectors, inputs.space, inputs.features, inputs.tables)
    with progress.stage("fit network", options.listwise.steps) as on_step:
        best = fit_best(preset, lift_inputs, options.listwise, seed=seed, on_step=on_step)
    with progress.stage("calibrate rating"):
        held_out = np.arange(rows, len(reviews))
        slope = calibrate_rating_slope(best, lift_inputs, held_out) if len(held_out) else 0.0
    weights = dict(zip(SIGNALS, best.teacher.weights.tolist(), strict=True))
    constants = {"half_life_days": best.calibration.half_life_days, **weights}
    fitted = Fitted(best.network, tuple(best.curve), len(best.curve) - 1, constants)
    return fitted, replace(best.scoring, rating_slope=slope)


def _metrics(options: TrainingOptions, inputs: TrainingInputs, fitted: Fitted) -> Mapping[str, object]:
    return {
        "recipe": asdict(options.preset),
        "fit": {**asdict(options.fit), **(asdict(options.listwise) if options.preset.loss == "listwise" else {})},
        "validation_fraction": options.validation_fraction,
        "negatives_per_positive": NEGATIVES_PER_POSITIVE,
        "training_samples": len(inputs.training),
        "validation_samples": len(inputs.validation),
        "trainable_parameters": options.preset.parameter_count,
        **fitted.as_metrics(),
    }


def _dataset(reviews: Reviews, report: CleaningReport, rows: int) -> Mapping[str, object]:
    period = reviews.period()
    first, last = (moment.isoformat() for moment in period) if period else ("", "")
    return {
        "sha256": reviews.sha256,
        "rows": report.rows_read,
        "reviews": len(reviews),
        "training_reviews": rows,
        "users": len(reviews.user_ids),
        "products": len(reviews.products),
        "anonymous_reviews": int(reviews.anonymous[reviews.user].sum()),
        "undated_reviews": int((~reviews.dated).sum()),
        "first_review": first,
        "last_review": last,
        "mean_rating": float(reviews.rating.mean(dtype=np.float64)),
        "problems": {f"{problem.field}: {problem.action}": problem.row_count for problem in report.problems},
    }
