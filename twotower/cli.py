"""The `twotower` command: sub-commands are found by entry point and imported only when called.

Here is also what all commands share: errors as one line, ``--json``, and an output that any terminal can show.
"""

import codecs
import dataclasses
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, NoReturn, TypeVar

import click

from twotower.grpc_environment import quiet_grpc

quiet_grpc()  # before the first import of gRPC, which reads it then

from twotower.environment import SERVICE_PREFIXES, VARIABLES, MisspeltVariable, misspelt  # noqa: E402
from twotower.errors import InvalidArgument, TwotowerError  # noqa: E402

GROUP: Final = "twotower.commands"
_EXTRAS: Final = {
    "trainer": "trainer",
    "clients": "clients",
    "embedding_service": "embedding",
    "ranking_service": "ranking",
}
_JSON: Final = "twotower.json"
_UNREAD_JSON: Final = "twotower.json.unread"
STDOUT: Final = Path("-")
_ASCII: Final = {"·": "-", "–": "-", "−": "-", "─": "-", "…": "~", "▲": "^", "▼": "v", "×": "x", "→": ">"}
"""What stands for a character that standard output can't show; "?" for all others."""

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add ``--json``, which the command gets as `as_json`; its errors are then JSON on standard error."""
    option = click.option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_note_json, help="Print one JSON document."
    )
    return option(command)


def json_file_option(text: str) -> Callable[[Command], Command]:
    """Add ``--json [FILE]``, which the command gets as `json_file`; it is `STDOUT` if no FILE is given."""
    kind = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
    return click.option(
        "--json", "json_file", is_flag=False, flag_value="-", is_eager=True, callback=_note_json, type=kind, help=text
    )


def _note_json(ctx: click.Context, _: click.Parameter, chosen: Any) -> Any:
    ctx.meta[_JSON] = ctx.meta.get(_JSON, False) or chosen in (True, STDOUT)
    return chosen


def print_json(answer: Any, **first: object) -> None:
    """Print an answer, a dataclass or a mapping, as one JSON object that begins with the fields `first`."""
    fields = answer if isinstance(answer, Mapping) else vars(answer)
    unicode = codecs.lookup(sys.stdout.encoding or "utf-8").name.startswith("utf")
    text = json.dumps({**first, **fields}, default=_jsonable)
    plain = json.loads(text, parse_constant=lambda _: None)  # JSON has no NaN
    click.echo(json.dumps(plain, ensure_ascii=not unicode, indent=2))


def _jsonable(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "tolist"):  # an array or a number of numpy
        return value.tolist()
    if dataclasses.is_dataclass(value):
        return vars(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class _JsonFailure(click.ClickException):
    """An error that is shown as one line of JSON."""

    def __init__(self, error: Exception) -> None:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        super().__init__(_one_line(message))
        self._fields: dict[str, object] = {"kind": type(error).__name__, "message": self.message}
        if isinstance(error, InvalidArgument):
            self._fields["violations"] = list(error.violations)
        if (code := getattr(error, "code", None)) is not None:
            self._fields["code"] = code.name
        if (retry_after_s := getattr(error, "retry_after_s", None)) is not None:
            self._fields["retry_after_s"] = retry_after_s

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it on standard error."""
        click.echo(json.dumps({"error": self._fields}, default=_jsonable), file=file, err=file is None)


class _JsonUsageError(_JsonFailure):
    """A wrong command line."""

    exit_code = click.UsageError.exit_code


def _one_line(message: str) -> str:
    return " ".join(message.split())


class DomainErrorGroup(click.Group):
    """A group that shows a domain error as one line on standard error, with exit code 1."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line on an output that shows whatever it can."""
        _show_what_can_be_shown(sys.stdout)
        return super().main(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether JSON is wanted: an option that is unknown is refused before ``--json`` is read."""
        ctx.meta[_UNREAD_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        for sentence in misspelt(os.environ):
            click.echo(f"Warning: {sentence}", err=True)
        warnings.simplefilter("ignore", MisspeltVariable)  # the client would say it again
        try:
            return super().invoke(ctx)
        except (click.ClickException, TwotowerError) as error:
            unread = ctx.meta[_UNREAD_JSON] and isinstance(error, click.UsageError) and _JSON not in ctx.meta
            if ctx.meta.get(_JSON) or unread:
                kind = _JsonUsageError if isinstance(error, click.UsageError) else _JsonFailure
                raise kind(error) from error
            if isinstance(error, click.ClickException):
                raise
            raise click.ClickException(_one_line(str(error))) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The variables that commands obey."""
        with formatter.section("Variables"):
            formatter.write_dl(list(VARIABLES.items()))
        formatter.write_paragraph()
        formatter.write_text(
            "The services are started by `python -m embedding_service` and `python -m ranking_service`, whose --help "
            "has their settings. `twotower demo` shows all parts at work."
        )
        formatter.write_paragraph()
        services = " and ".join(f"{prefix}…" for prefix in SERVICE_PREFIXES)
        formatter.write_text(f"An empty variable is an unset one. {services} are settings of the services.")


def _show_what_can_be_shown(stream: object) -> None:
    """Let a stream that is not UTF-8 replace what it can't show, instead of ending the command with an error."""
    if isinstance(stream, io.TextIOWrapper):
        codecs.register_error("twotower", _replace)
        stream.reconfigure(errors="twotower")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


class LazyGroup(DomainErrorGroup):
    """A group whose commands are the entry points of `twotower.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the commands whose package is here, sorted: an image carries one service's."""
        return sorted(entry.name for entry in entry_points(group=GROUP) if _is_here(entry))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command; a missing extra is named."""
        found = entry_points(group=GROUP, name=cmd_name)
        return _load(next(iter(found))) if found else None


def _package(entry: EntryPoint) -> str:
    return entry.module.split(".")[0]


def _is_here(entry: EntryPoint) -> bool:
    return find_spec(_package(entry)) is not None


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(_package(entry), _package(entry))
        if _is_here(entry):
            message = (
                f"`twotower {entry.name}` needs the extra {extra!r} (no module {error.name!r}): pip install "
                f"'twotower[{extra}]'"
            )
        else:
            message = (
                f"`twotower {entry.name}` is not in this image, which has nothing of the package {_package(entry)!r}: "
                f"run it where all of Twotower is installed, with pip install 'twotower[{extra}]'"
            )
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        return click.Command(entry.name, callback=lambda: _fail(message), help=message, context_settings=anything)
    assert isinstance(command, click.Command)
    return command


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twotower")
def main() -> None:
    """Two-tower product recommendations over gRPC."""
