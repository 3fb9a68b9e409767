"""From a review file to the table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.catalogue import build_catalogue
from trainer.constants import DataConstants
from trainer.evaluation.baselines import BASELINES
from trainer.evaluation.folds import Fold, evaluation_rows, rolling_folds
from trainer.evaluation.methods import Method
from trainer.evaluation.networks import BestMethods, preset_method
from trainer.evaluation.period import Period, prepare_period
from trainer.evaluation.run import evaluate
from trainer.evaluation.table import results
from trainer.fit import FitOptions
from trainer.pipeline import TrainingOptions, encode_reviews
from trainer.presets import PRESETS, preset_named
from trainer.progress import Progress
from trainer.reviews import Reviews
from trainer.vectors import VectorCache
from twotower.encoder import TextEncoder


def methods_of(presets: tuple[str, ...], fit: FitOptions) -> list[Method]:
    """All baselines, then the presets of those names."""
    methods = list(BASELINES)
    for name in presets:
        preset = preset_named(name)
        methods += BestMethods().methods() if preset.loss == "listwise" else [preset_method(preset, fit)]
    return methods


def evaluate_reviews(
    reviews: Reviews,
    presets: tuple[str, ...],
    *,
    seeds: int,
    folds: int,
    fit: FitOptions,
    encoder_path: Path,
    cache: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate baselines and presets on the rolling folds of a file; see :func:`trainer.evaluation.table.results`."""
    rows = evaluation_rows(reviews)
    splits = rolling_folds(len(rows), folds)
    catalogue = build_catalogue(rows, splits[0].training)
    vectors, product_vectors, _ = encode_reviews(rows, catalogue, TextEncoder(encoder_path), VectorCache(cache), progress)
    options = TrainingOptions(PRESETS["best"], fit=fit)
    known: dict[int, DataConstants] = {}

    def period_of(fold: Fold, seed: int) -> Period:
        seeded = replace(options, fit=replace(fit, seed=seed))
        constants = known.get(fold.training)
        period = prepare_period(rows, vectors=vectors, product_vectors=product_vectors, fold=fold, options=seeded, constants=constants)
        known[fold.training] = period.constants
        return period

    methods = methods_of(presets, fit)
    about = {
        "reviews": len(reviews),
        "evaluated_reviews": len(rows),
        "users": len(rows.user_ids),
        "products": len(rows.products),
        "sha256": reviews.sha256,
    }
    with progress.stage("evaluate", len(methods) * len(splits) * seeds) as on_progress:
        done = evaluate(methods, splits, list(range(seeds)), period_of, about=about, on_progress=on_progress)
    return results(done)
