"""With --json, each of the trainer's commands prints one document, and what it shows on the way goes elsewhere."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.trainer.conftest import RecordingServices
from trainer.pipeline import TrainingResult
from twotower.release import Release

TWOTOWER = Path(sys.executable).with_name("twotower")


def document(*command: object) -> dict[str, Any]:
    """What a command prints with --json; nothing else may be on its standard output, not even of TensorFlow."""
    done = subprocess.run([TWOTOWER, *map(str, command), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_train_and_publish(
    services: tuple[RecordingServices, str], trained: TrainingResult, work: Path, encoder_path: Path, tmp_path: Path
) -> None:
    recording, address = services
    files = ["--out", tmp_path / "out", "--write-samples", tmp_path / "samples"]
    texts = ["--cache", work / "cache", "--encoder", encoder_path]
    to = ["--admin-embedding", address, "--admin-ranking", address]
    command = ["train", "--reviews", work / "reviews.csv.gz", *files, *texts, *to, "--epochs", "1", "--publish"]
    answer = document(*command)
    release = Release.open(Path(answer["path"]))
    assert answer["release_id"] == release.release_id == recording.loaded[0]
    assert answer["product_count"] == len(release.catalogue)
    assert answer["cleaning"]["rows_kept"] == answer["review_count"] == len(trained.reviews)
    assert (answer["training_samples"], answer["validation_samples"]) == trained.samples
    assert [point["epoch"] for point in answer["curve"]] == [0, 1]
    sent = [user for part in recording.parts for user in part.batch.users]
    reviews = sum(len(user.reviews) for user in sent)
    assert answer["published"] == {"users": len(sent), "reviews": reviews, "products": 24, "not_retired": ""}
    assert Path(answer["report"]).is_file()
    assert {Path(path).is_file() for path in answer["samples"]} == {True}
    assert answer["seconds"].keys() >= {"read reviews", "write report", "publish users"}

    for named in (release.release_id, "latest", release.path):
        answer = document("publish", named, "--releases", tmp_path / "out", *to)
        assert answer["release_id"] == release.release_id == recording.loaded[-1]
        assert (answer["users"], answer["products"]) == (len(release.users), 24)


def test_tune(work: Path, encoder_path: Path, trained: TrainingResult, tmp_path: Path) -> None:
    texts = ["--cache", work / "cache", "--encoder", encoder_path]
    search = ["--study", tmp_path, "--trials", "1", "--preset", "v5_power", "--folds", "1"]
    answer = document("tune", work / "reviews.csv.gz", *search, *texts)
    assert answer["best"] == json.loads(Path(answer["options"]).read_text())
    assert answer["best"]["ndcg@10"] == answer["best"]["ndcg@10_as_it_is"]
    assert Path(answer["report"]).is_file()


def test_import_keras(trained: TrainingResult, encoder_path: Path, tmp_path: Path) -> None:
    source = trained.release.path
    np.save(tmp_path / "factors.npy", trained.release.item_factors.factors)
    np.save(tmp_path / "mean.npy", trained.release.global_mean)
    files = ["--products", source / "catalogue.jsonl", "--item-factors", tmp_path / "factors.npy"]
    files += ["--global-mean", tmp_path / "mean.npy", "--encoder", encoder_path, "--out", tmp_path / "out"]
    answer = document("import-keras", source / "two_tower.keras", *files)
    release = Release.open(Path(answer["path"]))
    assert (answer["release_id"], answer["product_count"]) == (release.release_id, len(release.catalogue))


def test_sample_data(tmp_path: Path) -> None:
    answer = document("sample-data", tmp_path / "r.csv", "--reviews", "100", "--seed", "3")
    assert answer == {"file": str(tmp_path / "r.csv"), "reviews": 100, "seed": 3, "synthetic": True}
