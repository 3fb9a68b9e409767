"""`twotower replay`: a trained release's reviews through a live service give the offline features."""

import json
from pathlib import Path

from click.testing import CliRunner

from tests.support.processes import Service, running
from tests.support.trained import train_tiny
from twotower.cli import main


def test_a_replayed_release_gives_the_offline_features(encoder_path: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    release = train_tiny(tmp_path / "releases", tmp_path / "cache", encoder_path)
    service = Service(
        "embedding_service", tmp_path / "log", "--data-dir", tmp_path / "redis", "--releases", tmp_path / "releases"
    )
    with running(service):
        service.wait_until("NOT_SERVING")
        where = {
            "TWOTOWER_EMBEDDING": service.address,
            "TWOTOWER_ADMIN_EMBEDDING": service.admin_address,
            "TWOTOWER_EMBEDDING_RELEASES": str(release.parent),
        }
        result = CliRunner(env=where).invoke(main, ["replay", release.name, "--json"])
        assert (result.exit_code, result.stderr) == (0, "")
        answer = json.loads(result.stdout)
        assert (answer["release_id"], answer["equal"], answer["different_means"]) == (release.name, True, 0)
        assert answer["compared"] == answer["reviews"] > answer["users"] > 0
        assert answer["worst_als"] <= 1e-5
        to = ["--embedding", service.address, "--admin-embedding", service.admin_address]
        again = CliRunner().invoke(main, ["replay", str(release), *to])
        assert again.exit_code == 1
        assert "knew user" in again.stderr
