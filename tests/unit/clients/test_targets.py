"""A load test asks for the users of a file or of a release."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from clients.demo.processes import ProcessId
from clients.demo.session import RunDirectory, Session
from clients.loadtest.targets import newest_release, read_user_ids, services
from twotower.addresses import DEFAULT_EMBEDDING, DEFAULT_RANKING
from twotower.release import Manifest

GOLDEN_MANIFEST = next(Path(__file__).parents[2].glob("golden/releases/v2/*/manifest.json"))


def test_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("Ann\n\nBo Peep\n", encoding="utf-8")
    assert read_user_ids(path) == ["Ann", "Bo Peep"]


def test_of_a_release(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "user_ids.jsonl").write_text('"Ann"\n"a\\nb"\n')
    assert read_user_ids(tmp_path) == ["Ann", "a\nb"]


def test_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("\n")
    with pytest.raises(ValueError, match="no user ids"):
        read_user_ids(path)


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWOTOWER_RANKING", "TWOTOWER_EMBEDDING"):
        monkeypatch.delenv(name, raising=False)


def left_running(folder: Path, *, alive: bool) -> RunDirectory:
    """A demo's folder whose services are this process, or none that runs."""
    directory = RunDirectory(folder)
    directory.clear()
    process = ProcessId.of("self", os.getpid()) if alive else ProcessId("gone", 2**22 + 1, 1)
    directory.save(Session(None, (process,), "127.0.0.1:1111", "127.0.0.1:2222"))
    return directory


@pytest.mark.usefixtures("no_variables")
def test_the_services_are_those_that_were_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert services(None, None, tmp_path) == (DEFAULT_RANKING, DEFAULT_EMBEDDING)
    left_running(tmp_path, alive=True)
    assert services(None, None, tmp_path) == ("127.0.0.1:1111", "127.0.0.1:2222")
    monkeypatch.setenv("TWOTOWER_RANKING", "here:3")
    assert services(None, None, tmp_path) == ("here:3", "127.0.0.1:2222")
    assert services("there:4", "there:5", tmp_path) == ("there:4", "there:5")


@pytest.mark.usefixtures("no_variables")
def test_services_that_ended_are_not_asked(tmp_path: Path) -> None:
    left_running(tmp_path, alive=False)
    assert services(None, None, tmp_path) == (DEFAULT_RANKING, DEFAULT_EMBEDDING)


def release(folder: Path, preset: str, created_at: str, *, users: bool = True) -> Path:
    """The manifest of a golden release under another preset's name and time, with or without users."""
    manifest = replace(Manifest.from_json(GOLDEN_MANIFEST.read_text()), preset=preset, created_at=created_at)
    manifest = replace(manifest, release_id=manifest.content_id())
    path = folder / manifest.release_id
    (path / "users").mkdir(parents=True)
    (path / "manifest.json").write_text(manifest.to_json())
    if users:
        (path / "users" / "user_ids.jsonl").write_text('"Ann"\n')
    return path


def test_the_newest_release_is_by_when_it_was_made_not_by_its_files_times(tmp_path: Path) -> None:
    new = release(tmp_path / "releases", "new", "2026-03-01T00:00:00+00:00")
    release(tmp_path / "releases", "old", "2026-01-01T00:00:00+00:00")
    release(tmp_path / "releases", "imported", "2026-04-01T00:00:00+00:00", users=False)
    os.utime(new / "manifest.json", (0, 0))
    assert newest_release(tmp_path / "demo", tmp_path / "releases") == new
    assert newest_release(tmp_path / "demo", tmp_path / "nothing") is None


def test_a_release_of_what_was_left_running_comes_first(tmp_path: Path) -> None:
    release(tmp_path / "releases", "new", "2026-03-01T00:00:00+00:00")
    directory = left_running(tmp_path / "demo", alive=True)
    demo = release(directory.releases, "demo", "2026-01-01T00:00:00+00:00")
    assert newest_release(tmp_path / "demo", tmp_path / "releases") == demo
