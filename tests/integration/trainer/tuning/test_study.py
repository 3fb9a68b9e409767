"""`twotower tune`: real trials of a tiny file, killed and gone on with."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from trainer.measure.folds import evaluation_rows
from trainer.pipeline import TrainingResult
from trainer.tuning.objective import TuningRows
from twotower.release import Release

COMMAND = [sys.executable, "-m", "trainer"]
QUICK = ("--preset", "v5_power", "--folds", "1", "--seed", "3")


def tune_command(work: Path, encoder_path: Path, study: Path, trials: int) -> list[str]:
    arguments = [
        work / "reviews.csv.gz",
        "--study",
        study,
        "--cache",
        work / "cache",
        "--encoder",
        encoder_path,
        "--trials",
        trials,
    ]
    return [*COMMAND, "tune", *map(str, arguments), *QUICK]


def trials_of(study: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="tune", storage=f"sqlite:///{study / 'study.sqlite'}").trials


def running_trial(study: Path) -> bool:
    """Whether a trial has drawn all of its options and is running."""
    try:
        with sqlite3.connect(f"file:{study / 'study.sqlite'}?mode=ro", uri=True) as connection:
            (running,) = connection.execute(
                "SELECT COUNT(*) FROM trials JOIN trial_params USING (trial_id) WHERE state = 'RUNNING' AND number >= 2"
            ).fetchone()
    except sqlite3.OperationalError:
        return False
    return bool(running >= 6)


@pytest.mark.timeout(600)
def test_a_killed_search_goes_on_and_tries_what_an_unbroken_one_tries(
    work: Path, encoder_path: Path, trained: TrainingResult, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = subprocess.run(tune_command(work, encoder_path, whole, 4), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first = subprocess.Popen(
        tune_command(work, encoder_path, broken, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while first.poll() is None and not running_trial(broken):
        time.sleep(0.05)
    first.kill()
    assert first.wait() == -9, "the search ended before it could be killed"
    kept = [trial for trial in trials_of(broken) if trial.state.is_finished()]
    assert len(kept) == 2

    done = subprocess.run(tune_command(work, encoder_path, broken, 4), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    states = [trial.state.name for trial in trials_of(broken)]
    assert states[2] == "FAIL"
    assert "RUNNING" not in states
    again = [trial for trial in trials_of(broken) if trial.state.name != "FAIL"]
    assert [trial.datetime_complete for trial in again[:2]] == [trial.datetime_complete for trial in kept]
    assert [(trial.params, trial.value) for trial in again] == [
        (trial.params, trial.value) for trial in trials_of(whole)
    ]

    best, page = json.loads((broken / "best.json").read_text()), (broken / "report.html").read_text()
    values: list[Any] = [trial.value for trial in again if trial.state.name == "COMPLETE"]
    assert best["ndcg@10"] == max(values)
    assert best["ndcg@10_as_it_is"] == values[0]
    assert best["options"].keys() == again[0].params.keys() >= {"learning_rate", "negatives_alpha"}
    assert page.count("<svg") == 1 + len(best["options"])
    assert "src=" not in page

    out = tmp_path / "out"
    files = ["--reviews", work / "reviews.csv.gz", "--out", out, "--cache", work / "cache", "--encoder", encoder_path]
    options = ["--options", broken / "best.json", "--epochs", "1"]
    done = subprocess.run(
        [*COMMAND, "train", *map(str, [*files, *options])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (found.parent for found in out.glob("*/manifest.json"))
    metrics = Release.open(path).manifest.metrics
    assert metrics["fit"]["learning_rate"] == best["options"]["learning_rate"]
    assert metrics["recipe"]["negatives_alpha"] == best["options"]["negatives_alpha"]
    assert metrics["fit"]["epochs"] == 1, "the command line comes after the file"

    other = subprocess.run(
        [*tune_command(work, encoder_path, broken, 4), "--share", "0.8"], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "--study: share: the study has 0.9, got 0.8" in other.stderr


def test_the_last_rows_are_not_looked_at(work: Path, trained: TrainingResult) -> None:
    reviews, _ = read_reviews(work / "reviews.csv.gz", CleaningOptions())
    usable = evaluation_rows(reviews)
    tuning = TuningRows.cut(reviews, 0.9, 3)
    seen = round(0.9 * len(usable))
    assert tuning.rows.review_ids[:] == usable.review_ids[:seen]
    assert max(int(fold.test.max()) for fold in tuning.folds) == seen - 1
    assert all(fold.training == fold.test[0] for fold in tuning.folds)
    assert np.concatenate([fold.test for fold in tuning.folds]).tolist() == list(range(tuning.folds[0].training, seen))
    assert f"not looked at: {seen + 1}–{len(usable)}" in str(tuning)
