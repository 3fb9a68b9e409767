"""Two-stage retrieval against the exact answer."""

from dataclasses import replace

import numpy as np
import pytest

from ranking_service.network.head import Programs, open_head
from ranking_service.network.lanes import Lanes
from ranking_service.network.two_stage import RecallTooLow, TwoStage, probe_users
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from tests.support.releases import random_user_rows, random_weights
from twotower.als import ItemFactors
from twotower.features import Float32
from twotower.model import TwoTowerWeights, score_catalogue, top_k
from twotower.scoring import LiftScoring, RatingScoring, Scoring

PRODUCTS = 40_000


class Catalogue:
    """A network, its products, and the exact answer by the numpy reference."""

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        self.weights: TwoTowerWeights = random_weights(rng, "elu")
        self.products = rng.standard_normal((PRODUCTS, 64), np.float32)
        self.users = random_user_rows(rng, 12)
        self.network = score_catalogue(self.weights, self.users, self.products)
        cold = score_catalogue(self.weights, np.zeros((1, 449), np.float32), self.products)[0]
        counts = rng.pareto(1.0, PRODUCTS)
        popularity = np.log(counts / counts.sum() + 1e-4).astype(np.float32)
        self.lift = LiftScoring(1.0, 0.0, 7.0, cold, np.full(PRODUCTS, 4, np.float32), popularity, 4.0)

    def open(self, scoring: Scoring, probes: Float32 | None = None) -> TwoStage:
        lanes, programs = Lanes(2), Programs()
        exact = open_head(self.weights, self.products, lanes, programs)
        probes = random_user_rows(np.random.default_rng(3), 128) if probes is None else probes
        return TwoStage(
            exact, self.weights, self.products, scoring=scoring, probe_users=probes, lanes=lanes, programs=programs
        )


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="module", params=["rating", "lift"])
def scoring(request: pytest.FixtureRequest, catalogue: Catalogue) -> Scoring:
    return RatingScoring() if request.param == "rating" else catalogue.lift


@pytest.fixture(scope="module")
def two_stage(catalogue: Catalogue, scoring: Scoring) -> TwoStage:
    return catalogue.open(scoring)


def test_candidates_have_their_exact_scores_and_nothing_else_has_one(catalogue: Catalogue, two_stage: TwoStage) -> None:
    scores = two_stage(catalogue.users, PopularitySnapshot())
    proposed = np.isfinite(scores)
    assert scores.shape == (12, PRODUCTS)
    assert (scores[~proposed] == -np.inf).all()
    assert (proposed.sum(axis=1) >= 1100).all()
    assert (proposed.sum(axis=1) <= 12_000).all()
    np.testing.assert_allclose(scores[proposed], catalogue.network[proposed], atol=1e-4)


def test_new_users_get_nearly_the_exact_best(catalogue: Catalogue, two_stage: TwoStage, scoring: Scoring) -> None:
    expected = top_k(scoring.scores(catalogue.network), 10)
    found = top_k(scoring.scores(two_stage(catalogue.users, PopularitySnapshot())), 10)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(expected, found, strict=True)]) >= 0.98


def test_a_batch_equals_its_singles(catalogue: Catalogue, two_stage: TwoStage) -> None:
    batch = two_stage(catalogue.users, PopularitySnapshot())
    for user in (0, 5, 11):
        (single,) = two_stage(catalogue.users[user : user + 1], PopularitySnapshot())
        both = np.isfinite(single) & np.isfinite(batch[user])
        assert both.sum() >= 0.99 * np.isfinite(single).sum()
        np.testing.assert_allclose(single[both], batch[user][both], atol=1e-5)


def test_what_sells_now_is_a_candidate_at_once(catalogue: Catalogue) -> None:
    two_stage = catalogue.open(catalogue.lift)
    rng = np.random.default_rng(8)
    live = np.full(PRODUCTS, np.log(1e-4), np.float32)
    selling = rng.choice(PRODUCTS, 5000, replace=False)
    live[selling] = np.log(1e-4 + rng.dirichlet(np.ones(5000)))
    scores = two_stage(catalogue.users[:2], PopularitySnapshot(live, version=7))
    assert np.isfinite(scores[:, selling]).all()
    expected = top_k(catalogue.lift.scores(catalogue.network[:2], live), 10)
    assert (top_k(catalogue.lift.scores(scores, live), 10) == expected).mean() >= 0.9


def test_an_index_that_does_not_prove_itself_is_refused(catalogue: Catalogue) -> None:
    """A basis of users who are all the same says nothing of others."""
    probes = np.concatenate([np.zeros((64, 449), np.float32), random_user_rows(np.random.default_rng(3), 32)])
    taste = replace(catalogue.lift, log_popularity=np.zeros(PRODUCTS, np.float32))
    with pytest.raises(RecallTooLow, match=r"recall@10 is 0\.\d+ at best, the least is 0.98"):
        catalogue.open(taste, probes)


def test_probe_users_are_warm_and_of_the_contracted_shape() -> None:
    rng = np.random.default_rng(5)
    golden = random_user_rows(rng, 8)
    rows = probe_users(golden, ItemFactors(rng.normal(0, 0.3, (50, 64)).astype(np.float32), 0.1, 10.0), 64)
    assert rows.shape == (64, 449)
    assert len(np.unique(rows, axis=0)) == 64
    assert np.isfinite(rows).all()
    assert (rows[:, -1] == 0).all()
    assert all((rows == row).all(axis=1).any() for row in golden)
