"""A token's file is read again when it has changed, and what it held before stays good while it holds none."""

import logging
import time
from pathlib import Path

import pytest

from twotower import file_watch
from twotower.errors import InvalidFile
from twotower.file_watch import FileWatch
from twotower.token_file import TokenFile


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def sent(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at for every call, so that the test need not wait."""
    monkeypatch.setattr(file_watch, "LOOK_EVERY_S", 0.0)


def test_a_renewed_token_is_read(tmp_path: Path, at_once: None) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    token = TokenFile(path)
    assert token.metadata() == sent("first")
    path.write_text("second-one")
    assert token.metadata() == sent("second-one")


def test_it_is_not_looked_at_for_every_call(tmp_path: Path) -> None:
    path, clock = tmp_path / "token", Clock()
    path.write_text("first")
    watch = FileWatch([path], clock)
    path.write_text("second-one")
    assert not watch.changed()
    clock.now += 1
    assert watch.changed()
    assert not watch.changed()


def test_a_replaced_file_and_a_switched_link_are_changes(tmp_path: Path, at_once: None) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)  # of the same size
    (tmp_path / "data").symlink_to("old")
    token = TokenFile(tmp_path / "data" / "token")
    assert token.metadata() == sent("old")
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(tmp_path / "data")
    assert token.metadata() == sent("new")


@pytest.mark.parametrize("content", [None, "", "\n", "two tokens", "ключ", "a" * 8000])
def test_the_token_that_was_read_stays_while_the_file_holds_none(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture, at_once: None
) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    token = TokenFile(path)
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert token.metadata() == sent("first")
    assert len(caplog.records) == 1
    assert "what was read before stays in use" in caplog.text
    assert "first" not in caplog.text
    path.write_text("after")
    assert token.metadata() == sent("after")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "token_file: can't be read: No such file or directory"),
        (b"", "token_file: must hold one token"),
        (b"a b", "token_file: must hold one token"),
        (b"\xff\xfe", "token_file: must hold one token"),
        (b"a\x00b", "token_file: must hold one token"),
        (b"x" * 7169, "token_file: must be at most 7168 bytes, got 7169"),
    ],
)
def test_a_file_without_a_token_is_refused_by_name(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidFile, match=problem) as caught:
        TokenFile(path)
    assert str(caught.value).startswith(str(path))


def test_the_token_is_in_no_repr(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    assert "secret" not in repr(TokenFile(tmp_path / "token"))


def test_a_file_that_has_become_readable_is_a_change(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "key.pem"
    path.touch(mode=0o000)
    watch = FileWatch([path], clock)
    time.sleep(0.01)  # the system's clock of files ticks a few hundred times a second
    path.chmod(0o600)
    clock.now += 1
    assert watch.changed()


def test_a_watch_of_no_files_never_looks(tmp_path: Path) -> None:
    clock = Clock()
    watch = FileWatch([], clock)
    clock.now += 1e6
    assert not watch.changed()


def test_a_file_that_comes_and_goes_is_a_change_each_time(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "file"
    watch = FileWatch([path, tmp_path / "other"], clock)

    def changed() -> bool:
        clock.now += 1
        return watch.changed()

    assert not changed()
    path.touch()
    assert changed()
    assert not changed()
    path.unlink()
    assert changed()
