"""The options that sign a release, prune users and leave deleted ones out, as the command line takes them."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.integration.trainer.conftest import RecordingServices
from tests.support.signing import write_private, write_public
from trainer.pipeline import TrainingResult
from twotower.cli import main
from twotower.errors import ReleaseInvalid
from twotower.release import MANIFEST, SIGNATURE, Release
from twotower.suppressions import suppress

DELETED_US = 4_000_000_000_000_000


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def key_files(folder: Path, name: str) -> tuple[Path, Path]:
    """PEM files of a new key: private, public."""
    key = Ed25519PrivateKey.generate()
    return write_private(key, folder / f"{name}.pem"), write_public(key, folder / f"{name}-public.pem")


def ids_sent(recording: RecordingServices) -> list[str]:
    return [user.user_id for part in recording.parts for user in part.batch.users]


@pytest.fixture
def release(trained: TrainingResult, tmp_path: Path) -> Release:
    """A copy of the trained release with its users, for tests that change them."""
    source = trained.release.path
    path = tmp_path / "copy" / "releases" / source.name
    shutil.copytree(source, path)
    shutil.copytree(source.parent.parent / "users" / source.name, tmp_path / "copy" / "users" / source.name)
    return Release.open(path)


def test_train_signs_publishes_and_prunes(
    services: tuple[RecordingServices, str], work: Path, trained: TrainingResult, encoder_path: Path, tmp_path: Path
) -> None:
    recording, address = services
    private, public = key_files(tmp_path, "ours")
    out = tmp_path / "signed" / "releases"
    to = ["--admin-embedding", address, "--admin-ranking", address]
    texts = ["--cache", work / "cache", "--encoder", encoder_path]
    command = ["train", "--reviews", work / "reviews.csv.gz", "--out", out, *texts, *to, "--epochs", "1"]
    wrong = run(*command, "--signing-key", public)
    assert wrong.exit_code == 1
    assert "--signing-key: must be a PEM file with an Ed25519 key" in wrong.output
    assert not out.exists()

    done = run(*command, "--signing-key", private, "--publish", "--prune-users")
    assert done.exit_code == 0, done.output
    (path,) = (file.parent for file in out.glob("*/manifest.json"))
    assert Release.open(path, public_key=public).release_id == recording.loaded[0]
    with pytest.raises(ReleaseInvalid, match="signed by another key"):
        Release.open(path, public_key=key_files(tmp_path, "theirs")[1])
    assert len(ids_sent(recording)) == len(set(ids_sent(recording))) > 20
    assert not [file for file in (tmp_path / "signed" / "users").rglob("*") if file.is_file()]
    again = run("publish", path, *to)
    assert again.exit_code == 1
    assert "its users were removed" in " ".join(again.output.split())
    assert len(recording.loaded) == 1


def test_import_keras_signs(trained: TrainingResult, encoder_path: Path, tmp_path: Path) -> None:
    private, public = key_files(tmp_path, "ours")
    source = trained.release.path
    np.save(tmp_path / "mean.npy", trained.release.global_mean)
    files = ["--products", source / "catalogue.jsonl", "--item-factors", source / "item_factors.npy"]
    files += ["--global-mean", tmp_path / "mean.npy", "--encoder", encoder_path, "--out", tmp_path / "out"]
    done = run("import-keras", source / "two_tower.keras", *files, "--signing-key", private)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out").glob("imported-*")
    assert (path / SIGNATURE).is_file()
    Release.open(path, public_key=public)


def test_publish_sends_no_deleted_user(
    services: tuple[RecordingServices, str], release: Release, tmp_path: Path
) -> None:
    recording, address = services
    users = list(release.users.user_ids())
    suppress(tmp_path / "deleted", users[3], DELETED_US)
    to = ["--admin-embedding", address, "--admin-ranking", address]
    absent = run("publish", release.path, *to, "--suppressions", tmp_path / "none")
    assert absent.exit_code == 1
    assert not recording.loaded
    done = run("publish", release.path, *to, "--suppressions", tmp_path / "deleted")
    assert done.exit_code == 0, done.output
    assert ids_sent(recording) == [*users[:3], *users[4:]]
    assert list(Release.open(release.path).users.user_ids()) == [*users[:3], *users[4:]]


def of_format_2(release: Release) -> Path:
    """The same release as format 2 had it: with its users inside."""
    files = dict(release.manifest.files)
    (release.path / "users").mkdir()
    for source in (release.path.parent.parent / "users" / release.release_id).iterdir():
        if source.name != "users.json":
            data = source.read_bytes()
            (release.path / "users" / source.name).write_bytes(data)
            files[f"users/{source.name}"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = dataclasses.replace(release.manifest, format_version=2, files=files)
    manifest = dataclasses.replace(manifest, release_id=manifest.content_id())
    (release.path / MANIFEST).write_text(manifest.to_json())
    return release.path.rename(release.path.with_name(manifest.release_id))


def test_a_release_that_holds_a_deleted_user_itself_is_not_published(
    services: tuple[RecordingServices, str], release: Release, tmp_path: Path
) -> None:
    recording, address = services
    path = of_format_2(release)
    to = ["--admin-embedding", address, "--admin-ranking", address, "--suppressions", tmp_path / "deleted"]
    suppress(tmp_path / "deleted", "somebody else", DELETED_US)
    done = run("publish", path, *to)
    assert done.exit_code == 0, done.output
    users = ids_sent(recording)
    assert len(users) > 20
    recording.parts = []
    suppress(tmp_path / "deleted", users[0], DELETED_US)
    refused = run("publish", path, *to)
    assert refused.exit_code == 1
    assert "--suppressions: names users whom" in " ".join(refused.output.split())
    assert not recording.parts


def test_publish_prunes_only_after_both_services_have_the_release(
    services: tuple[RecordingServices, str], release: Release
) -> None:
    recording, address = services
    command = ["publish", release.path, "--admin-embedding", address, "--admin-ranking", address, "--prune-users"]
    recording.refuse = "golden request 3: scores differ by 0.2"
    assert run(*command).exit_code == 1
    assert len(Release.open(release.path).users) > 20
    recording.refuse = None
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert not list((release.path.parent.parent / "users").rglob("user_ids.jsonl"))


@pytest.mark.parametrize("option", ["--ranking", "--embedding"])
def test_the_old_names_of_the_addresses_are_answered_with_the_new_ones(release: Release, option: str) -> None:
    answer = run("publish", release.path, option, "127.0.0.1:1")
    assert answer.exit_code == 2
    assert f"--admin-{option[2:]}" in answer.output
