"""Rows, folds, popularity, intervals and the leak audit."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.reviews import read
from tests.support.trained import tiny_reviews
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import Reviews, read_reviews
from trainer.evaluation import leak
from trainer.evaluation.table import bootstrap
from trainer.features.history import first_of_moment, seen_mask
from trainer.features.popularity import frozen_log_popularity, live_matrix, shrunk_item_means
from trainer.lift.calibration import thinned
from trainer.measure.folds import evaluation_rows, rolling_folds
from trainer.progress import Progress
from twotower.errors import InvalidArgument
from twotower.scoring import POPULARITY_FLOOR


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    return read_reviews(tiny_reviews(tmp_path_factory.mktemp("reviews") / "reviews.csv.gz", 500), CleaningOptions())[0]


def test_repeats_and_undated_rows_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"reviews.username": "bob", "id": "P2", "reviews.date": "2017-01-01"},
        {"reviews.username": "ann", "id": "P1", "reviews.date": "2017-01-02", "reviews.text": "first"},
        {"reviews.username": "ann", "id": "P1", "reviews.date": "2017-01-03", "reviews.text": "again"},
        {"reviews.username": "cid", "id": "P3", "reviews.date": ""},
        {"reviews.username": "ann", "id": "P2", "reviews.date": "2017-01-04"},
    ]
    kept = evaluation_rows(read(tmp_path / "a.csv", rows, max_dropped=1.0))
    assert [kept.user_ids[user] for user in kept.user] == ["bob", "ann", "ann"]
    assert [kept.products[product].product_id for product in kept.product] == ["P2", "P1", "P2"]
    assert kept.texts[1] == "first"


def test_four_folds_are_the_last_tenths() -> None:
    folds = rolling_folds(1000, 4)
    assert [fold.training for fold in folds] == [600, 700, 800, 900]
    assert np.concatenate([fold.test for fold in folds]).tolist() == list(range(600, 1000))
    with pytest.raises(InvalidArgument, match="reviews: must be at least"):
        rolling_folds(30, 4)


def test_live_popularity_counts_strictly_earlier_reviews(reviews: Reviews) -> None:
    rows = np.arange(50, 400, 37)
    found = live_matrix(reviews, rows, 7.0)
    for row, values in zip(rows, found, strict=True):
        earlier = np.flatnonzero(reviews.time_us < reviews.time_us[row])
        ages = (reviews.time_us[row] - reviews.time_us[earlier]) / 86_400e6
        weights = np.bincount(reviews.product[earlier], 0.5 ** (ages / 7.0), len(reviews.products))
        np.testing.assert_allclose(values, np.log(weights / weights.sum() + POPULARITY_FLOOR), atol=1e-5)


def test_frozen_popularity_with_no_half_life_is_counts(reviews: Reviews) -> None:
    counts = np.bincount(reviews.product[:300], minlength=len(reviews.products))
    expected = np.log(counts / counts.sum() + POPULARITY_FLOOR)
    np.testing.assert_allclose(frozen_log_popularity(reviews, 300, np.inf), expected, atol=1e-5)


def test_item_means_are_shrunk_by_ten_reviews(reviews: Reviews) -> None:
    means, mu = shrunk_item_means(reviews, 300), reviews.rating[:300].mean()
    for product in range(len(reviews.products)):
        own = reviews.rating[:300][reviews.product[:300] == product]
        assert means[product] == pytest.approx((own.sum() + 10 * mu) / (len(own) + 10), rel=1e-5)


def test_a_row_is_judged_by_what_was_strictly_before(reviews: Reviews) -> None:
    rows = np.arange(len(reviews))
    first = first_of_moment(reviews, rows)
    seen = seen_mask(reviews, first)
    for row in rows[::7]:
        same_user = (reviews.user == reviews.user[row]) & (reviews.time_us < reviews.time_us[row])
        expected = set() if reviews.anonymous[reviews.user[row]] else set(reviews.product[same_user].tolist())
        assert set(np.flatnonzero(seen[row]).tolist()) == expected


def test_the_bootstrap_covers_the_standard_error() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.5, 1.0, (2000, 2)) + np.array([0.0, 1.0])
    low, high = bootstrap(values, rng)
    half = 1.96 * values.std(axis=0) / np.sqrt(2000)
    np.testing.assert_allclose(low, values.mean(axis=0) - half, atol=0.01)
    np.testing.assert_allclose(high, values.mean(axis=0) + half, atol=0.01)


def test_the_leak_audit_passes_and_finds_a_planted_leak(reviews: Reviews, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no difference" in leak.audit(reviews, folds=2, progress=Progress())
    monkeypatch.setattr(leak, "shrunk_item_means", lambda found, rows: shrunk_item_means(found, len(found)))
    with pytest.raises(leak.LeakFound, match="fold 1: item means"):
        leak.audit(reviews, folds=2, progress=Progress())


def test_the_constants_look_at_no_more_cells_than_the_bound() -> None:
    folds = rolling_folds(1000, 4)
    assert [fold.test.tolist() for fold in thinned(folds, 7)] == [fold.test.tolist() for fold in folds]
    few = thinned(folds, 7, max_cells=7 * 90)
    assert 7 * sum(len(fold.test) for fold in few) <= 7 * 90
    assert [fold.training for fold in few] == [fold.training for fold in folds]
    assert all(set(kept.test) < set(fold.test) for kept, fold in zip(few, folds, strict=True))
