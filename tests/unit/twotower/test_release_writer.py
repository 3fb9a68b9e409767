"""A release is written whole or not at all, whatever the disk does and whoever else writes."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from tests.support.releases import write_random_release
from twotower.release import ENCODERS, Release
from twotower.release_writer import WriteFailed

FULL = """
import subprocess, sys
from pathlib import Path
from tests.support.releases import write_random_release
from twotower.release_writer import WriteFailed
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={sys.argv[2]}k", "tmpfs", str(root)], check=True)
try:
    print(write_random_release(root, products=2000).release_id)
except WriteFailed as error:
    print(error)
print(sorted(path.name for path in root.rglob("*")))
"""


def test_a_damaged_release_is_replaced_by_the_same_content(tmp_path: Path) -> None:
    first = write_random_release(tmp_path)
    for name in ("item_factors.npy", "encoder/model.bin"):  # the second is shared with encoders/
        with (first.path / name).open("r+b") as file:
            file.write(b"damage")
        second = write_random_release(tmp_path)
        assert second.release_id == first.release_id
        Release.open(second.path)
    shared = next((tmp_path / ENCODERS).iterdir())
    assert (shared / "model.bin").samefile(second.encoder_path / "model.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ENCODERS, first.release_id])


def test_a_sound_release_is_left_alone(tmp_path: Path) -> None:
    first = write_random_release(tmp_path)
    before = (first.path / "manifest.json").stat().st_ino
    assert (write_random_release(tmp_path).path / "manifest.json").stat().st_ino == before


def test_writers_of_one_new_encoder_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        results = [pool.apply_async(write_random_release, (tmp_path,), {"seed": seed % 4}) for seed in range(12)]
        names = {result.get(120).release_id for result in results}
    assert len(names) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ENCODERS, *names])
    (shared,) = (tmp_path / ENCODERS).iterdir()
    for name in names:
        assert (Release.open(tmp_path / name).encoder_path / "model.bin").samefile(shared / "model.bin")


@pytest.mark.parametrize("kilobytes", [8, 200, 900, 1600])
def test_a_full_disk_leaves_nothing(tmp_path: Path, kilobytes: int) -> None:
    own_mounts = ("unshare", "--mount")
    if (
        not shutil.which("unshare")
        or subprocess.run([*own_mounts, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("file systems can't be mounted here (unshare --mount is not permitted)")
    command = [*own_mounts, sys.executable, "-c", FULL, str(tmp_path), str(kilobytes)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    message, left = run.stdout.splitlines()
    assert "could not be written, and nothing of it was left" in message
    assert "No space left" in message or "requested and" in message
    assert left == "[]"


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteFailed, match="could not be written"):
        write_random_release(tmp_path / "file")


def test_the_day_of_writing_is_no_part_of_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherDay(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "OtherDay":
            return cls(2031, 2, 28, 23, 59, 59, tzinfo=tz)

    first = write_random_release(tmp_path / "today")
    monkeypatch.setattr("twotower.release_writer.datetime", OtherDay)
    second = write_random_release(tmp_path / "later")
    assert second.release_id == first.release_id
    assert second.manifest.created_at == "2031-02-28T23:59:59+00:00" != first.manifest.created_at
    for name in second.manifest.files:
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
