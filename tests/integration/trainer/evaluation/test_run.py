"""`twotower evaluate`, from reviews to the table."""

import json
from pathlib import Path

from click.testing import CliRunner

from trainer.evaluation.table import headline
from trainer.pipeline import TrainingResult
from twotower.cli import main


def test_evaluate_writes_the_whole_table(
    work: Path, encoder_path: Path, tmp_path: Path, trained: TrainingResult
) -> None:
    file, few = tmp_path / "table.json", tmp_path / "few.json"
    few.write_text('{"preset": "best", "options": {"steps": 40}}')
    flags = ["--reviews", str(work / "reviews.csv.gz"), "--cache", str(work / "cache"), "--encoder", str(encoder_path)]
    options = [
        "--presets",
        "v4,best",
        "--seeds",
        "1",
        "--folds",
        "2",
        "--epochs",
        "1",
        "--leak-audit",
        "--json",
        str(file),
        "--markdown",
        str(tmp_path / "table.md"),
        "--options",
        str(few),
    ]
    result = CliRunner().invoke(main, ["evaluate", *flags, *options])
    assert result.exit_code == 0, result.output
    assert "no difference with the future cut off" in result.output
    table = json.loads(file.read_text())
    assert {"random", "popularity, live", "ALS", "BPR", "ItemKNN", "v4", "best, lift + live popularity"} <= table[
        "methods"
    ].keys()
    for name, figures in table["methods"].items():
        assert figures["all"].keys() >= {"ndcg@10", "hit@10", "mrr"}
        assert 0 <= figures["all"]["ndcg@10"] <= figures["all"]["hit@10"] <= 1, name
        if name != "popularity, live":
            interval = figures["all"]["difference_to"]["popularity, live"]
            assert interval["low"] <= interval["mean"] <= interval["high"]
    line = headline(table)
    assert line["ndcg10_all"] == table["methods"]["best, lift + live popularity"]["all"]["ndcg@10"]
    assert line.keys() == {
        "ndcg10_all",
        "ndcg10_warm",
        "warm_ci_low_vs_live",
        "cold_minus_popularity",
        "rmse_minus_item_mean",
    }
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(table["methods"])
    assert table["methods"]["v4"]["by_seed"]["all"] == {
        "ndcg@10": [table["methods"]["v4"]["all"]["ndcg@10"]],
        "deviation": None,
    }
    rows = table["protocol"]["rows"]
    assert rows["all"] == rows["warm"] + rows["cold"] == sum(fold["test_rows"] for fold in table["protocol"]["folds"])


def test_json_without_a_file_is_one_document_on_standard_output(
    work: Path, encoder_path: Path, trained: TrainingResult
) -> None:
    flags = ["--reviews", str(work / "reviews.csv.gz"), "--cache", str(work / "cache"), "--encoder", str(encoder_path)]
    options = ["--presets", "none", "--seeds", "1", "--folds", "2", "--leak-audit", "--json"]
    result = CliRunner().invoke(main, ["evaluate", *options, *flags])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["methods"]["popularity, live"]["live"] is True
    assert "no difference with the future cut off" in result.stderr
