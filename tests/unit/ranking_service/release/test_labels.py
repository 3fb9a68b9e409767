"""Labels: which users a canary answers, and what is read of the files."""

from pathlib import Path

import pytest

from ranking_service.release.labels import LABELS, POINTER, Labels, read_labels
from ranking_service.release.registry import FolderRegistry


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
