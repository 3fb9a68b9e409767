"""The sub-command `tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from trainer.cli.options import FOLDER, PATHS, cleaning_options, encoder_options, source_options
from trainer.data.raw import SourceOptions
from trainer.measure.metrics import Group
from trainer.network.presets import PRESETS
from twotower.cli import json_option, print_json

if TYPE_CHECKING:
    from trainer.data.cleaning import CleaningOptions


@click.command("tune")
@click.argument("reviews", type=PATHS, nargs=-1, required=True)
@source_options
@cleaning_options
@click.option(
    "--preset",
    type=click.Choice(tuple(PRESETS)),
    default="best",
    show_default=True,
    help="Recipe whose options are searched.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Finished trials in all, earlier runs included.",
)
@click.option(
    "--study",
    "study_folder",
    type=FOLDER,
    required=True,
    help="Folder of the study; one that is there is continued.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which this run stops.  [default: none]",
)
@click.option(
    "--objective",
    type=click.Choice(get_args(Group)),
    default="all",
    show_default=True,
    help="Users whose nDCG@10 counts.",
)
@click.option(
    "--folds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Rolling temporal folds inside the searched rows.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Fits per fold and trial, averaged."
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="First share of the rows by time that is looked at. 0.6 leaves all folds of `twotower evaluate` untouched.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=7,
    show_default=True,
    help="Of the search: the same seed tries the same options.",
)
@encoder_options
@json_option
def tune(
    *,
    reviews: tuple[Path, ...],
    source: SourceOptions,
    cleaning: "CleaningOptions",
    preset: str,
    trials: int,
    study_folder: Path,
    timeout_s: float | None,
    objective: Group,
    folds: int,
    seeds: int,
    share: float,
    seed: int,
    encoder: Path | None,
    cache: Path,
    as_json: bool,
) -> None:
    """Search the options of a preset on rolling folds of the first rows of REVIEWS; resumable.

    Writes best.json, for `--options` of `train` and `evaluate`, and report.html with Optuna's plots into the folder of
    the study.
    """
    import json

    from trainer.data.reviews import check_order, read_reviews
    from trainer.encoding.export import cached_encoder
    from trainer.progress import Progress
    from trainer.tuning.results import print_trials, ranked, write_best, write_page
    from trainer.tuning.run import TuneOptions, tune_reviews
    from trainer.tuning.study import SearchOptions
    from twotower.terminal import console

    progress = Progress(console(stderr=True))
    with progress.stage("read reviews"):
        cleaned, _ = read_reviews(reviews, cleaning, source)
    check_order(cleaned, reviews)
    options = TuneOptions(preset, objective, folds, seeds, share, SearchOptions(trials, seed, timeout_s))
    with tune_reviews(
        cleaned, options, study_folder, encoder_path=encoder or cached_encoder(cache), cache=cache, progress=progress
    ) as tuned:
        click.echo(str(tuned.rows), err=as_json)
        print_trials(console(stderr=as_json), tuned.study, tuned.recipe)
        if not ranked(tuned.study):
            raise click.ClickException(
                "no trial was scored on all folds yet: run the same command again, with more time"
            )
        options_file, report = study_folder / "best.json", study_folder / "report.html"
        write_best(options_file, tuned.study, tuned.recipe)
        write_page(report, tuned.study, tuned.recipe, str(tuned.rows))
    if as_json:
        best = json.loads(options_file.read_text(encoding="utf-8"))
        print_json({"best": best, "options": options_file, "report": report})
    else:
        click.echo(f"options: {options_file}\nreport: {report}")
