"""Filters, limits, diversity and pages as properties; the expectations are plain loops over sorted lists."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.ranking.jobs import Page, RankJob, ScoredProducts
from ranking_service.ranking.rerank import Selection
from ranking_service.ranking.score import score_jobs
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.upstream.user_batch import UserBatch, UserContext
from tests.support.releases import ReferenceScorer, product_id, random_product, write_random_release
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM
from twotower.model import score_catalogue
from twotower.release import Product
from twotower.scoring import RatingScoring
from twotower.v1 import types_pb2

COUNT = 24


@dataclass
class Table:
    """Answers with given scores; a user's first feature is the row to answer with."""

    scores: np.ndarray

    def warm_up(self) -> None:
        pass

    def __call__(self, user_rows: np.ndarray) -> np.ndarray:
        return self.scores[user_rows[:, 0].astype(int)]


@pytest.fixture(scope="module")
def lift(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    """A release that scores by lift and popularity, with the numpy network."""
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=COUNT, lift=True)
    return open_served(release.path, ReferenceScorer)


def tabled(lift: ServedRelease, scores: np.ndarray) -> ServedRelease:
    rng = np.random.default_rng(1)
    towers = rng.normal(size=(scores.shape[1], 64)).astype(np.float32)
    catalogue = Catalogue([random_product(rng, i) for i in range(scores.shape[1])], towers, "r")
    return replace(lift, catalogue=catalogue, scorer=Table(scores), scoring=RatingScoring())


def batch_of(rows: np.ndarray, seen: list[list[int]]) -> UserBatch:
    return UserBatch(
        rows, seen, [UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_NONE, i) for i in range(len(rows))]
    )


def answer(
    served: ServedRelease,
    job: RankJob,
    seen: list[int],
    row: np.ndarray | None = None,
    live: PopularitySnapshot | None = None,
) -> ScoredProducts:
    rows = np.zeros((1, USER_DIM), np.float32) if row is None else row[np.newaxis]
    return score_jobs(served, [job], batch_of(rows, [seen]), live or PopularitySnapshot())[0]


def products_of(answer: ScoredProducts) -> list[int]:
    return answer.products[0, : answer.counts[0]].tolist()


few_scores = st.lists(st.sampled_from([0.0, 1.0, 2.5, 4.0]), min_size=COUNT, max_size=COUNT)
names = st.lists(st.sampled_from([*map(product_id, range(COUNT)), "unknown"]), max_size=8).map(tuple)
selections = st.builds(
    Selection,
    allowed=names,
    denied=names,
    categories=st.sampled_from([(), ("audio",), ("HOUSEHOLD", "Audio"), ("nothing",)]),
    brands=st.sampled_from([(), ("brand 1",), ("Brand 2", "BRAND 3")]),
    min_rating=st.sampled_from([0.0, 1.0, 2.6]),
    max_per_brand=st.sampled_from([0, 1, 2]),
)
seen_products = st.sets(st.integers(0, COUNT - 1), max_size=6).map(sorted)


def passes(product: Product, selection: Selection, score: float) -> bool:
    return (
        (not selection.allowed or product.product_id in selection.allowed)
        and product.product_id not in selection.denied
        and (
            not selection.categories
            or bool({c.lower() for c in product.categories.split(",")} & {c.lower() for c in selection.categories})
        )
        and (not selection.brands or product.brand.lower() in {b.lower() for b in selection.brands})
        and min(score, 5.0) >= selection.min_rating
    )


@given(scores=few_scores, selection=selections, k=st.integers(1, COUNT), seen=seen_products, include_seen=st.booleans())
@settings(max_examples=200, deadline=None)
def test_filters_are_the_full_ranking_filtered(
    lift: ServedRelease, *, scores: list[float], selection: Selection, k: int, seen: list[int], include_seen: bool
) -> None:
    served = tabled(lift, np.array([scores], np.float32))
    expected: list[int] = []
    brands: dict[str, int] = {}
    for row in sorted(range(COUNT), key=lambda p: (-scores[p], p)):
        product = served.catalogue.products[row]
        if not passes(product, selection, scores[row]) or (row in seen and not include_seen):
            continue
        if selection.max_per_brand and product.brand:
            if brands.get(product.brand, 0) == selection.max_per_brand:
                continue
            brands[product.brand] = brands.get(product.brand, 0) + 1
        expected.append(row)
    found = answer(served, RankJob(("u",), k, include_seen, selection), seen)
    assert products_of(found) == expected[:k]
    assert found.scores[0, : found.counts[0]].tolist() == [scores[row] for row in expected[:k]]


def diverse(scores: np.ndarray, directions: np.ndarray, eligible: list[int], strength: float) -> list[int]:
    """Maximal marginal relevance, written down as its formula."""
    left = sorted(eligible, key=lambda p: (-scores[p], p))
    low, high = (scores[left[-1]], scores[left[0]]) if left else (0, 0)
    ranked: list[int] = []
    while left:

        def worth(p: int) -> float:
            own = (scores[p] - low) / (high - low) if high > low else 0.0
            return (1 - strength) * own - strength * max(
                (float(directions[p] @ directions[q]) for q in ranked), default=0.0
            )

        best = max(left, key=worth)
        left.remove(best)
        ranked.append(best)
    return ranked


@given(seed=st.integers(0, 10_000), strength=st.sampled_from([0.2, 0.5, 0.9, 1.0]), seen=seen_products)
@settings(max_examples=60, deadline=None)
def test_diversity_is_maximal_marginal_relevance(
    lift: ServedRelease, seed: int, strength: float, seen: list[int]
) -> None:
    scores = np.random.default_rng(seed).uniform(0, 5, (1, COUNT)).astype(np.float32)
    served = tabled(lift, scores)
    eligible = [row for row in range(COUNT) if row not in seen]
    found = answer(served, RankJob(("u",), COUNT, False, Selection(diversity=strength)), seen)
    assert products_of(found) == diverse(
        scores[0].astype(float), served.catalogue.directions.astype(float), eligible, strength
    )


@given(scores=few_scores, seen=seen_products, k=st.integers(1, COUNT))
@settings(max_examples=60, deadline=None)
def test_the_smallest_strength_is_the_plain_order(
    lift: ServedRelease, scores: list[float], seen: list[int], k: int
) -> None:
    served = tabled(lift, np.array([scores], np.float32))
    plain = products_of(answer(served, RankJob(("u",), k, False), seen))
    for selection in (Selection(diversity=0.0), Selection(diversity=1e-12)):
        if selection.diversity == 0 or len(set(scores)) == COUNT:
            assert products_of(answer(served, RankJob(("u",), k, False, selection), seen)) == plain


def test_more_diversity_brings_less_alike_products(lift: ServedRelease) -> None:
    served = tabled(lift, np.random.default_rng(2).uniform(0, 5, (1, COUNT)).astype(np.float32))

    def likeness(strength: float) -> float:
        chosen = products_of(answer(served, RankJob(("u",), 6, True, Selection(diversity=strength)), []))
        cosines = served.catalogue.directions[chosen] @ served.catalogue.directions[chosen].T
        return float((cosines - np.eye(len(chosen))).max())

    assert likeness(1.0) < likeness(0.0)


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=COUNT),
    selection=selections,
    strength=st.sampled_from([0.0, 0.0, 0.5]),
    seen=seen_products,
)
@settings(max_examples=150, deadline=None)
def test_pages_are_one_ranking_cut(
    lift: ServedRelease, *, seed: int, sizes: list[int], selection: Selection, strength: float, seen: list[int]
) -> None:
    """Scores with ties; pages of any sizes."""
    scores = np.random.default_rng(seed).choice([0.5, 1.0, 2.0, 3.0, 4.0], (1, COUNT)).astype(np.float32)
    served = tabled(lift, scores)
    selection = replace(selection, diversity=strength)
    whole = products_of(answer(served, RankJob(("u",), COUNT, False, selection), seen))
    pages: list[int] = []
    page: Page | None = None
    for size in [*sizes, COUNT]:
        found = answer(
            served,
            RankJob(("u",), size, False, selection, paginate=True, page=page),
            seen if page is None else page.seen,
        )
        pages += products_of(found)
        page = found.next_page
        if page is None:
            break
        assert page.shown == pages
    assert pages == whole


@given(seed=st.integers(0, 10_000), k=st.integers(1, 8), seen=seen_products, live=st.booleans())
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


def test_special_and_plain_jobs_of_one_batch_keep_their_own_answers(lift: ServedRelease) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 0.3, (5, USER_DIM)).astype(np.float32)
    seen = [[1], [2, 3], [], [4], [5]]
    jobs = [
        RankJob(("a",), 3, False),
        RankJob(("b",), 5, False, explain=True),
        RankJob(("c", "d"), 4, False, Selection(max_per_brand=1)),
        RankJob(("e",), 2, True, paginate=True, explain=True),
    ]
    together = score_jobs(lift, jobs, batch_of(rows, seen))
    start = 0
    for job, whole in zip(jobs, together, strict=True):
        part = slice(start, start + len(job.user_ids))
        (alone,) = score_jobs(lift, [job], batch_of(rows[part], seen[part]))
        assert (whole.products.tolist(), whole.counts) == (alone.products.tolist(), alone.counts)
        np.testing.assert_allclose(whole.scores, alone.scores, atol=1e-5)
        if alone.explanations:
            assert whole.explanations
            np.testing.assert_allclose(whole.explanations.without_als, alone.explanations.without_als, atol=1e-5)
        start = part.stop
