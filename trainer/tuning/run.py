"""From a review file to a finished search."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data.reviews import Reviews
from trainer.evaluation.run import periods_of
from trainer.measure.metrics import Group
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions
from trainer.progress import Progress
from trainer.tuning.objective import Objective, TuningRows
from trainer.tuning.study import SearchOptions, opened_study, search
from twotower.encoder import TextEncoder

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class TuneOptions:
    """What a user may choose.

    Attributes:
        preset: whose options are searched.
        objective: users whose nDCG@10 counts.
        folds: rolling temporal folds.
        seeds: fits per fold and trial.
        share: first share of the rows that is looked at.
        search: how long.
    """

    preset: str
    objective: Group
    folds: int
    seeds: int
    share: float
    search: SearchOptions


@dataclass(frozen=True)
class Tuned:
    """A search that has ended.

    Attributes:
        study: with its trials.
        recipe: as it is, before any search.
        rows: what was looked at.
    """

    study: "optuna.Study"
    recipe: TrainingOptions
    rows: TuningRows


@contextmanager
def tune_reviews(
    reviews: Reviews, options: TuneOptions, folder: Path, *, encoder_path: Path, cache: Path, progress: Progress
) -> Iterator[Tuned]:
    """Search the options of a preset; the study stays locked within the block.

    Raises:
        InvalidArgument: too few reviews for the folds, or the folder's study is about something else or in use.
    """
    tuning = TuningRows.cut(reviews, options.share, options.folds)
    recipe = TrainingOptions(preset_named(options.preset))
    encoder = TextEncoder(encoder_path)
    about = {
        "preset": options.preset,
        "objective": options.objective,
        "folds": options.folds,
        "seeds": options.seeds,
        "share": options.share,
        "seed": options.search.seed,
        "rows": len(tuning.rows),
        "rows_of_file": tuning.usable,
        "sha256": reviews.sha256,
        "encoder_id": encoder.encoder_id,
    }
    with opened_study(folder, about) as study:
        periods = periods_of(tuning.rows, tuning.folds, encoder, cache, progress)
        objective = Objective(tuning, periods, options.objective, options.seeds)
        with progress.stage("trials", options.search.trials) as on_trial:
            search(study, objective, recipe, options.search, on_trial)
        yield Tuned(study, recipe, tuning)
