"""Options that several commands of the trainer share: each group reaches its command as one value."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from trainer.data.sources import Format, SourceOptions
from trainer.network.presets import preset_named

if TYPE_CHECKING:
    from trainer.pipeline import TrainingOptions
    from twotower.rpc import ChannelTls

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
Command = Callable[..., None]

reviews_option = click.option(
    "--reviews", type=FILE, required=True, help="Review file: 25-column CSV, Amazon review JSONL, or Parquet."
)


def source_options(command: Command) -> Command:
    """What a review file is; the command gets `source`."""

    @click.option(
        "--format",
        "file_format",
        type=click.Choice(get_args(Format)),
        default="auto",
        show_default=True,
        help="Told by the file's content if auto. All but Parquet may be gzipped.",
    )
    @click.option("--metadata", type=FILE, help="Of the amazon format: the products' metadata JSONL.")
    @click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        help="The file's own COLUMN for the schema's NAME.",
    )
    @functools.wraps(command)
    def run(*, file_format: Format, metadata: Path | None, columns: tuple[str, ...], **others: object) -> None:
        pairs = [column.partition("=") for column in columns]
        if not all(name and own for name, _, own in pairs):
            raise click.BadParameter("must be NAME=COLUMN", param_hint="--column")
        source = SourceOptions(file_format, metadata, {name: own for name, _, own in pairs})
        command(source=source, **others)

    return run


def encoder_options(command: Command) -> Command:
    """Which encoder, and where encoded texts are kept; the command gets `cache` and `encoder`, which may be None."""
    encoder = click.option(
        "--encoder", type=FOLDER, help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given."
    )
    cache = click.option(
        "--cache",
        type=FOLDER,
        envvar="TWOTOWER_CACHE",
        default=default_cache,
        help="Folder of encoded texts.  [default: ~/.cache/twotower]",
    )
    return encoder(cache(command))


def default_cache() -> Path:
    """``~/.cache/twotower``, or under ``$XDG_CACHE_HOME``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twotower"


@dataclass(frozen=True)
class RecipeOptions:
    """How presets are trained.

    Attributes:
        file: options of one preset, as ``twotower tune`` writes them.
        epochs: of a preset trained with MSE; those of the file, or the default, if None.
        batch_size: the same.
    """

    file: Path | None
    epochs: int | None
    batch_size: int | None

    def recipe(self, preset: str) -> "TrainingOptions":
        """A preset with the options of the file, and then those of the command line."""
        from dataclasses import replace

        from trainer.pipeline import TrainingOptions
        from trainer.tuning.search_space import read_options

        recipe = TrainingOptions(preset_named(preset))
        if self.file:
            recipe = read_options(self.file, recipe)
        epochs, batch_size = self.epochs or recipe.fit.epochs, self.batch_size or recipe.fit.batch_size
        return replace(recipe, fit=replace(recipe.fit, epochs=epochs, batch_size=batch_size))


def recipe_options(command: Command) -> Command:
    """How a preset is trained; the command gets `chosen`, a :class:`RecipeOptions`."""

    @click.option(
        "--epochs",
        type=click.IntRange(1, 30),
        help="Of presets trained with MSE; `train` keeps the best.  [default: 10]",
    )
    @click.option(
        "--batch-size", type=click.IntRange(1), help="Samples per step, of presets trained with MSE.  [default: 1024]"
    )
    @click.option(
        "--options", "file", type=FILE, help="Options of the preset, as `twotower tune` writes them (best.json)."
    )
    @functools.wraps(command)
    def run(*, file: Path | None, epochs: int | None, batch_size: int | None, **others: object) -> None:
        command(chosen=RecipeOptions(file, epochs, batch_size), **others)

    return run


@dataclass(frozen=True)
class Services:
    """Where the services are.

    Attributes:
        embedding, ranking: ``host:port``.
        timeout_s: of the one call to each.
        tls_ca: PEM file of their certificate authority; None is plaintext.
    """

    embedding: str
    ranking: str
    timeout_s: float
    tls_ca: Path | None

    @property
    def tls(self) -> "ChannelTls | None":
        """What the channels verify the services by."""
        from twotower.rpc import ChannelTls

        return ChannelTls(ca=self.tls_ca) if self.tls_ca else None


def service_options(command: Command) -> Command:
    """Where the services are, the same for `publish` and for `train --publish`; the command gets `services`."""

    @_address("embedding", "127.0.0.1:50051")
    @_address("ranking", "127.0.0.1:50052")
    @click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds per service.",
    )
    @click.option(
        "--tls-ca", type=FILE, help="PEM file of the services' certificate authority; plaintext if not given."
    )
    @functools.wraps(command)
    def run(*, embedding: str, ranking: str, timeout_s: float, tls_ca: Path | None, **others: object) -> None:
        command(services=Services(embedding, ranking, timeout_s, tls_ca), **others)

    return run


def _address(service: str, default: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{service}",
        envvar=f"TWOTOWER_{service.upper()}",
        default=default,
        show_default=True,
        show_envvar=True,
        help=f"host:port of the {service} service.",
    )
