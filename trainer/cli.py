"""The trainer's sub-commands. Whatever is slow to import is imported when a command runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twotower.features import ANONYMOUS_NAMES, DEFAULT_USERNAME

if TYPE_CHECKING:
    from trainer.progress import Progress
    from trainer.sources import SourceOptions
    from twotower.release import Release

_FILE = click.Path(dir_okay=False, path_type=Path)

_FOLDER = click.Path(file_okay=False, path_type=Path)
_Command = Callable[..., None]
_PRESETS = ("v1", "v2", "v3", "v4", "v5_power", "v6_power", "best")


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twotower"


def _service_options(command: _Command) -> _Command:
    """Where the services are: the same for `publish` and for `train --publish`."""
    for option in (
        click.option("--tls-ca", type=_FILE, help="PEM file of the services' certificate authority; plaintext if not given."),
        click.option(
            "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds a service."
        ),
        click.option(
            "--ranking",
            envvar="TWOTOWER_RANKING",
            default="127.0.0.1:50052",
            show_default=True,
            show_envvar=True,
            help="host:port of the ranking service.",
        ),
        click.option(
            "--embedding",
            envvar="TWOTOWER_EMBEDDING",
            default="127.0.0.1:50051",
            show_default=True,
            show_envvar=True,
            help="host:port of the embedding service.",
        ),
    ):
        command = option(command)
    return command


def _source_options(command: _Command) -> _Command:
    """What a review file is: the same for every command that reads one."""
    for option in (
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="NAME=COLUMN",
            help="The file's own COLUMN for the schema's NAME.",
        ),
        click.option("--metadata", type=_FILE, help="Of the amazon format: the products' metadata JSONL."),
        click.option(
            "--format",
            "file_format",
            type=click.Choice(["auto", "datafiniti", "amazon", "parquet"]),
            default="auto",
            show_default=True,
            help="Told by the file's content if auto. All but Parquet may be gzipped.",
        ),
        click.option("--reviews", type=_FILE, required=True, help="Review file: 25-column CSV, Amazon review JSONL, or Parquet."),
    ):
        command = option(command)
    return command


def _source(file_format: str, metadata: Path | None, columns: tuple[str, ...]) -> "SourceOptions":
    from trainer.sources import SourceOptions

    pairs = [column.partition("=") for column in columns]
    if not all(name and found for name, _, found in pairs):
        raise click.BadParameter("must be NAME=COLUMN", param_hint="--column")
    return SourceOptions(file_format, metadata, {name: found for name, _, found in pairs})  # type: ignore[arg-type] # click checked the choice


@click.command("train")
@_source_options
@click.option("--out", type=_FOLDER, required=True, help="Folder of releases; the new one is OUT/<release id>.")
@click.option("--preset", type=click.Choice(_PRESETS), default="v5_power", show_default=True, help="Recipe.")
@click.option("--epochs", type=click.IntRange(1, 15), default=10, show_default=True, help="At most this many; the best is kept.")
@click.option("--batch-size", type=click.IntRange(1), default=1024, show_default=True, help="Samples a step.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="The same seed gives the same release id.")
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Last share of the rows by time, held out to choose the epoch by; 0 trains on all.",
)
@click.option("--default-username", default=DEFAULT_USERNAME, show_default=True, help="Author of a review without a name.")
@click.option(
    "--anonymous-name", "anonymous_names", multiple=True, default=ANONYMOUS_NAMES, show_default=True, help="Name shared by strangers."
)
@click.option(
    "--max-dropped",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Refuse a file of which more than this share is unusable.",
)
@click.option("--strict", is_flag=True, help="Refuse a file with any missing or unusable value.")
@click.option("--encoder", type=_FOLDER, help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given.")
@click.option("--cache", type=_FOLDER, envvar="TWOTOWER_CACHE", help="Folder of encoded texts.  [default: ~/.cache/twotower]")
@click.option("--evaluation", type=_FILE, help="Table of `twotower evaluate --json`, for the report.")
@click.option("--write-samples", type=_FOLDER, help="Write negative_samples and final_df to this folder.")
@click.option("--samples-format", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Of --write-samples.")
@click.option("--publish", "publish_it", is_flag=True, help="Then send the users to the embedding service and load the release on ranking.")
@_service_options
def train(
    *,
    reviews: Path,
    file_format: str,
    metadata: Path | None,
    columns: tuple[str, ...],
    out: Path,
    preset: str,
    epochs: int,
    batch_size: int,
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

    from rich.console import Console

    from trainer.cleaning import CleaningOptions
    from trainer.fit import FitOptions
    from trainer.pipeline import TrainingOptions
    from trainer.pipeline import train as run
    from trainer.presets import preset_named
    from trainer.progress import Progress
    from trainer.report.page import write_report
    from trainer.sample_files import write_sample_files
    from trainer.summary import print_curve, print_report, print_result
    from trainer.text import cached_encoder

    console = Console()
    progress = Progress(Console(stderr=True))
    cache = cache or _default_cache()
    options = TrainingOptions(
        preset_named(preset),
        CleaningOptions(default_username, anonymous_names, max_dropped, strict),
        FitOptions(epochs=epochs, batch_size=batch_size, seed=seed),
        _source(file_format, metadata, columns),
        validation_fraction,
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
@click.argument("release", type=_FOLDER)
@_service_options
def publish(*, release: Path, embedding: str, ranking: str, timeout_s: float, tls_ca: Path | None) -> None:
    """Send the users of RELEASE to the embedding service and load RELEASE on the ranking service."""
    from rich.console import Console

    from trainer.progress import Progress
    from twotower.release import Release

    progress = Progress(Console(stderr=True))
    with progress.stage("verify release"):
        opened = Release.open(release)
    _publish(opened, progress, embedding=embedding, ranking=ranking, timeout_s=timeout_s, tls_ca=tls_ca)


def _publish(release: "Release", progress: "Progress", *, embedding: str, ranking: str, timeout_s: float, tls_ca: Path | None) -> None:
    from trainer.publish import publish as run
    from trainer.publish import user_count
    from twotower.rpc import ChannelTls

    with progress.stage("publish users", user_count(release)) as on_progress:
        tls = ChannelTls(ca=tls_ca) if tls_ca else None
        done = run(release, embedding, ranking, tls=tls, timeout_s=timeout_s, on_progress=on_progress)
    click.echo(f"published {release.release_id}: {done.users:,} users with {done.reviews:,} reviews, {done.products:,} products served")


@click.command("sample-data")
@click.argument("file", type=_FILE)
@click.option("--reviews", default=6000, show_default=True, help="Rows to write.")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same file.")
def sample_data(file: Path, reviews: int, seed: int) -> None:
    """Write SYNTHETIC reviews to FILE (.csv or .csv.gz), in the 25-column schema and the shape of real ones."""
    from trainer.sample import write_sample

    write_sample(file, reviews, seed)
    click.echo(f"{file}: {reviews:,} SYNTHETIC reviews (seed {seed}): made up by a program, for trying the system out, not for conclusions")


@click.command("evaluate")
@_source_options
@click.option("--presets", default="best", show_default=True, help="Comma-separated names, `all`, or `none` for the baselines alone.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Fits of whatever is random.")
@click.option("--folds", type=click.IntRange(1), default=4, show_default=True, help="Rolling temporal folds.")
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Of the presets that are trained with MSE.")
@click.option("--json", "json_file", type=_FILE, help="Write the whole table here.")
@click.option("--leak-audit", is_flag=True, help="First derive all features again with the future cut off; fail on any difference.")
@click.option("--encoder", type=_FOLDER, help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given.")
@click.option("--cache", type=_FOLDER, envvar="TWOTOWER_CACHE", help="Folder of encoded texts.  [default: ~/.cache/twotower]")
def evaluate(
    *,
    reviews: Path,
    file_format: str,
    metadata: Path | None,
    columns: tuple[str, ...],
    presets: str,
    seeds: int,
    folds: int,
    epochs: int,
    json_file: Path | None,
    leak_audit: bool,
    encoder: Path | None,
    cache: Path | None,
) -> None:
    """Compare presets with baselines on rolling temporal folds."""
    import json

    from rich.console import Console

    from trainer.cleaning import CleaningOptions
    from trainer.evaluation.leak import audit
    from trainer.evaluation.protocol import evaluate_reviews
    from trainer.evaluation.show import print_table
    from trainer.fit import FitOptions
    from trainer.progress import Progress
    from trainer.reviews import read_reviews
    from trainer.text import cached_encoder

    progress = Progress(Console(stderr=True))
    cache = cache or _default_cache()
    names = _PRESETS if presets == "all" else tuple(name.strip() for name in presets.split(",") if name.strip() not in ("", "none"))
    with progress.stage("read reviews"):
        found, _ = read_reviews(reviews, CleaningOptions(), _source(file_format, metadata, columns))
    if leak_audit:
        click.echo(audit(found, folds=folds, progress=progress))
    table = evaluate_reviews(
        found,
        names,
        seeds=seeds,
        folds=folds,
        fit=FitOptions(epochs=epochs),
        encoder_path=encoder or cached_encoder(cache),
        cache=cache,
        progress=progress,
    )
    print_table(Console(width=180), table)
    if json_file:
        json_file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


@click.command("describe")
@_source_options
@click.option("--html", "html_file", type=_FILE, help="Write the pictures to this page.")
@click.option("--alpha", type=click.FloatRange(0), default=1.0, show_default=True, help="Of the negatives in the figures after sampling.")
def describe(
    *, reviews: Path, file_format: str, metadata: Path | None, columns: tuple[str, ...], html_file: Path | None, alpha: float
) -> None:
    """Tell what is in a review file: sizes, ratings before and after sampling, popularity, missing values, dates."""
    from rich.console import Console

    from trainer.cleaning import CleaningOptions
    from trainer.describe import description, print_description, write_pictures
    from trainer.reviews import read_reviews
    from trainer.summary import print_report

    found, report = read_reviews(reviews, CleaningOptions(), _source(file_format, metadata, columns))
    console = Console()
    print_report(console, report)
    print_description(console, description(found, alpha))
    if html_file:
        write_pictures(html_file, found)
        click.echo(f"pictures: {html_file}")


@click.command("import-keras")
@click.argument("model", type=_FILE)
@click.option("--products", type=_FILE, required=True, help="JSONL: product_id, name and, where known, brand, categories, manufacturer.")
@click.option("--item-factors", type=_FILE, help=".npy (products, 64): the ALS factors that the network was trained with.")
@click.option("--global-mean", type=_FILE, help=".npy (384,): the mean review embedding, what users without a history have.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of releases; the new one is OUT/<release id>.")
@click.option("--encoder", type=_FOLDER, help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given.")
@click.option("--cache", type=_FOLDER, envvar="TWOTOWER_CACHE", help="Folder of the exported encoder.  [default: ~/.cache/twotower]")
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

    from trainer.import_keras import ImportedFiles
    from trainer.import_keras import import_keras as run
    from trainer.progress import Progress
    from trainer.text import cached_encoder

    files = ImportedFiles(products, item_factors, global_mean)
    with Progress(Console(stderr=True)).stage("import") as on_progress:
        release = run(model, files, out, encoder or cached_encoder(cache or _default_cache()), on_progress)
    click.echo(f"{release.path}: {release.manifest.product_count:,} products, golden requests replayed")
