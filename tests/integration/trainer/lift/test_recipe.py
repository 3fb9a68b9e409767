"""The preset `best`, from reviews to a release that is served by lift."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.trained import train_tiny_result
from trainer.network.towers import score_pairs
from trainer.pipeline import TrainingResult
from trainer.release.export import replay_golden
from twotower.scoring import LiftScoring


def test_a_best_release_is_served_by_lift(work: Path, encoder_path: Path, trained: TrainingResult) -> None:
    root, cache, reviews = work / "best", work / "cache", work / "reviews.csv.gz"
    result = train_tiny_result(root, cache, encoder_path, preset="best", reviews=reviews, steps=40)
    release = result.release
    scoring = release.scoring
    assert isinstance(scoring, LiftScoring)
    assert release.manifest.metrics["constants"].keys() == {"half_life_days", "content", "review_text", "co_reviewers"}
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
