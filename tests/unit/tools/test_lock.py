"""The lock files hold every direct dependency, each version once, and a hash for each."""

import re
from pathlib import Path

import pytest

from tools import lock

FILES = sorted(lock.FOLDER.glob("*.lock"))


def test_the_locks_fit_the_project_and_its_constraints() -> None:
    assert lock.problems() == []


def test_a_pin_that_was_changed_by_hand_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "constraints.txt"
    changed.write_text(re.sub(r"(?m)^click==.*$", "click==0.1\nnothing-needs-this==1.0", lock.CONSTRAINTS.read_text()))
    monkeypatch.setattr(lock, "CONSTRAINTS", changed)

    found = lock.problems()

    assert "constraints.txt: nothing-needs-this is locked nowhere" in found
    assert {problem.split(":")[0] for problem in found if "constraints.txt has 0.1" in problem} == {
        "all.lock",
        "embedding.lock",
        "ranking.lock",
        "trainer.lock",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_locked_package_has_hashes(path: Path) -> None:
    entries = path.read_text().replace("\\\n", " ").splitlines()
    packages = [entry for entry in entries if "==" in entry.split("#")[0].split(";")[0]]

    assert packages
    assert [entry.split()[0] for entry in packages if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
