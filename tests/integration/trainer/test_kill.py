"""kill -9 at moments spread over a training run: the next run goes on from the cache, and the release is that of an
unbroken run.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.trained import tiny_reviews
from trainer.encoding.cache import CACHE_FILE
from twotower.release import Release


def cached(cache: Path) -> int:
    """Vectors that are safely in the cache."""
    try:
        with sqlite3.connect(f"file:{cache / CACHE_FILE}?mode=ro", uri=True) as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM vectors").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(count)


class Run:
    """One `train` process on a folder that all runs share."""

    def __init__(self, folder: Path, reviews: Path, encoder: Path) -> None:
        self.out, self.cache, self.log = folder / "out", folder / "cache", folder / "log"
        files = ("--reviews", reviews, "--out", self.out, "--cache", self.cache, "--encoder", encoder)
        self._command = [sys.executable, "-m", "trainer", "train", *map(str, files), "--epochs", "2"]

    def killed_when(self, moment: Callable[["Run"], bool]) -> None:
        """Start, and kill -9 at the moment."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=log)
        while process.poll() is None and not moment(self):
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -9, f"it ended before the moment came:\n{self.log.read_text()}"

    def finished(self) -> Release:
        """Run to the end; the one release that is there then."""
        subprocess.run(self._command, check=True, capture_output=True)
        (path,) = (found.parent for found in self.out.glob("*/manifest.json"))
        return Release.open(path)

    def ended(self, stage: str) -> bool:
        """Whether a stage has been ticked off."""
        return stage in self.log.read_text(errors="replace")

    def releases(self) -> list[str]:
        """What a service that looks for releases finds."""
        if not self.out.exists():
            return []
        return [
            path.name
            for path in self.out.iterdir()
            if not path.name.startswith(".") and path.name not in ("encoders", "reports")
        ]


MOMENTS: list[tuple[str, Callable[[Run], bool]]] = [
    ("encoding", lambda run: cached(run.cache) >= 256),
    ("before the fit", lambda run: run.ended("draw negatives")),
    ("fitting", lambda run: run.ended("load TensorFlow")),
    ("writing", lambda run: run.ended("fit network") and any(run.out.glob(".writing-*"))),
    ("writing its users", lambda run: any((run.out.parent / "users").glob(".writing-*/tree/fixed_point.npy"))),
]


@pytest.mark.timeout(900)
def test_a_run_that_is_killed_again_and_again_ends_like_an_unbroken_one(encoder_path: Path, tmp_path: Path) -> None:
    reviews = tiny_reviews(tmp_path / "reviews.csv.gz", 700)
    (tmp_path / "broken").mkdir()
    (tmp_path / "whole").mkdir()
    broken, whole = (Run(tmp_path / name, reviews, encoder_path) for name in ("broken", "whole"))
    before = 0
    for name, moment in MOMENTS:
        broken.killed_when(moment)
        assert broken.releases() == [], f"killed while {name}: something half-written has the name of a release"
        assert cached(broken.cache) >= max(before, 256), f"killed while {name}: vectors that were encoded are gone"
        before = cached(broken.cache)
    release = broken.finished()
    assert cached(broken.cache) == before, "the texts were all encoded by the runs before"
    assert not list(broken.out.glob(".*")), "what the killed runs left behind is cleared up"
    assert release.release_id == whole.finished().release_id
    assert cached(whole.cache) == before
