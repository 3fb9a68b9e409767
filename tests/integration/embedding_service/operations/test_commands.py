"""Operators' commands on an embedded store."""

from pathlib import Path

from click.testing import CliRunner

from embedding_service.operations.commands import du, migrate, verify


def test_the_commands_speak_to_the_embedded_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["--data-dir", str(tmp_path / "data")]
    for command, expected in (
        (verify, "0 users, 0 reviews\nclean\n"),
        (du, "0 users"),
        (migrate, "schema version 2 already"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
        assert expected in result.output
    result = CliRunner().invoke(verify, ["--data-dir", str(tmp_path / "nowhere")])
    assert "no such folder" in str(result.exception)
