"""`twotower replay`: a trained release's reviews through a live service give the offline features."""

from pathlib import Path

from click.testing import CliRunner

from embedding_service.operations.commands import replay
from tests.support.processes import Service, running
from tests.support.trained import train_tiny


def test_a_replayed_release_gives_the_offline_features(encoder_path: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    release = train_tiny(tmp_path / "releases", tmp_path / "cache", encoder_path)
    service = Service(
        "embedding_service", tmp_path / "log", "--data-dir", tmp_path / "redis", "--releases", tmp_path / "releases"
    )
    with running(service):
        service.wait_until("NOT_SERVING")
        result = CliRunner().invoke(replay, [str(release), "--embedding", service.address])
        assert result.exit_code == 0, result.output
        assert "running means that differ: 0" in result.output
        again = CliRunner().invoke(replay, [str(release), "--embedding", service.address])
        assert "knew user" in str(again.exception)
