"""Scores and ratings from the network's output, and decayed popularity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.scoring import MS_PER_DAY, LiftScoring, RatingScoring, decayed_counts, log_popularity


def test_a_rating_release_answers_with_the_output() -> None:
    network = np.array([[-1.0, 2.5, 7.0]], np.float32)
    scoring = RatingScoring()
    assert np.array_equal(scoring.scores(network), network)
    assert scoring.ratings(network).tolist() == [[0.0, 2.5, 5.0]]


def test_lift_is_what_is_personal_plus_popularity() -> None:
    cold = np.array([1.0, 2.0], np.float32)
    popularity = np.log(np.array([0.9, 0.1], np.float32))
    scoring = LiftScoring(0.5, 0.1, 7.0, cold, np.array([3.0, 4.9], np.float32), popularity, 3.5)
    network = np.array([[2.0, 2.0], [1.0, 6.0]], np.float32)
    assert scoring.scores(network) == pytest.approx(
        np.array([[2 + np.log(0.9), np.log(0.1)], [np.log(0.9), 8 + np.log(0.1)]]), abs=1e-6
    )
    live = np.array([0.0, 1.0], np.float32)
    assert scoring.scores(network, live) == pytest.approx(np.array([[2.0, 1.0], [0.0, 9.0]]))
    assert scoring.ratings(network) == pytest.approx(np.array([[3.1, 4.9], [3.0, 5.0]]))


reviews = st.lists(st.tuples(st.integers(0, 4), st.integers(-400, 30)), max_size=30)


@given(reviews, st.sampled_from([1.0, 7.0, 180.0]))
def test_decayed_counts_are_sums_of_halvings(rows: list[tuple[int, int]], half_life_days: float) -> None:
    products = np.array([product for product, _ in rows], np.int64)
    days = np.array([day for _, day in rows], np.int64)
    counts = decayed_counts(products, days * MS_PER_DAY, 0, half_life_days, 5)
    for product in range(5):
        expected = sum(0.5 ** (-day / half_life_days) for other, day in rows if other == product and day <= 0)
        assert counts[product] == pytest.approx(expected)


def test_popularity_is_finite_for_products_nobody_bought() -> None:
    assert log_popularity(np.array([3.0, 1.0, 0.0])) == pytest.approx(np.log([0.7501, 0.2501, 0.0001]), abs=1e-5)
    assert np.ptp(log_popularity(np.zeros(3))) == 0
