"""Labels: which users a canary answers, and what is read of the files."""

import fcntl
from pathlib import Path

import pytest

from ranking_service.release.labels import LABELS, POINTER, Labels, read_labels, write_labels
from ranking_service.release.registry import FolderRegistry
from twotower.errors import ReleaseInvalid


def test_a_canary_keeps_its_users_as_its_share_grows() -> None:
    users = [f"user {i}" for i in range(4_000)]
    before: set[str] = set()
    for share in (0.0, 0.1, 0.25, 0.8, 1.0):
        labels = Labels(stable="a", canary="b", canary_share=share)
        chosen = {user for user in users if labels.is_canary_user(user)}
        assert before <= chosen
        assert len(chosen) == pytest.approx(share * len(users), abs=100)
        before = chosen
    assert before == set(users)


def test_unreadable_labels_are_none(tmp_path: Path) -> None:
    registry = FolderRegistry(tmp_path)
    registry.write(POINTER, b"a\n")
    for damaged in (b"not json", b"[]", b'{"canary_share": "x"}', b"\xff"):
        registry.write(LABELS, damaged)
        assert read_labels(registry) == Labels("a")


class FailsAt(FolderRegistry):
    """A folder in which one file can't be written."""

    def __init__(self, root: Path, failing: str) -> None:
        super().__init__(root)
        self.failing = failing

    def write(self, name: str, data: bytes) -> None:
        if name == self.failing:
            raise ReleaseInvalid(f"{name}: disk full")
        super().write(name, data)


@pytest.mark.parametrize("failing", [POINTER, LABELS])
def test_a_writer_that_gets_no_further_leaves_the_labels_before(tmp_path: Path, failing: str) -> None:
    before = Labels("a", "z", "b", 0.25, "c")
    write_labels(FolderRegistry(tmp_path), before)
    with pytest.raises(ReleaseInvalid, match=failing):
        write_labels(FailsAt(tmp_path, failing), before.without("b").with_stable("b"))
    assert read_labels(FolderRegistry(tmp_path)) == before
    after = before.without("b").with_stable("b")
    write_labels(FolderRegistry(tmp_path), after)
    assert read_labels(FolderRegistry(tmp_path)) == after


def test_a_lock_that_another_holds_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranking_service.release.registry._LOCK_TIMEOUT_S", 0.05)
    write_labels(FolderRegistry(tmp_path), Labels("a"))
    with (tmp_path / f".{LABELS}.lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ReleaseInvalid, match="another process has locked it"):
            write_labels(FolderRegistry(tmp_path), Labels("b"))
    write_labels(FolderRegistry(tmp_path), Labels("b"))
    assert read_labels(FolderRegistry(tmp_path)).stable == "b"
