"""The preset `best`, from reviews to a release that is served by lift; and the evaluation command."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.support.trained import train_tiny_result
from trainer.evaluation.table import headline
from trainer.network.towers import score_pairs
from trainer.pipeline import TrainingResult
from trainer.release.export import replay_golden
from twotower.cli import main
from twotower.scoring import LiftScoring


def test_a_best_release_is_served_by_lift(work: Path, encoder_path: Path, trained: TrainingResult) -> None:
    root, cache, reviews = work / "best", work / "cache", work / "reviews.csv.gz"
    result = train_tiny_result(root, cache, encoder_path, preset="best", reviews=reviews, steps=40)
    release = result.release
    scoring = release.scoring
    assert isinstance(scoring, LiftScoring)
    assert release.manifest.metrics["constants"].keys() == {"half_life_days", "words", "talk", "company"}
    assert scoring.half_life_days == release.manifest.metrics["constants"]["half_life_days"]
    assert replay_golden(release) <= release.manifest.golden_tolerance
    # A cold user's scores are popularity alone.
    cold, products = release.golden.user_rows[0], release.golden.product_indices[0]
    np.testing.assert_allclose(release.golden.scores[0], scoring.log_popularity[products], atol=1e-3)
    tables = result.fitted.network, np.repeat(cold[np.newaxis], len(release.catalogue), axis=0)
    assert score_pairs(*tables, _product_rows(result)) == pytest.approx(scoring.cold_scores, abs=1e-5)
    curve = release.manifest.metrics["curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    again = train_tiny_result(root, cache, encoder_path, preset="best", reviews=reviews, steps=40)
    assert again.release.release_id == release.release_id


def _product_rows(result: TrainingResult) -> np.ndarray:
    from twotower.encoder import TextEncoder
    from twotower.features import dequantize, product_rows, product_text

    release = result.release
    texts = [product_text(item.name, item.brand, item.categories, item.manufacturer) for item in release.catalogue]
    return product_rows(
        release.item_factors.factors, dequantize(TextEncoder(release.encoder_path).encode(texts).fixed_point)
    )


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
