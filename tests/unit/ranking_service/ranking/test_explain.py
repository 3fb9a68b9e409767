"""Explanations are made of real scorings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.ranking.jobs import RankJob
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease
from tests.support.ranking import answer, products_of
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM
from twotower.model import score_catalogue

COUNT = 24


@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 8),
    seen=st.sets(st.integers(0, COUNT - 1), max_size=6).map(sorted),
    live=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_an_explanation_is_made_of_real_scorings(
    lift: ServedRelease, seed: int, k: int, seen: list[int], live: bool
) -> None:
    rng = np.random.default_rng(seed)
    row = rng.normal(0, 0.3, USER_DIM).astype(np.float32)
    popularity = PopularitySnapshot(rng.normal(size=COUNT).astype(np.float32), 1) if live else PopularitySnapshot()
    found = answer(lift, RankJob(("u",), k, False, explain=True), seen, row, popularity)
    products = products_of(found)
    assert products == products_of(answer(lift, RankJob(("u",), k, False), seen, row, popularity))

    def score(changed: np.ndarray, log_popularity: np.ndarray | None) -> np.ndarray:
        weights, fusion = lift.weights, lift.scorer._release.product_fusion  # type: ignore[attr-defined]
        return lift.scoring.scores(score_catalogue(weights, changed[np.newaxis], fusion), log_popularity)[0][products]

    without_als, without_bert = row.copy(), row.copy()
    without_als[:ALS_DIM] = 0
    without_bert[ALS_DIM : ALS_DIM + BERT_DIM] = lift.global_mean
    explained = found.explanations
    assert explained
    np.testing.assert_allclose(found.scores[0], score(row, popularity.log_popularity), atol=1e-4)
    np.testing.assert_allclose(explained.without_als, score(without_als, popularity.log_popularity), atol=1e-4)
    np.testing.assert_allclose(explained.without_bert, score(without_bert, popularity.log_popularity), atol=1e-4)
    np.testing.assert_allclose(explained.without_popularity, score(row, np.zeros(COUNT, np.float32)), atol=1e-4)
    if not seen:
        assert explained.nearest == []
        return
    for product, nearest, similarity in zip(products, explained.nearest, explained.similarity, strict=True):
        cosines = {q: float(lift.catalogue.directions[product] @ lift.catalogue.directions[q]) for q in seen}
        assert similarity == pytest.approx(max(cosines.values()), abs=1e-5)
        assert cosines[nearest] == pytest.approx(max(cosines.values()), abs=1e-5)
