"""The description of a file."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainer.data.raw import COLUMNS
from trainer.pipeline import TrainingResult
from twotower.cli import main


def test_describe_answers_and_draws(trained: TrainingResult, work: Path, tmp_path: Path) -> None:
    page = tmp_path / "pictures.html"
    result = CliRunner().invoke(main, ["describe", "--reviews", str(work / "reviews.csv.gz"), "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert f"{trained.reviews.rating.mean():.3f}" in result.output
    assert page.read_text().count("<svg") == 2


def test_describe_as_json_is_one_document_of_numbers(trained: TrainingResult, work: Path, tmp_path: Path) -> None:
    page = tmp_path / "pictures.html"
    flags = ["--reviews", str(work / "reviews.csv.gz"), "--html", str(page), "--json"]
    result = CliRunner().invoke(main, ["describe", *flags])
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    reviews = trained.reviews
    assert found["cleaning"]["rows_read"] == found["reviews"] == len(reviews) == 300
    assert (found["users"]["count"], found["products"]) == (len(reviews.user_ids), len(reviews.products))
    assert found["rating"]["mean"] == pytest.approx(float(reviews.rating.mean()))
    counts = Counter(reviews.user.tolist())
    assert found["reviews_per_user"]["most"] == max(counts.values())
    assert found["reviews_per_user"]["share_with_one"] == pytest.approx(
        sum(count == 1 for count in counts.values()) / len(counts)
    )
    assert found["pictures"] == str(page)


def test_an_error_with_json_is_json_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    result = CliRunner().invoke(main, ["describe", "--reviews", str(tmp_path / "bad.csv"), "--json"])
    assert (result.exit_code, result.stdout) == (1, "")
    error = json.loads(result.stderr)["error"]
    assert "bad.csv" in error["message"]
    assert error["violations"]


def test_a_file_of_one_product_is_described(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="")
        writer.writeheader()
        for row in range(12):
            date = f"2020-01-{row + 1:02}T00:00:00Z"
            writer.writerow(
                {"id": "p", "name": "Pan", "reviews.username": f"u{row}", "reviews.rating": 4, "reviews.date": date}
            )
    for more in ((), ("--json",)):
        result = CliRunner().invoke(main, ["describe", "--reviews", str(file), *more])
        assert result.exit_code == 0, result.output
        assert "negatives a review" not in result.output
