"""What holds for every command of `twotower`, found by walking all of them."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from twotower.cli import GROUP, main
from twotower.environment import VARIABLES

ADDRESSES = {"--ranking", "--embedding", "--admin-ranking", "--admin-embedding"}
CHANNEL_OPTIONS = {"--tls", "--tls-ca", "--tls-certificate", "--tls-key", "--token-file", "--http-proxy"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(main))


def options(command: click.Command) -> set[str]:
    return {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}


def test_every_entry_point_is_walked() -> None:
    assert {path[0] for path in ALL} == set(entry_points(group=GROUP).names)
    assert ("release", "list") in ALL


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_json(path: tuple[str, ...]) -> None:
    assert "--json" in options(ALL[path])


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_whatever_calls_a_service_says_how_it_is_reached(path: tuple[str, ...]) -> None:
    own = options(ALL[path])
    assert own >= CHANNEL_OPTIONS if ADDRESSES & own else not CHANNEL_OPTIONS & own
    for option in ALL[path].params:
        if isinstance(option, click.Option) and set(option.opts) & (ADDRESSES | CHANNEL_OPTIONS):
            assert option.envvar == "TWOTOWER_" + option.opts[0].removeprefix("--").replace("-", "_").upper()


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_is_that_of_an_option_and_in_its_help(variable: str) -> None:
    obeyed = [(path, option) for path, command in ALL.items() for option in command.params if option.envvar == variable]
    assert obeyed
    for path, option in obeyed:
        assert isinstance(option, click.Option)
        shown = " ".join(CliRunner().invoke(main, [*path, "--help"], env={"COLUMNS": "200"}).stdout.split())
        assert f"env var: {variable}" in shown, path


def test_these_call_a_service() -> None:
    callers = {path[0] for path, command in ALL.items() if ADDRESSES & options(command)}
    assert callers == {"product", "publish", "recommend", "release", "replay", "review", "similar", "train", "user"}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_with_json_a_wrong_command_line_is_json_too(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--json", "--no-such-option"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith('{"error": {"kind": "NoSuchOption"')
    assert result.stderr.count("\n") == 1


def test_a_release_is_named_by_folder_by_id_or_as_the_latest(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "releases"
    releases = {path.name: path for path in golden.glob("*/golden-*")}
    # Without services: what is wrong with the release is said before they are called.
    publish = ["publish", "--releases"]
    refused = {
        ("nowhere", tmp_path): f"'nowhere' is neither the folder of a release nor the id of one: no such release in "
        f"{tmp_path}, which has none",
        ("latest", tmp_path): f"no such release in {tmp_path}, which has none (--releases names another folder)",
        ("none", golden / "v2"): f"which has {next(name for name in releases if '491bc' in name)}",
        (str(golden / "v2"), tmp_path): "is a folder of releases, name one: golden-491bc0ffda05",
    }
    for (release, folder), sentence in refused.items():
        result = CliRunner().invoke(main, [*publish, str(folder), release])
        assert result.exit_code == 2
        assert sentence in " ".join(result.stderr.split())
    for release in ("latest", "golden-491bc0ffda05", str(golden / "v2" / "golden-491bc0ffda05")):
        away = ["--admin-embedding", "127.0.0.1:1", "--admin-ranking", "127.0.0.1:1", "--json"]
        result = CliRunner().invoke(main, [*publish, str(golden / "v2"), release, *away])
        assert result.exit_code == 1
        assert "embedding service at 127.0.0.1:1: not reachable" in result.stderr
