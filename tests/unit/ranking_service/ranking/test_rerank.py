"""Filters, limits, diversity and pages as properties; the expectations are plain loops over sorted lists."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.ranking.jobs import Page, RankJob
from ranking_service.ranking.rerank import Selection
from ranking_service.release.served import ServedRelease
from tests.support.ranking import answer, products_of, with_scores
from tests.support.releases import product_id
from twotower.release import Product

COUNT = 24


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
    served = with_scores(lift, np.array([scores], np.float32))
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
    served = with_scores(lift, scores)
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
    served = with_scores(lift, np.array([scores], np.float32))
    plain = products_of(answer(served, RankJob(("u",), k, False), seen))
    for selection in (Selection(diversity=0.0), Selection(diversity=1e-12)):
        if selection.diversity == 0 or len(set(scores)) == COUNT:
            assert products_of(answer(served, RankJob(("u",), k, False, selection), seen)) == plain


def test_more_diversity_brings_less_alike_products(lift: ServedRelease) -> None:
    served = with_scores(lift, np.random.default_rng(2).uniform(0, 5, (1, COUNT)).astype(np.float32))

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
    served = with_scores(lift, scores)
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
