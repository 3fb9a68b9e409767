"""Scores and ratings from the network's output, and decayed popularity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.features import Float64
from twotower.scoring import (
    MS_PER_DAY,
    LiftScoring,
    RatingScoring,
    decayed_counts,
    log_popularity,
    posterior_shares,
)


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


masses = st.floats(0.0, 1e4)
weights = st.lists(st.floats(0.0, 1e4), min_size=4, max_size=4).map(np.array)


@given(weights.filter(lambda prior: prior.sum() > 1e-3), weights, masses, masses)
def test_posterior_shares_are_shares_between_the_prior_and_what_was_counted(
    prior: Float64, counts: Float64, prior_reviews: float, least_reviews: float
) -> None:
    prior = prior / prior.sum()
    shares = posterior_shares(prior, counts, prior_reviews, least_reviews)
    assert shares.sum() == pytest.approx(1)
    if counts.sum() > 0:
        counted = counts / counts.sum()
        assert np.all(shares >= np.minimum(prior, counted) - 1e-9)
        assert np.all(shares <= np.maximum(prior, counted) + 1e-9)


@given(weights.filter(lambda prior: prior.sum() > 1e-3), weights, st.floats(1.0, 1e3), masses, st.integers(0, 3))
def test_one_review_moves_a_share_by_at_most_one_in_the_least_evidence(
    prior: Float64, counts: Float64, least_reviews: float, prior_reviews: float, product: int
) -> None:
    prior = prior / prior.sum()
    more = counts + np.eye(4)[product]
    before, after = (posterior_shares(prior, c, prior_reviews, least_reviews) for c in (counts, more))
    assert np.abs(after - before).max() <= 1 / max(least_reviews, prior_reviews + counts.sum()) + 1e-9
    assert after[product] >= before[product] - 1e-12


catalogues = st.lists(st.floats(0.0, 1.0), min_size=16, max_size=40).map(lambda raw: np.array(raw) ** 3 + 1e-9)


@given(catalogues, st.data(), st.floats(0.1, 1e3), st.floats(0.0, 100.0))
def test_one_review_in_a_silent_shop_brings_nothing_into_the_first_ten_but_what_was_next_to_them(
    prior: Float64, data: st.DataObject, least_reviews: float, prior_reviews: float
) -> None:
    prior = prior / prior.sum()
    product = data.draw(st.integers(0, len(prior) - 1))
    after = posterior_shares(prior, np.eye(len(prior))[product], prior_reviews, least_reviews)
    tenth = np.sort(prior)[-10]
    next_to_them = prior[product] >= min(np.sort(prior)[-15], tenth - 1e-4) - 1e-12
    assert next_to_them or int((after > after[product]).sum()) >= 10


@given(catalogues, st.floats(0.1, 1e3), st.floats(1.0, 100.0))
def test_the_weight_of_what_was_counted_grows_steadily_and_is_never_more_than_its_share(
    prior: Float64, least_reviews: float, prior_reviews: float
) -> None:
    prior = prior / prior.sum()
    product = int(prior.argmin())
    own = np.eye(len(prior))[product]
    totals = np.geomspace(1e-9, 4 * least_reviews + 40, 400)
    shares = np.array([posterior_shares(prior, total * own, prior_reviews, least_reviews)[product] for total in totals])
    weights = (shares - prior[product]) / (1 - prior[product])
    assert np.all(np.diff(weights) >= -1e-9)
    plain = totals / (np.maximum(prior_reviews, least_reviews - totals) + totals)
    assert np.all(weights <= plain + 1e-9)
    # A shop that is no quieter than training saw is left as it was.
    seen = totals >= max(0.75 * least_reviews, 4.0)
    assert weights[seen] == pytest.approx(plain[seen])


@given(catalogues, st.integers(0, 15), st.floats(0.1, 1e3), st.floats(1.0, 100.0), st.floats(0.0, 1.5))
def test_a_little_more_evidence_changes_a_little(
    prior: Float64, product: int, least_reviews: float, prior_reviews: float, part: float
) -> None:
    prior = prior / prior.sum()
    total = part * max(0.75 * least_reviews, 4.0)
    before, after = (
        posterior_shares(prior, (total + more) * np.eye(len(prior))[product], prior_reviews, least_reviews)
        for more in (0.0, 1e-6)
    )
    assert after == pytest.approx(before, abs=1e-4)


def test_live_counts_without_a_prior_are_plain_shares() -> None:
    scoring = LiftScoring(
        1.0, 0.0, 7.0, np.zeros(2, np.float32), np.zeros(2, np.float32), log_popularity(np.array([1.0, 3.0])), 3.5
    )
    counts = np.array([6.0, 2.0])
    assert scoring.live_log_popularity(counts) == pytest.approx(log_popularity(counts))
    assert scoring.live_log_popularity(np.zeros(2)) == pytest.approx(scoring.log_popularity)
