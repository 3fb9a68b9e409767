"""The trainer's sub-commands. Whatever is slow to import is imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.cli.options import (
    FILE,
    FOLDER,
    default_cache,
    encoder_options,
    recipe_of,
    recipe_options,
    service_options,
    source_of,
    source_options,
)
from trainer.data.sources import Format
from trainer.network.presets import PRESETS
from twotower.features import ANONYMOUS_NAMES, DEFAULT_USERNAME

if TYPE_CHECKING:
    from trainer.progress import Progress
    from twotower.release import Release


@click.command("train")
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
@click.option(
    "--default-username", default=DEFAULT_USERNAME, show_default=True, help="Author of a review without a name."
)
@click.option(
    "--anonymous-name",
    "anonymous_names",
    multiple=True,
    default=ANONYMOUS_NAMES,
    show_default=True,
    help="Name shared by strangers.",
)
@click.option(
    "--max-dropped",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Refuse a file of which more than this share is unusable.",
)
@click.option("--strict", is_flag=True, help="Refuse a file with any missing or unusable value.")
@encoder_options
@click.option("--evaluation", type=FILE, help="Table of `twotower evaluate --json`, for the report.")
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
@service_options
def train(
    *,
    reviews: Path,
    file_format: Format,
    metadata: Path | None,
    columns: tuple[str, ...],
    out: Path,
    preset: str,
    epochs: int | None,
    batch_size: int | None,
    options_file: Path | None,
    seed: int,
    validation_fraction: float,
    default_username: str,
    anonymous_names: tuple[str, ...],
    max_dropped: float,
    strict: bool,
    encoder: Path | None,
    cache: Path | None,
    evaluation: Path | None,
    write_samples: Path | None,
    samples_format: str,
    publish_it: bool,
    embedding: str,
    ranking: str,
    timeout_s: float,
    tls_ca: Path | None,
) -> None:
    """Train a PRESET on a review file and write the release."""
    import json
    from dataclasses import replace

    from rich.console import Console

    from trainer.data.cleaning import CleaningOptions
    from trainer.encoding.export import cached_encoder
    from trainer.pipeline import train as run
    from trainer.progress import Progress
    from trainer.report.page import write_report
    from trainer.report.sample_files import write_sample_files
    from trainer.report.summary import print_curve, print_report, print_result

    console = Console()
    progress = Progress(Console(stderr=True))
    cache = cache or default_cache()
    recipe = recipe_of(preset, options_file, epochs=epochs, batch_size=batch_size)
    options = replace(
        recipe,
        cleaning=CleaningOptions(default_username, anonymous_names, max_dropped, strict),
        fit=replace(recipe.fit, seed=seed),
        source=source_of(file_format, metadata, columns),
        validation_fraction=validation_fraction,
    )
    if encoder is None:
        with progress.stage("export encoder"):
            encoder = cached_encoder(cache)
    result = run(reviews, out, options, encoder_path=encoder, cache=cache, progress=progress)
    print_report(console, result.report)
    print_curve(console, result.fitted)
    print_result(console, result, progress.seconds)
    if write_samples:
        with progress.stage("write samples"):
            click.echo(f"samples: {', '.join(map(str, write_sample_files(write_samples, result, samples_format)))}")
    with progress.stage("write report"):
        table = json.loads(evaluation.read_text(encoding="utf-8")) if evaluation else None
        page = write_report(out / "reports" / result.release.release_id, result, table)
    click.echo(f"report: {page}")
    if publish_it:
        _publish(result.release, progress, embedding=embedding, ranking=ranking, timeout_s=timeout_s, tls_ca=tls_ca)


@click.command("publish")
@click.argument("release", type=FOLDER)
@service_options
def publish(*, release: Path, embedding: str, ranking: str, timeout_s: float, tls_ca: Path | None) -> None:
    """Send the users of RELEASE to the embedding service and load RELEASE on the ranking service."""
    from rich.console import Console

    from trainer.progress import Progress
    from twotower.release import Release

    progress = Progress(Console(stderr=True))
    with progress.stage("verify release"):
        opened = Release.open(release)
    _publish(opened, progress, embedding=embedding, ranking=ranking, timeout_s=timeout_s, tls_ca=tls_ca)


def _publish(
    release: "Release", progress: "Progress", *, embedding: str, ranking: str, timeout_s: float, tls_ca: Path | None
) -> None:
    from trainer.release.publish import publish as run
    from twotower.rpc import ChannelTls

    with progress.stage("publish users", len(release.users)) as on_progress:
        tls = ChannelTls(ca=tls_ca) if tls_ca else None
        done = run(release, embedding, ranking, tls=tls, timeout_s=timeout_s, on_progress=on_progress)
    click.echo(
        f"published {release.release_id}: {done.users:,} users with {done.reviews:,} reviews, "
        f"{done.products:,} products served"
    )


@click.command("sample-data")
@click.argument("file", type=FILE)
@click.option("--reviews", default=6000, show_default=True, help="Rows to write.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same file.")
def sample_data(file: Path, reviews: int, seed: int) -> None:
    """Write SYNTHETIC reviews to FILE (.csv or .csv.gz), in the 25-column schema and the shape of real ones."""
    from trainer.synthetic.reviews import write_synthetic

    write_synthetic(file, reviews, seed)
    click.echo(
        f"{file}: {reviews:,} SYNTHETIC reviews (seed {seed}): made up by a program, for trying the system "
        "out, not for conclusions"
    )


@click.command("evaluate")
@source_options
@click.option(
    "--presets",
    default="best",
    show_default=True,
    help="Comma-separated names, `all`, or `none` for the baselines alone.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Fits of whatever is random.")
@click.option("--folds", type=click.IntRange(1), default=4, show_default=True, help="Rolling temporal folds.")
@recipe_options
@click.option("--json", "json_file", type=FILE, help="Write the whole table here.")
@click.option("--markdown", "markdown_file", type=FILE, help="Write the table as it is shown here, in Markdown.")
@click.option(
    "--leak-audit",
    is_flag=True,
    help="First derive all features again with the future cut off; fail on any difference.",
)
@encoder_options
def evaluate(
    *,
    reviews: Path,
    file_format: Format,
    metadata: Path | None,
    columns: tuple[str, ...],
    presets: str,
    seeds: int,
    folds: int,
    epochs: int | None,
    batch_size: int | None,
    options_file: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    leak_audit: bool,
    encoder: Path | None,
    cache: Path | None,
) -> None:
    """Compare presets with baselines on rolling temporal folds."""
    import json

    from rich.console import Console

    from trainer.data.cleaning import CleaningOptions
    from trainer.data.reviews import read_reviews
    from trainer.encoding.export import cached_encoder
    from trainer.evaluation.leak import audit
    from trainer.evaluation.run import evaluate_reviews
    from trainer.evaluation.show import markdown, print_table
    from trainer.progress import Progress
    from trainer.tuning.search_space import preset_in

    progress = Progress(Console(stderr=True))
    cache = cache or default_cache()
    names = (
        tuple(PRESETS)
        if presets == "all"
        else tuple(name.strip() for name in presets.split(",") if name.strip() not in ("", "none"))
    )
    with progress.stage("read reviews"):
        found, _ = read_reviews(reviews, CleaningOptions(), source_of(file_format, metadata, columns))
    if leak_audit:
        click.echo(audit(found, folds=folds, progress=progress))
    tuned = preset_in(options_file) if options_file else None
    if tuned and tuned not in names:
        raise click.BadParameter(f"is for the preset {tuned}, which is not among --presets", param_hint="--options")
    table = evaluate_reviews(
        found,
        [
            recipe_of(name, options_file if name == tuned else None, epochs=epochs, batch_size=batch_size)
            for name in names
        ],
        seeds=seeds,
        folds=folds,
        encoder_path=encoder or cached_encoder(cache),
        cache=cache,
        progress=progress,
    )
    print_table(Console(width=180), table)
    if json_file:
        json_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    if markdown_file:
        markdown_file.write_text(markdown(table), encoding="utf-8")


@click.command("describe")
@source_options
@click.option("--html", "html_file", type=FILE, help="Write the pictures to this page.")
@click.option(
    "--alpha",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="Of the negatives in the figures after sampling.",
)
def describe(
    *,
    reviews: Path,
    file_format: Format,
    metadata: Path | None,
    columns: tuple[str, ...],
    html_file: Path | None,
    alpha: float,
) -> None:
    """Tell what is in a review file: sizes, ratings before and after sampling, popularity, missing values, dates."""
    from rich.console import Console

    from trainer.data.cleaning import CleaningOptions
    from trainer.data.reviews import read_reviews
    from trainer.report.describe import description, print_description, write_pictures
    from trainer.report.summary import print_report

    found, report = read_reviews(reviews, CleaningOptions(), source_of(file_format, metadata, columns))
    console = Console()
    print_report(console, report)
    print_description(console, description(found, alpha))
    if html_file:
        write_pictures(html_file, found)
        click.echo(f"pictures: {html_file}")


@click.command("import-keras")
@click.argument("model", type=FILE)
@click.option(
    "--products",
    type=FILE,
    required=True,
    help="JSONL: product_id, name and, where known, brand, categories, manufacturer.",
)
@click.option(
    "--item-factors", type=FILE, help=".npy (products, 64): the ALS factors that the network was trained with."
)
@click.option(
    "--global-mean", type=FILE, help=".npy (384,): the mean review embedding, what users without a history have."
)
@click.option("--out", type=FOLDER, required=True, help="Folder of releases; the new one is OUT/<release id>.")
@encoder_options
def import_keras(
    *,
    model: Path,
    products: Path,
    item_factors: Path | None,
    global_mean: Path | None,
    out: Path,
    encoder: Path | None,
    cache: Path | None,
) -> None:
    """Make a release of a Keras MODEL with the contracted inputs."""
    from rich.console import Console

    from trainer.encoding.export import cached_encoder
    from trainer.progress import Progress
    from trainer.release.import_keras import ImportedFiles
    from trainer.release.import_keras import import_keras as run

    files = ImportedFiles(products, item_factors, global_mean)
    with Progress(Console(stderr=True)).stage("import") as on_progress:
        release = run(model, files, out, encoder or cached_encoder(cache or default_cache()), on_progress)
    click.echo(f"{release.path}: {release.manifest.product_count:,} products, golden requests replayed")
