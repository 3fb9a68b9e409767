"""The `twotower` command: sub-commands are found by entry point and imported only when called."""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from twotower.errors import TwotowerError

GROUP: Final = "twotower.commands"
_EXTRAS: Final = {
    "trainer": "trainer",
    "clients": "clients",
    "embedding_service": "embedding",
    "ranking_service": "ranking",
}


class DomainErrorGroup(click.Group):
    """A group that shows a domain error as one line on standard error, with exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except TwotowerError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


class LazyGroup(DomainErrorGroup):
    """A group whose commands are the entry points of `twotower.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of all commands, sorted."""
        return sorted(entry_points(group=GROUP).names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command; a missing extra is named."""
        found = entry_points(group=GROUP, name=cmd_name)
        return _load(next(iter(found))) if found else None


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ModuleNotFoundError as error:
        package = entry.module.split(".")[0]
        extra = _EXTRAS.get(package, package)
        message = (
            f"`twotower {entry.name}` needs the extra {extra!r} (no module {error.name!r}): pip install "
            f"'twotower[{extra}]'"
        )
        return click.Command(
            entry.name, callback=lambda: _fail(message), help=message, context_settings={"ignore_unknown_options": True}
        )
    assert isinstance(command, click.Command)
    return command


def _fail(message: str) -> None:
    raise click.ClickException(message)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twotower")
def main() -> None:
    """Two-tower product recommendations over gRPC."""
