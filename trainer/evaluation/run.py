"""From a review file to the table."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trainer.data.reviews import Reviews
from trainer.encoding.cache import VectorCache
from trainer.evaluation.baselines import BASELINES
from trainer.evaluation.methods import Method
from trainer.evaluation.networks import BestMethods, preset_method
from trainer.evaluation.period import Periods
from trainer.evaluation.protocol import evaluate
from trainer.evaluation.table import results
from trainer.features.catalogue import build_catalogue
from trainer.measure.folds import Fold, evaluation_rows, rolling_folds
from trainer.pipeline import TrainingOptions, encode_reviews
from trainer.progress import Progress
from twotower.encoder import TextEncoder


def methods_of(recipes: Iterable[TrainingOptions]) -> list[Method]:
    """List all baselines, then the recipes, as methods."""
    methods = list(BASELINES)
    for options in recipes:
        methods += BestMethods(options).methods() if options.preset.loss == "listwise" else [preset_method(options)]
    return methods


def periods_of(rows: Reviews, folds: Sequence[Fold], encoder: TextEncoder, cache: Path, progress: Progress) -> Periods:
    """Encode the texts of the evaluated `rows`; returns what makes any of their folds ready."""
    catalogue = build_catalogue(rows, folds[0].training)
    vectors, product_vectors, _ = encode_reviews(rows, catalogue, encoder, VectorCache(cache), progress)
    return Periods(rows, vectors, product_vectors)


def evaluate_reviews(
    reviews: Reviews,
    recipes: Sequence[TrainingOptions],
    *,
    seeds: int,
    folds: int,
    encoder_path: Path,
    cache: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate baselines and recipes on the rolling folds of a file; see :func:`trainer.evaluation.table.results`."""
    rows = evaluation_rows(reviews)
    splits = rolling_folds(len(rows), folds)
    periods = periods_of(rows, splits, TextEncoder(encoder_path), cache, progress)
    methods = methods_of(recipes)
    about = {
        "reviews": len(reviews),
        "evaluated_reviews": len(rows),
        "users": len(rows.user_ids),
        "products": len(rows.products),
        "sha256": reviews.sha256,
    }
    with progress.stage("evaluate", len(splits) * seeds) as on_progress:
        evaluation = evaluate(
            methods, splits, list(range(seeds)), periods.prepare, about=about, on_progress=on_progress
        )
    return results(evaluation)
