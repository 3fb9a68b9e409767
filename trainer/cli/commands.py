"""The trainer's sub-commands. Whatever is slow to import is imported when a command runs."""

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainer.cli.options import (
    EXISTING,
    FILE,
    FOLDER,
    RecipeOptions,
    Services,
    check_output,
    cleaning_options,
    encoder_options,
    output_file,
    prune_option,
    recipe_options,
    reviews_option,
    service_options,
    signing_option,
    source_options,
    suppressions_option,
)
from trainer.data.raw import SourceOptions
from trainer.network.presets import PRESETS
from twotower.call_options import release_argument, users_option
from twotower.cli import STDOUT, json_file_option, json_option, print_json

if TYPE_CHECKING:
    from trainer.data.cleaning import CleaningOptions
    from trainer.pipeline import TrainingResult
    from trainer.progress import Progress
    from trainer.release.publish import Published
    from twotower.release import Release
    from twotower.suppressions import Suppressions


@click.command("train")
@reviews_option
@source_options
@click.option("--out", type=FOLDER, required=True, help="Folder of releases; the new one is OUT/<release id>.")
@click.option("--preset", type=click.Choice(tuple(PRESETS)), default="v5_power", show_default=True, help="Recipe.")
@recipe_options
@click.option(
    "--seed", type=click.IntRange(0), default=7, show_default=True, help="The same seed gives the same release id."
)
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Last share of the rows by time, held out to choose the epoch by; 0 trains on all.",
)
@cleaning_options
@encoder_options
@click.option("--evaluation", type=EXISTING, help="Table of `twotower evaluate --json`, for the report.")
@click.option("--write-samples", type=FOLDER, help="Write negative_samples and final_df to this folder.")
@click.option(
    "--samples-format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Of --write-samples.",
)
@click.option(
    "--publish",
    "publish_it",
    is_flag=True,
    help="Then send the users to the embedding service and load the release on ranking.",
)
@users_option
@prune_option
@signing_option
@service_options
@json_option
def train(
    *,
    reviews: tuple[Path, ...],
    source: SourceOptions,
    cleaning: "CleaningOptions",
    out: Path,
    preset: str,
    chosen: RecipeOptions,
    seed: int,
    validation_fraction: float,
    encoder: Path | None,
    cache: Path,
    evaluation: Path | None,
    write_samples: Path | None,
    samples_format: str,
    publish_it: bool,
    users: Path | None,
    prune_users: bool,
    signing_key: Path | None,
    services: Services,
    as_json: bool,
) -> None:
    """Train a PRESET on review files and write the release.

    With --json, what is shown on the way goes to standard error.
    """
    from trainer.data.reviews import read_reviews
    from trainer.encoding.export import cached_encoder
    from trainer.network.tensorflow_runtime import check_backend
    from trainer.pipeline import train_reviews
    from trainer.progress import Progress
    from trainer.release.folders import check_folder
    from trainer.report.page import write_report
    from trainer.report.sample_files import write_sample_files
    from trainer.report.summary import print_curve, print_report, print_result
    from twotower.release_signature import read_signing_key
    from twotower.release_users import users_root
    from twotower.terminal import console
    from twotower.users_writer import KEPT_USERS, forget_users, keep_newest

    terminal, progress = console(stderr=as_json), Progress(console(stderr=True))
    recipe = chosen.recipe(preset)
    options = replace(
        recipe,
        cleaning=cleaning,
        fit=replace(recipe.fit, seed=seed),
        source=source,
        validation_fraction=validation_fraction,
    )
    check_backend()
    users = users or users_root(out)
    for folder, option in ((out, "--out"), (users, "--users"), (write_samples, "--write-samples")):
        check_folder(folder, option)
    key = read_signing_key(signing_key) if signing_key else None
    table = _table(evaluation)
    with progress.stage("read reviews"):
        cleaned, report = read_reviews(reviews, cleaning, source)
    print_report(terminal, report)
    if encoder is None:
        with progress.stage("export encoder"):
            encoder = cached_encoder(cache)
    result = train_reviews(
        cleaned,
        report,
        out,
        options,
        encoder_path=encoder,
        cache=cache,
        progress=progress,
        users=users,
        signing_key=key,
    )
    keep_newest(users, KEPT_USERS)
    forget_users(users, cleaning.suppressions)
    print_curve(terminal, result.fitted)
    print_result(terminal, result, progress.seconds)
    files: dict[str, object] = {}
    if write_samples:
        with progress.stage("write samples"):
            files["samples"] = samples = write_sample_files(write_samples, result, samples_format)
        click.echo(f"samples: {', '.join(map(str, samples))}", err=as_json)
    with progress.stage("write report"):
        files["report"] = write_report(out / "reports" / result.release.release_id, result, table)
    click.echo(f"report: {files['report']}", err=as_json)
    published = None
    if publish_it:
        published = _publish(result.release, services, progress, as_json, prune=users if prune_users else None)
    else:
        serve = f"twotower publish {shlex.quote(str(result.release.path))}"
        click.echo(
            f"to serve it: {serve}, while both services run with --releases {shlex.quote(str(out))}", err=as_json
        )
    if as_json:
        print_json({**_training(result), **files, "seconds": progress.seconds, "published": published})


def _training(result: "TrainingResult") -> dict[str, object]:
    """What a run made, for programs."""
    manifest, (training, validation) = result.release.manifest, result.samples
    return {
        "release_id": manifest.release_id,
        "path": result.release.path,
        "preset": manifest.preset,
        "product_count": manifest.product_count,
        "user_count": len(result.reviews.user_ids),
        "review_count": len(result.reviews),
        "training_samples": training,
        "validation_samples": validation,
        "cleaning": asdict(result.report),
        "curve": result.fitted.curve,
        "best_epoch": result.fitted.best_epoch,
        "metrics": manifest.metrics,
        "scoring": manifest.scoring,
        "golden_difference": result.golden_difference,
    }


def _table(path: Path | None) -> Any:
    """The table that ``twotower evaluate --json`` wrote."""
    import json

    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(
            f"must be JSON of `twotower evaluate --json`: {error}", param_hint="--evaluation"
        ) from error


@click.command("publish")
@release_argument
@users_option
@prune_option
@suppressions_option
@click.option("--force", is_flag=True, help="Also if RELEASE has far fewer users than the one published before.")
@service_options
@json_option
def publish(
    *,
    release: Path,
    users: Path | None,
    prune_users: bool,
    suppressions: "Suppressions",
    force: bool,
    services: Services,
    as_json: bool,
) -> None:
    """Send the users of RELEASE to the embedding service and load RELEASE on the ranking service.

    RELEASE is the folder of a release, or the id of one in --releases, or `latest`.
    """
    from trainer.progress import Progress
    from twotower.errors import FieldViolation, InvalidArgument
    from twotower.release import Release
    from twotower.release_users import users_root
    from twotower.terminal import console
    from twotower.users_writer import deleted_users, forget_users

    progress = Progress(console(stderr=True))
    root = users or users_root(release.resolve().parent)
    with progress.stage("verify release"):
        forget_users(root, suppressions)
        opened = Release.open(release.resolve(), users=users)
        if suppressions and any(deleted_users(opened.users, suppressions)):
            problem = f"names users whom {opened.release_id}, of an old format, holds itself: train again without them"
            raise InvalidArgument([FieldViolation("--suppressions", problem)])
    published = _publish(opened, services, progress, as_json, prune=root if prune_users else None, force=force)
    if as_json:
        print_json(published, release_id=opened.release_id)


def _publish(
    release: "Release",
    to: Services,
    progress: "Progress",
    as_json: bool,
    *,
    prune: Path | None,
    force: bool = False,
) -> "Published":
    """Publish a release, and then remove its users and older ones from the folder `prune`."""
    from trainer.release.publish import publish as run
    from twotower.users_writer import keep_newer

    with progress.stage("publish users", len(release.users)) as on_progress:
        done = run(
            release,
            to.embedding,
            to.ranking,
            channels=to.channels,
            timeout_s=to.timeout_s,
            force=force,
            on_progress=on_progress,
        )
    click.echo(
        f"published {release.release_id}: {done.users:,} users with {done.reviews:,} reviews, "
        f"{done.products:,} products served",
        err=as_json,
    )
    if done.not_retired:
        click.echo(f"older spaces are kept until the next publish: {done.not_retired}", err=True)
    if prune:
        keep_newer(prune, release.release_id)
    return done


@click.command("sample-data")
@click.argument("file", type=FILE)
@click.option("--reviews", default=6000, show_default=True, help="Rows to write.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same file.")
@json_option
def sample_data(file: Path, reviews: int, seed: int, as_json: bool) -> None:
    """Write SYNTHETIC reviews to FILE (.csv or .csv.gz), in the 25-column schema and the shape of real ones."""
    from trainer.synthetic.reviews import write_synthetic

    write_synthetic(file, reviews, seed)
    if as_json:
        print_json({"file": file, "reviews": reviews, "seed": seed, "synthetic": True})
        return
    click.echo(
        f"{file}: {reviews:,} SYNTHETIC reviews (seed {seed}): made up by a program, for trying the system "
        "out, not for conclusions"
    )


@click.command("evaluate")
@reviews_option
@source_options
@cleaning_options
@click.option(
    "--presets",
    default="best",
    show_default=True,
    help="Comma-separated names, `all`, or `none` for the baselines alone.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Fits of whatever is random.")
@click.option("--folds", type=click.IntRange(1), default=4, show_default=True, help="Rolling temporal folds.")
@recipe_options
@json_file_option("Print the whole table as one JSON document, or write it to FILE.")
@click.option(
    "--markdown",
    "markdown_file",
    type=FILE,
    callback=output_file,
    help="Write the table as it is shown here, in Markdown.",
)
@click.option(
    "--leak-audit",
    is_flag=True,
    help="First derive all features again with the future cut off; fail on any difference.",
)
@encoder_options
def evaluate(
    *,
    reviews: tuple[Path, ...],
    source: SourceOptions,
    cleaning: "CleaningOptions",
    presets: str,
    seeds: int,
    folds: int,
    chosen: RecipeOptions,
    json_file: Path | None,
    markdown_file: Path | None,
    leak_audit: bool,
    encoder: Path | None,
    cache: Path,
) -> None:
    """Compare presets with baselines on rolling temporal folds."""
    import json

    from trainer.data.reviews import check_order, read_reviews
    from trainer.encoding.export import cached_encoder
    from trainer.evaluation.leak import audit
    from trainer.evaluation.run import evaluate_reviews
    from trainer.evaluation.show import markdown, print_table
    from trainer.network.tensorflow_runtime import check_backend
    from trainer.progress import Progress
    from trainer.tuning.search_space import preset_in
    from twotower.terminal import console

    progress = Progress(console(stderr=True))
    check_backend()
    if json_file and json_file != STDOUT:
        check_output(json_file, "--json")
    listed = [name.strip() for name in presets.split(",") if name.strip() not in ("", "none")]
    names = list(PRESETS) if presets == "all" else listed
    with progress.stage("read reviews"):
        cleaned, _ = read_reviews(reviews, cleaning, source)
    check_order(cleaned, reviews)
    if leak_audit:
        click.echo(audit(cleaned, folds=folds, progress=progress), err=json_file == STDOUT)
    tuned = preset_in(chosen.file) if chosen.file else None
    if tuned and tuned not in names:
        raise click.BadParameter(f"is for the preset {tuned}, which is not among --presets", param_hint="--options")
    untuned = replace(chosen, file=None)
    table = evaluate_reviews(
        cleaned,
        [(chosen if name == tuned else untuned).recipe(name) for name in names],
        seeds=seeds,
        folds=folds,
        encoder_path=encoder or cached_encoder(cache),
        cache=cache,
        progress=progress,
    )
    if json_file == STDOUT:
        print_json(table)
    else:
        print_table(console(), table)
    if json_file and json_file != STDOUT:
        json_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if markdown_file:
        markdown_file.write_text(markdown(table), encoding="utf-8")


@click.command("describe")
@reviews_option
@source_options
@cleaning_options
@click.option("--html", "html_file", type=FILE, callback=output_file, help="Write the pictures to this page.")
@click.option(
    "--alpha",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Of the negatives in the figures after sampling.",
)
@json_option
def describe(
    *,
    reviews: tuple[Path, ...],
    source: SourceOptions,
    cleaning: "CleaningOptions",
    html_file: Path | None,
    alpha: float,
    as_json: bool,
) -> None:
    """Tell what is in review files: sizes, ratings before and after sampling, popularity, missing values, dates."""
    from trainer.data.reviews import read_reviews
    from trainer.report.describe import description, print_description, write_pictures
    from trainer.report.summary import print_report
    from twotower.terminal import console

    cleaned, report = read_reviews(reviews, cleaning, source)
    found = description(cleaned, alpha)
    if html_file:
        write_pictures(html_file, cleaned)
    if as_json:
        print_json({"cleaning": asdict(report), **found, "pictures": html_file})
        return
    terminal = console()
    print_report(terminal, report)
    print_description(terminal, found)
    if html_file:
        click.echo(f"pictures: {html_file}")


@click.command("import-keras")
@click.argument("model", type=EXISTING)
@click.option(
    "--products",
    type=EXISTING,
    required=True,
    help="JSONL: product_id, name and, where known, brand, categories, manufacturer.",
)
@click.option(
    "--item-factors", type=EXISTING, help=".npy (products, 64): the ALS factors that the network was trained with."
)
@click.option(
    "--global-mean", type=EXISTING, help=".npy (384,): the mean review embedding, what users without a history have."
)
@click.option("--out", type=FOLDER, required=True, help="Folder of releases; the new one is OUT/<release id>.")
@signing_option
@encoder_options
@json_option
def import_keras(
    *,
    model: Path,
    products: Path,
    item_factors: Path | None,
    global_mean: Path | None,
    out: Path,
    signing_key: Path | None,
    encoder: Path | None,
    cache: Path,
    as_json: bool,
) -> None:
    """Make a release of a Keras MODEL with the contracted inputs."""
    from trainer.encoding.export import cached_encoder
    from trainer.network.tensorflow_runtime import check_backend
    from trainer.progress import Progress
    from trainer.release.folders import check_folder
    from trainer.release.import_keras import ImportedFiles
    from trainer.release.import_keras import import_keras as run
    from twotower.release_signature import read_signing_key
    from twotower.terminal import console

    check_backend()
    check_folder(out, "--out")
    key = read_signing_key(signing_key) if signing_key else None
    files = ImportedFiles(products, item_factors, global_mean)
    with Progress(console(stderr=True)).stage("import") as on_progress:
        release = run(model, files, out, encoder or cached_encoder(cache), on_progress, signing_key=key)
    products_served = release.manifest.product_count
    if as_json:
        print_json({"release_id": release.release_id, "path": release.path, "product_count": products_served})
        return
    click.echo(f"{release.path}: {products_served:,} products, golden requests replayed")
