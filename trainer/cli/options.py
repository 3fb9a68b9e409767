"""Options that several commands of the trainer share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from trainer.data.sources import Format, SourceOptions
from trainer.network.presets import preset_named

if TYPE_CHECKING:
    from trainer.pipeline import TrainingOptions

FILE = click.Path(dir_okay=False, path_type=Path)

FOLDER = click.Path(file_okay=False, path_type=Path)
Command = Callable[..., None]


def default_cache() -> Path:
    """``~/.cache/twotower``, or under ``$XDG_CACHE_HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twotower"


def service_options(command: Command) -> Command:
    """Where the services are: the same for `publish` and for `train --publish`."""
    for option in (
        click.option(
            "--tls-ca", type=FILE, help="PEM file of the services' certificate authority; plaintext if not given."
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0, min_open=True),
            default=600.0,
            show_default=True,
            help="Seconds a service.",
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


def source_options(command: Command) -> Command:
    """A review file and what it is: the same for every command that takes one as an option."""
    file = click.option(
        "--reviews", type=FILE, required=True, help="Review file: 25-column CSV, Amazon review JSONL, or Parquet."
    )
    return file(format_options(command))


def format_options(command: Command) -> Command:
    """What a review file is."""
    for option in (
        click.option(
            "--column",
            "columns",
            multiple=True,
            metavar="NAME=COLUMN",
            help="The file's own COLUMN for the schema's NAME.",
        ),
        click.option("--metadata", type=FILE, help="Of the amazon format: the products' metadata JSONL."),
        click.option(
            "--format",
            "file_format",
            type=click.Choice(get_args(Format)),
            default="auto",
            show_default=True,
            help="Told by the file's content if auto. All but Parquet may be gzipped.",
        ),
    ):
        command = option(command)
    return command


def source_of(file_format: Format, metadata: Path | None, columns: tuple[str, ...]) -> SourceOptions:
    """What :func:`source_options` were given, checked."""
    pairs = [column.partition("=") for column in columns]
    if not all(name and found for name, _, found in pairs):
        raise click.BadParameter("must be NAME=COLUMN", param_hint="--column")
    return SourceOptions(file_format, metadata, {name: found for name, _, found in pairs})


def encoder_options(command: Command) -> Command:
    """Which encoder, and where it and encoded texts are kept."""
    for option in (
        click.option(
            "--cache",
            type=FOLDER,
            envvar="TWOTOWER_CACHE",
            help="Folder of encoded texts.  [default: ~/.cache/twotower]",
        ),
        click.option(
            "--encoder",
            type=FOLDER,
            help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given.",
        ),
    ):
        command = option(command)
    return command


def recipe_options(command: Command) -> Command:
    """How a preset is trained."""
    for option in (
        click.option(
            "--options",
            "options_file",
            type=FILE,
            help="Options of the preset, as `twotower tune` writes them (best.json).",
        ),
        click.option(
            "--batch-size", type=click.IntRange(1), help="Samples a step, of presets trained with MSE.  [default: 1024]"
        ),
        click.option(
            "--epochs",
            type=click.IntRange(1, 30),
            help="Of presets trained with MSE; `train` keeps the best.  [default: 10]",
        ),
    ):
        command = option(command)
    return command


def recipe_of(
    preset: str, options_file: Path | None, *, epochs: int | None, batch_size: int | None
) -> "TrainingOptions":
    """A preset with the options of a file, and then those of the command line."""
    from dataclasses import replace

    from trainer.pipeline import TrainingOptions
    from trainer.tuning.search_space import read_options

    recipe = TrainingOptions(preset_named(preset))
    if options_file:
        recipe = read_options(options_file, recipe)
    fit = recipe.fit
    return replace(recipe, fit=replace(fit, epochs=epochs or fit.epochs, batch_size=batch_size or fit.batch_size))
