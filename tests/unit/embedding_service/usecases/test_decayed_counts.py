"""Counts that are changed review by review equal the exact sum over the reviews, whatever happens in whatever order."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_service.ports import HourlyCounts
from embedding_service.usecases.decayed_counts import HORIZON_HALF_LIVES, MAX_OTHERS, DecayedCounts

CATALOGUE = {f"p{i}": i for i in range(4)}
START_S = 1_700_000_000
DAY_S = 86_400
Review = tuple[str, int]

REVIEWS = st.tuples(
    st.sampled_from([*CATALOGUE, "added", "made up"]),
    st.integers(-3 * DAY_S, 3 * DAY_S) | st.integers(-200 * DAY_S, 0) | st.integers(-1800, 1800),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(REVIEWS, min_size=1, max_size=8)),
        st.tuples(st.just("take back"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.integers(0, 3 * 3600) | st.integers(0, 200 * DAY_S)),
    ),
    max_size=25,
)


def changes(reviews: list[Review], sign: int = 1) -> HourlyCounts:
    """One row per review."""
    times = np.array([time_s for _, time_s in reviews], np.int64)
    signs = np.full(len(reviews), sign, np.int64)
    return HourlyCounts([product for product, _ in reviews], times // 3600, signs, signs * (times % 3600))


def exact(log: Counter[Review], as_of_s: float, half_life_days: float) -> dict[str, float]:
    """The sum of 2^(−age / half-life) over the reviews of hours that have begun; those of the present hour, which may
    be of moments to come, are taken at their mean time, and that at the moment if it is later.
    """
    weights: dict[str, float] = {}
    hours: dict[tuple[str, int], list[int]] = {}
    for product, time_s in log.elements():
        hours.setdefault((product, time_s // 3600), []).append(time_s)
    for (product, hour), times_s in hours.items():
        is_present = hour == as_of_s // 3600
        ages_s = as_of_s - np.array(times_s) - 0.5
        if is_present:
            ages_s[:] = max(0.0, ages_s.mean())
        if hour * 3600 <= as_of_s:
            weights[product] = weights.get(product, 0.0) + float(np.sum(2.0 ** (-ages_s / half_life_days / DAY_S)))
    return weights


@given(steps=STEPS, half_life_days=st.sampled_from([1.0, 7.0, 30.0]))
@settings(max_examples=200, deadline=None)
def test_weights_are_the_exact_sum(steps: list[tuple[str, object]], half_life_days: float) -> None:
    now_s = float(START_S)
    log: Counter[Review] = Counter()
    counts = DecayedCounts(CATALOGUE, half_life_days)

    def reload() -> None:
        counts.clear()
        counts.advance(now_s)
        begun = [day for product, time_s in log.elements() if (day := time_s // DAY_S) * DAY_S <= now_s]
        oldest = max(begun, default=0) - HORIZON_HALF_LIVES * half_life_days
        counts.add(changes([review for review in log.elements() if review[1] // DAY_S >= oldest]))
        counts.advance(now_s)

    reload()
    for kind, step in steps:
        if kind == "add":
            assert isinstance(step, list)
            now = int(now_s)
            # Times of this hour that are still to come are left out: their mean may be over.
            reviews = [(product, now + (0 if 0 < offset < 3600 - now % 3600 else offset)) for product, offset in step]
            counts.add(changes(reviews))
            log.update(reviews)
        elif kind == "take back" and log:
            assert isinstance(step, int)
            review = list(log)[step % len(log)]
            counts.add(changes([review], -1))
            log -= Counter([review])
        elif kind == "wait":
            assert isinstance(step, int)
            now_s += step
        if not counts.advance(now_s):
            reload()
        newest_s = counts.newest_end_s(now_s)
        as_of_s = now_s if newest_s is None else min(now_s, newest_s)
        product_ids, weights = counts.weights(as_of_s, 10)
        expected = exact(log, as_of_s, half_life_days)
        got = dict(zip(product_ids, weights.tolist(), strict=True))
        most = max(expected.values(), default=0.0)
        assert {name for name, weight in expected.items() if weight > 2.0**-22 * most} <= got.keys() <= expected.keys()
        error = (np.log(2) / 48 / half_life_days) ** 2 / 4
        # What is beyond the horizon, and half a second of an hour's reviews more or less.
        for name, weight in got.items():
            np.testing.assert_allclose(weight, expected[name], rtol=4 * error, atol=len(log) * 2.0**-22 * most)
    order = [name for name in product_ids if name in CATALOGUE] if steps else []
    assert order == sorted(order)


def test_others_are_bounded_in_memory_and_in_the_answer() -> None:
    counts = DecayedCounts(CATALOGUE, 7.0)
    counts.advance(START_S)
    reviews = [(f"made up {i}", START_S - 5000) for i in range(MAX_OTHERS + 50)] + [("p1", START_S - 5000)]
    counts.add(changes([*reviews, ("made up 7", START_S - 4000)]))
    counts.advance(START_S)
    product_ids, weights = counts.weights(START_S, 100)
    assert product_ids[:2] == ["p1", "made up 7"]
    assert len(product_ids) == len(weights) == 101


def test_a_review_that_is_taken_back_before_anybody_asks_weighs_nothing() -> None:
    for older in ([], [("p1", START_S - 9_000 * DAY_S)]):
        counts = DecayedCounts(CATALOGUE, 7.0)
        counts.advance(START_S)
        counts.add(changes([*older, ("p0", START_S - DAY_S)]))
        counts.add(changes([("p0", START_S - DAY_S)], -1))
        counts.advance(START_S)
        as_of_s = counts.newest_end_s(START_S) or START_S
        product_ids, weights = counts.weights(as_of_s, 10)
        assert product_ids == [product for product, _ in older]
        np.testing.assert_allclose(weights, [1.0] * len(older), rtol=0.01)
