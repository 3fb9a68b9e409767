"""Options that several commands of the trainer share: each group reaches its command as one value."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from trainer.data.raw import Format, SourceOptions
from trainer.network.presets import preset_named
from twotower.addresses import ChannelSettings
from twotower.call_options import calls
from twotower.environment import CACHE, SUPPRESSIONS
from twotower.features import ANONYMOUS_NAMES, DEFAULT_USERNAME

if TYPE_CHECKING:
    from trainer.pipeline import TrainingOptions
    from twotower.suppressions import Suppressions

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
Command = Callable[..., None]

PATHS = click.Path(exists=True, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)

reviews_option = click.option(
    "--reviews",
    type=PATHS,
    required=True,
    multiple=True,
    help="Review file (CSV, JSON or Parquet, packed or not), or a folder of them; may be repeated.",
)


def source_options(command: Command) -> Command:
    """What a review file is; the command gets `source`."""

    @click.option(
        "--format",
        "file_format",
        type=click.Choice(get_args(Format)),
        default="auto",
        show_default=True,
        help="Told by the file's content if auto, as are gzip, zip, xz and zstd.",
    )
    @click.option(
        "--metadata", type=PATHS, multiple=True, help="File of the products, in any of the formats; may be repeated."
    )
    @click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        help="The file's own COLUMN for user, product, rating, date, title, text, name, brand, categories or "
        "manufacturer; usual names are recognised.",
    )
    @click.option("--delimiter", default="", help="Of CSV: a character, comma, semicolon or tab; told if not given.")
    @click.option("--no-header", is_flag=True, help="The first line is data; --column then takes numbers: product=1.")
    @click.option("--names", default="", help="Comma-separated names of the columns of a file without a header.")
    @click.option("--encoding", default="", help="Of CSV and JSON, e.g. windows-1252; told if not given.")
    @click.option(
        "--date-format", default="", help="iso, s, ms, us or ns since 1970, or e.g. %d/%m/%Y; told if not given."
    )
    @click.option(
        "--rating-scale", metavar="LOW-HIGH", default="", help="Lowest and highest rating; 0-5 stars if not given."
    )
    @click.option("--zero-is-unrated", is_flag=True, help="Leave out the rows whose rating is 0.")
    @functools.wraps(command)
    def run(
        *,
        file_format: Format,
        metadata: tuple[Path, ...],
        columns: tuple[str, ...],
        delimiter: str,
        no_header: bool,
        names: str,
        encoding: str,
        date_format: str,
        rating_scale: str,
        zero_is_unrated: bool,
        **others: object,
    ) -> None:
        pairs = [column.partition("=") for column in columns]
        if not all(name and own for name, _, own in pairs):
            raise click.BadParameter("must be NAME=COLUMN", param_hint="--column")
        source = SourceOptions(
            file_format,
            metadata,
            {name: own for name, _, own in pairs},
            delimiter,
            no_header,
            tuple(names.split(",")) if names else (),
            encoding,
            date_format,
            _scale(rating_scale),
            zero_is_unrated,
        )
        command(source=source, **others)

    return run


def _scale(text: str) -> tuple[float, float] | None:
    """The lowest and the highest rating of ``LOW-HIGH``."""
    if not text:
        return None
    number = r"-?\d+(?:\.\d+)?"
    match = re.fullmatch(rf"\s*({number})\s*(?:-|\.\.|:|to)\s*({number})\s*", text)
    if not match or float(match[1]) >= float(match[2]):
        raise click.BadParameter("must be LOW-HIGH, e.g. 1-10", param_hint="--rating-scale")
    return float(match[1]), float(match[2])


def cleaning_options(command: Command) -> Command:
    """How a file is cleaned; the command gets `cleaning`."""

    @click.option(
        "--default-username", default=DEFAULT_USERNAME, show_default=True, help="Author of a review without a name."
    )
    @click.option(
        "--anonymous-name",
        "more_names",
        multiple=True,
        help=f"Name that counts as anonymous, beside {', '.join(ANONYMOUS_NAMES)}; may be repeated.",
    )
    @click.option(
        "--only-anonymous-name",
        "only_names",
        multiple=True,
        help="Name that counts as anonymous in place of those three; may be repeated.",
    )
    @click.option(
        "--max-dropped",
        type=click.FloatRange(0, 1),
        default=0.01,
        show_default=True,
        help="Refuse a file of which more than this share is unusable.",
    )
    @suppressions_option
    @click.option("--strict", is_flag=True, help="Refuse a file with any missing or unusable value.")
    @functools.wraps(command)
    def run(
        *,
        default_username: str,
        more_names: tuple[str, ...],
        only_names: tuple[str, ...],
        max_dropped: float,
        suppressions: "Suppressions",
        strict: bool,
        **others: object,
    ) -> None:
        from trainer.data.cleaning import CleaningOptions
        from twotower.features import id_problem

        if not default_username.strip() or (problem := id_problem(default_username)):
            message = problem if default_username.strip() else "must not be blank"
            raise click.BadParameter(str(message), param_hint="--default-username")
        names = (*(only_names or ANONYMOUS_NAMES), *more_names)
        command(cleaning=CleaningOptions(default_username, names, max_dropped, strict, suppressions), **others)

    return run


def output_file(_context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that could not be written at the end of the work."""
    if path is not None:
        check_output(path, option.opts[0])
    return path


def check_output(path: Path, flag: str) -> None:
    """Refuse a file that could not be written: its folder must be there.

    Raises:
        BadParameter: naming the option.
    """
    from trainer.release.folders import check_folder

    if not path.parent.is_dir():
        raise click.BadParameter(f"must be in a folder that is there, {path.parent} is not", param_hint=flag)
    check_folder(path.parent, flag)
    if path.exists() and not os.access(path, os.W_OK):
        raise click.BadParameter(f"must be writable, {path} is not", param_hint=flag)


def encoder_options(command: Command) -> Command:
    """Which encoder, and where encoded texts are kept; the command gets `cache` and `encoder`, which may be None."""
    encoder = click.option(
        "--encoder", type=FOLDER, help="Folder of an exported text encoder; the bundled all-MiniLM-L6-v2 if not given."
    )
    cache = click.option(
        "--cache",
        type=FOLDER,
        envvar=CACHE,
        show_envvar=True,
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
        channels: how they are reached.
    """

    embedding: str
    ranking: str
    timeout_s: float
    channels: ChannelSettings


def service_options(command: Command) -> Command:
    """Where the services are, the same for `publish` and for `train --publish`; the command gets `services`."""

    @calls("admin-embedding", "admin-ranking")
    @click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, min_open=True),
        default=600.0,
        show_default=True,
        help="Seconds per service.",
    )
    @functools.wraps(command)
    def run(
        *, admin_embedding: str, admin_ranking: str, timeout_s: float, channels: ChannelSettings, **others: object
    ) -> None:
        command(services=Services(admin_embedding, admin_ranking, timeout_s, channels), **others)

    return run


def suppressions_option(command: Command) -> Command:
    """Who was deleted; the command gets `suppressions`, a :class:`~twotower.suppressions.Suppressions`."""

    @click.option(
        "--suppressions",
        "files",
        type=FILE,
        multiple=True,
        envvar=SUPPRESSIONS,
        show_envvar=True,
        help="List of deleted users that an embedding service wrote: what they wrote before is left out; may be "
        "repeated.",
    )
    @functools.wraps(command)
    def run(*, files: tuple[Path, ...], **others: object) -> None:
        from twotower.suppressions import Suppressions

        command(suppressions=Suppressions.read(files), **others)

    return run


def prune_option(command: Command) -> Command:
    """Whether users' state goes once it is published; the command gets `prune_users`."""
    return click.option(
        "--prune-users",
        is_flag=True,
        help="After publishing remove the users' files of this release and of all older ones.",
    )(command)


def signing_option(command: Command) -> Command:
    """Who signs the release; the command gets `signing_key`, a path or None."""
    return click.option(
        "--signing-key",
        type=EXISTING,
        help="PEM file of an Ed25519 private key: sign the release, for services with --release-public-key.",
    )(command)
