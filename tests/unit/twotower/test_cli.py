"""The root command: lazy, and clear about a missing extra."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from twotower import cli
from twotower.errors import FieldViolation, NotFound


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
    for arguments in ([], ["Maria"], ["add", "--user", "Maria", "--json"]):
        result = CliRunner().invoke(cli.main, ["train", *arguments])
        assert result.exit_code == 1
        assert "pip install 'twotower[trainer]'" in result.output


def test_a_command_whose_package_is_not_here_is_not_listed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("away", "no_such_package.cli:away", cli.GROUP),
        EntryPoint("here", "click:Command", cli.GROUP),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group, **_: EntryPoints(entries).select(group=group))

    listed = cli.main.list_commands(click.Context(cli.main))
    result = CliRunner().invoke(cli.main, ["away", "--any", "thing"])

    assert listed == ["here"]
    assert result.exit_code == 1
    assert "is not in this image" in result.output
    assert "no_such_package" in result.output


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


def test_values_of_every_kind_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    cli.print_json(
        {
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "vector": np.array([1.5, 2.0], np.float32),
            "count": np.int64(3),
            "unknown": float("nan"),
            "path": Path("run/releases"),
            "violation": FieldViolation("k", "must be 1"),
        },
        user_id="Zoë",
    )
    assert json.loads(capsys.readouterr().out) == {
        "user_id": "Zoë",
        "when": "2026-01-02T00:00:00+00:00",
        "vector": [1.5, 2.0],
        "count": 3,
        "unknown": None,
        "path": "run/releases",
        "violation": {"field": "k", "description": "must be 1"},
    }


def test_grpc_is_quiet_in_a_command_unless_told_otherwise() -> None:
    script = "import os, sys; import twotower.cli; print(os.environ['GRPC_VERBOSITY'])"
    for given, expected in (({}, "NONE"), ({"GRPC_VERBOSITY": "INFO"}, "INFO")):
        variables = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"} | given
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=variables)
        assert done.stdout.strip() == expected
