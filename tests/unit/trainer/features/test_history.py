"""As-of features against a log replayed row by row in plain Python."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reviews import read, review_vectors
from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.history import (
    ANONYMOUS,
    COLD,
    as_of_features,
    final_als,
    final_states,
    first_of_moment,
    global_mean,
    seen_mask,
)
from twotower.als import ItemFactors, fold_in

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "reviews.username": st.sampled_from(["ann", "bob", "cid", "anonymous"]),
            "id": st.sampled_from(["P1", "P2", "P3", "P4"]),
            "reviews.rating": st.sampled_from(["0", "1", "4", "5"]),
            "reviews.date": st.sampled_from(["2017-01-01", "2017-01-02", "2017-01-03T00:00:00Z", "", "garbage"]),
            "reviews.text": st.sampled_from(["good", "bad", "so so", "fine", "great"]),
        }
    ),
    min_size=1,
    max_size=40,
)


def space_of(reviews: Reviews) -> ItemFactors:
    factors = np.random.default_rng(3).normal(0, 0.5, (len(reviews.products), 64)).astype(np.float32)
    return ItemFactors(factors, 1.0, 1.0)


def solve(space: ItemFactors, history: dict[int, float]) -> np.ndarray:
    """Normal equations of Hu, Koren, Volinsky, written out."""
    Y = space.factors.astype(np.float64)
    C = np.ones(len(Y))
    p = np.zeros(len(Y))
    for product, stars in history.items():
        C[product] = space.confidence_per_star * stars
        p[product] = 1.0
    return np.linalg.solve(Y.T @ (C[:, None] * Y) + space.regularization * np.eye(64), Y.T @ (C * p))


def replay(
    reviews: Reviews, vectors: ReviewVectors, space: ItemFactors, mean: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """What each review's user's store held just before it: ALS, mean, flag."""
    dated: dict[int, list[int]] = {}
    rows = []
    for row, user in enumerate(reviews.user.tolist()):
        earlier = dated.setdefault(user, [])
        if reviews.anonymous[user] or not earlier:
            rows.append((np.zeros(64), mean, float(reviews.anonymous[user])))
        else:
            history: dict[int, float] = {}
            for other in earlier:
                history[int(reviews.product[other])] = history.get(int(reviews.product[other]), 0.0) + float(
                    reviews.rating[other]
                )
            total = [sum(int(vectors.of(np.array([other]))[0, column]) for other in earlier) for column in range(384)]
            rows.append(
                (
                    solve(space, history),
                    np.array([value / (len(earlier) * 32767.0) for value in total], np.float32),
                    0.0,
                )
            )
        if reviews.dated[row]:
            earlier.append(row)
    return rows


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_features_are_those_of_the_replayed_log(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    reviews = read(tmp_path / "r.csv", rows)
    vectors, space = review_vectors(reviews), space_of(reviews)
    mean = global_mean(vectors, len(reviews))
    done: list[int] = []
    features = as_of_features(reviews, vectors, space, mean, on_progress=done.append)
    assert sum(done) == len(features.states) - 2
    for row, (als, bert, flag) in enumerate(replay(reviews, vectors, space, mean)):
        found = features.states[features.state[row]]
        np.testing.assert_allclose(found[:64], als, atol=1e-5)
        assert found[64:448].tobytes() == bert.tobytes()
        assert found[448] == flag


def test_batches_do_not_change_features(tmp_path: Path) -> None:
    rows = [
        {
            "reviews.username": f"u{n % 7}",
            "reviews.text": f"t{n}",
            "id": f"P{n % 5}",
            "reviews.date": f"2017-01-{1 + n % 28:02d}",
        }
        for n in range(200)
    ]
    reviews = read(tmp_path / "r.csv", rows)
    vectors, space = review_vectors(reviews), space_of(reviews)
    mean = global_mean(vectors, 200)
    whole = as_of_features(reviews, vectors, space, mean, on_progress=lambda _: None)
    mean = global_mean(vectors, 200, batch=3)
    pieces = as_of_features(reviews, vectors, space, mean, on_progress=lambda _: None, batch=3, max_kept=0)
    assert whole.states.shape == pieces.states.shape
    assert whole.states[:].tobytes() == pieces.states[:].tobytes()
    some = np.array([[7, 0, 190], [7, 1, 2]])
    assert whole.states[some].tobytes() == pieces.states[some].tobytes()
    assert whole.states[-1].tobytes() == pieces.states[-1].tobytes()
    assert whole.state.tolist() == pieces.state.tolist()


def test_first_and_anonymous_reviews_share_a_state_each(tmp_path: Path) -> None:
    rows = [{"reviews.username": name} for name in ("a", "b", "c", "Anonymous", "anonymous", "a")]
    reviews = read(tmp_path / "r.csv", rows)
    vectors = review_vectors(reviews)
    features = as_of_features(reviews, vectors, space_of(reviews), global_mean(vectors, 6), on_progress=lambda _: None)
    assert np.bincount(features.state).tolist() == [3, 2, 1]
    assert features.states[COLD][448] == 0
    assert features.states[ANONYMOUS][448] == 1


def test_the_global_mean_is_of_the_training_period(tmp_path: Path) -> None:
    rows = [{"reviews.text": f"t{n}", "reviews.date": f"2017-01-{n + 1:02d}"} for n in range(10)]
    reviews = read(tmp_path / "r.csv", rows)
    vectors = review_vectors(reviews)
    expected = vectors.of(np.arange(7)).astype(np.float64).mean(axis=0) / 32767
    np.testing.assert_allclose(global_mean(vectors, 7), expected, atol=1e-7)


def test_final_states_hold_all_reviews_of_named_users(tmp_path: Path) -> None:
    rows = [
        {"reviews.username": "ann", "id": "P1", "reviews.rating": "5", "reviews.date": "2017-01-01"},
        {"reviews.username": "anonymous", "id": "P1", "reviews.date": "2017-01-02"},
        {"reviews.username": "bob", "id": "P2", "reviews.rating": "2", "reviews.date": "2017-01-03"},
        {"reviews.username": "ann", "id": "P1", "reviews.rating": "4", "reviews.date": ""},
    ]
    reviews = read(tmp_path / "r.csv", rows)
    space = space_of(reviews)
    states = final_states(reviews)
    assert [reviews.user_ids[user] for user in states.users] == ["ann", "bob"]
    assert states.rows.tolist() == [0, 3, 2]
    assert states.offsets.tolist() == [0, 2, 3]
    (als,) = final_als(reviews, space, states)
    np.testing.assert_allclose(als, [solve(space, {0: 9.0}), solve(space, {1: 2.0})], atol=1e-5)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_final_vectors_are_those_of_each_user_alone(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    reviews = read(tmp_path / "r.csv", rows)
    space = space_of(reviews)
    states = final_states(reviews)
    found = [row for part in final_als(reviews, space, states) for row in part]
    assert len(found) == len(states.users)
    for user, als in zip(states.users.tolist(), found, strict=True):
        history: dict[int, float] = {}
        for row in np.flatnonzero(reviews.user == user):
            history[int(reviews.product[row])] = history.get(int(reviews.product[row]), 0.0) + float(
                reviews.rating[row]
            )
        assert als.tobytes() == fold_in(space, [history])[0].tobytes()


def test_a_row_is_judged_by_what_was_strictly_before(reviews: Reviews) -> None:
    rows = np.arange(len(reviews))
    first = first_of_moment(reviews, rows)
    seen = seen_mask(reviews, first)
    for row in rows[::7]:
        same_user = (reviews.user == reviews.user[row]) & (reviews.time_us < reviews.time_us[row])
        expected = set() if reviews.anonymous[reviews.user[row]] else set(reviews.product[same_user].tolist())
        assert set(np.flatnonzero(seen[row]).tolist()) == expected
