"""Writers that were killed leave nothing for long, and a living one is never taken for a killed one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from twotower.temporary_folders import LOCK, TemporaryFolder, remove_abandoned

PREFIX = ".writing-"
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")
HOLD = """
import sys, time
from pathlib import Path
from twotower.temporary_folders import TemporaryFolder
with TemporaryFolder(Path(sys.argv[1]), ".writing-") as folder:
    (folder.tree / "data").write_text("x")
    print(folder.tree, flush=True)
    time.sleep(600)
"""
CLEAR = """
import sys
from pathlib import Path
from twotower.temporary_folders import remove_abandoned
remove_abandoned(Path(sys.argv[1]), ".writing-")
"""


@contextmanager
def writer(root: Path, within: Sequence[str] = ()) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    command = [*within, sys.executable, "-c", HOLD, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        tree = Path(process.stdout.readline().strip())
        try:
            yield process, tree
        finally:
            process.kill()


def clear(root: Path, within: Sequence[str] = ()) -> None:
    subprocess.run([*within, sys.executable, "-c", CLEAR, str(root)], check=True)


def gone(path: Path) -> bool:
    deadline = time.monotonic() + 30
    while path.exists() and time.monotonic() < deadline:
        remove_abandoned(path.parent.parent, PREFIX)
    return not path.exists()


def test_a_killed_writers_folder_is_removed_and_a_living_ones_stays(tmp_path: Path) -> None:
    with writer(tmp_path) as (killed, left), writer(tmp_path) as (_, held):
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        clear(tmp_path)
        assert not left.parent.exists()
        assert (held / "data").read_text() == "x"


def test_processes_that_have_the_same_number_in_two_containers_are_told_apart(tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("PID namespaces can't be made here (unshare --pid is not permitted)")
    with writer(tmp_path, NAMESPACE) as (killed, left), writer(tmp_path, NAMESPACE) as (_, held):
        clear(tmp_path, NAMESPACE)
        clear(tmp_path)
        assert left.exists()
        assert held.exists()
        killed.kill()
        killed.wait()
        assert gone(left)
        assert (held / "data").read_text() == "x"


def test_what_an_older_version_left_without_a_lock_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-1-abc" / "users").mkdir(parents=True)
    (tmp_path / "v5-0123").mkdir()
    (tmp_path / ".writing-file").write_text("not a folder")
    remove_abandoned(tmp_path, PREFIX)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-file", "v5-0123"]


def test_a_folder_is_moved_once_and_replaces_only_when_told(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with TemporaryFolder(tmp_path, PREFIX) as folder:
            (folder.tree / "text").write_text(text)
            assert (folder.tree.parent / LOCK).exists()
            assert folder.move(tmp_path / "place") is (text == "first")
    assert (tmp_path / "place/text").read_text() == "first"
    with TemporaryFolder(tmp_path, PREFIX) as folder:
        (folder.tree / "text").write_text("third")
        folder.replace(tmp_path / "place")
    assert (tmp_path / "place/text").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
