"""The description of a file."""

from pathlib import Path

from click.testing import CliRunner

from trainer.pipeline import TrainingResult
from twotower.cli import main


def test_describe_answers_and_draws(trained: TrainingResult, work: Path, tmp_path: Path) -> None:
    page = tmp_path / "pictures.html"
    result = CliRunner().invoke(main, ["describe", "--reviews", str(work / "reviews.csv.gz"), "--html", str(page)])
    assert result.exit_code == 0, result.output
    assert f"{trained.reviews.rating.mean():.3f}" in result.output
    assert page.read_text().count("<svg") == 2
