"""The root command: lazy, and clear about a missing extra."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from twotower import cli
from twotower.errors import NotFound


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from twotower.cli import main;"
        "result = CliRunner().invoke(main, ['--help']); assert result.exit_code == 0, result.output;"
        "heavy = {'tensorflow', 'torch', 'pandas', 'openvino', 'redis', 'implicit', 'locust'} & "
        "set(sys.modules); assert not heavy, heavy;"
        "print(result.output)"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    for command in ("train", "publish", "sample-data", "recommend", "review"):
        assert command in output


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("train", "trainer.no_such_module:train", cli.GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda **_: [broken])
    result = CliRunner().invoke(cli.main, ["train"])
    assert result.exit_code == 1
    assert "pip install 'twotower[trainer]'" in result.output


def test_a_domain_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("fail", callback=_not_found)
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    result = CliRunner().invoke(cli.main, ["fail"])
    assert result.exit_code == 1
    assert result.output == "Error: no product 'p'\n"


def _not_found() -> None:
    raise NotFound("no product 'p'")


def test_an_unknown_command_is_refused() -> None:
    assert CliRunner().invoke(cli.main, ["nonsense"]).exit_code == 2
