"""A load test asks for the users of a file or of a release."""

from pathlib import Path

import pytest

from clients.loadtest.user_ids import read_user_ids


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
