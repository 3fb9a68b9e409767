"""Ranking metrics against scikit-learn, and their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from trainer.measure.metrics import expected_ranks, hit, list_quality, ndcg, reciprocal

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(3, 40), st.integers(1, 30))
def test_without_ties_they_are_scikit_learns(seed: int, products: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(products, dtype=np.float64), (rows, 1)), axis=1)
    target = rng.integers(0, products, rows)
    ranks = expected_ranks(scores, target, np.zeros(scores.shape, bool))
    relevant = np.eye(products)[target]
    assert ndcg(ranks).mean() == pytest.approx(ndcg_score(relevant, scores, k=10))
    assert reciprocal(ranks).mean() == pytest.approx(label_ranking_average_precision_score(relevant, scores))
    if products > 10:
        assert hit(ranks).mean() == pytest.approx(
            top_k_accuracy_score(target, scores, k=10, labels=np.arange(products))
        )


@given(seeds)
def test_excluded_products_are_as_good_as_absent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, target = rng.integers(0, 4, (6, 12)).astype(np.float64), rng.integers(0, 12, 6)
    excluded = rng.random((6, 12)) < 0.4
    excluded[np.arange(6), target] = False
    found = expected_ranks(scores, target, excluded)
    for row in range(6):
        kept = np.flatnonzero(~excluded[row])
        place = np.flatnonzero(kept == target[row])
        alone = expected_ranks(scores[row : row + 1, kept], place, np.zeros((1, len(kept)), bool))
        assert found[row] == alone[0]


@given(seeds)
def test_a_tie_counts_at_the_mean_of_its_places(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, target = rng.integers(0, 3, (5, 9)).astype(np.float64), rng.integers(0, 9, 5)
    found = expected_ranks(scores, target, np.zeros(scores.shape, bool))
    for row in range(5):
        order = np.sort(scores[row])[::-1]
        places = 1 + np.flatnonzero(order == scores[row, target[row]])
        assert found[row] == places.mean()


def test_coverage_and_diversity() -> None:
    vectors = np.eye(4, 384, dtype=np.float32)
    apart = list_quality(np.array([[0, 1], [1, 0]]), vectors)
    assert (apart.coverage, apart.diversity) == (0.5, 1.0)
    same = list_quality(np.array([[0, 1]]), np.ones((2, 384), np.float32) / np.sqrt(384).astype(np.float32))
    assert same.diversity == pytest.approx(0.0, abs=1e-6)
