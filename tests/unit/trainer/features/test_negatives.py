"""Negatives: never a product that the user reviewed, by popularity, exactly k."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.features.negatives import CHUNK_ROWS, draw_labels, draw_negatives, popularity_weights
from twotower.errors import InvalidArgument


@st.composite
def logs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Users and products of some reviews, at least two products."""
    rows = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=2, max_size=60))
    user, product = (np.array(column, np.int32) for column in zip(*rows, strict=True))
    product[:2] = (0, 1)
    return user, product


@settings(max_examples=200, deadline=None)
@given(log=logs(), alpha=st.sampled_from([0.0, 0.5, 1.0, 2.0]), k=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_negative_is_a_known_product_that_the_user_never_reviewed(
    log: tuple[np.ndarray, np.ndarray], alpha: float, k: int, seed: int
) -> None:
    user, product = log
    negatives = draw_negatives(user, log, popularity_weights(product, alpha), k=k, rng=np.random.default_rng(seed))
    assert negatives.shape == (len(user), k)
    known = set(product.tolist())
    for u, row in zip(user.tolist(), negatives.tolist(), strict=True):
        reviewed = set(product[user == u].tolist())
        assert set(row) <= (known - reviewed or known)


@pytest.mark.parametrize("alpha", [0.0, 0.75, 1.0])
def test_the_share_of_each_product_is_its_power_of_popularity(alpha: float) -> None:
    counts = np.array([500, 200, 120, 80, 60, 30, 10])
    product = np.repeat(np.arange(7), counts).astype(np.int32)
    draws = 40_000
    user = np.zeros(draws, np.int32)
    reviewed = (np.array([0, 0, 0], np.int32), np.array([1, 4, 4], np.int32))
    negatives = draw_negatives(user, reviewed, popularity_weights(product, alpha), k=1, rng=np.random.default_rng(5))
    expected = counts.astype(float) ** alpha
    expected[[1, 4]] = 0
    expected *= draws / expected.sum()
    found = np.bincount(negatives[:, 0], minlength=7)
    assert found[[1, 4]].tolist() == [0, 0]
    allowed = expected > 0
    chi_square = ((found - expected)[allowed] ** 2 / expected[allowed]).sum()
    assert chi_square < 18.5  # 0.1 % point of chi-square with 4 degrees of freedom


def test_users_draw_independently() -> None:
    user = np.arange(1000, dtype=np.int32)
    product = (user % 50).astype(np.int32)
    negatives = draw_negatives(
        user, (user, product), popularity_weights(product, 1.0), k=3, rng=np.random.default_rng(0)
    )
    assert len({tuple(row) for row in negatives.tolist()}) > 900


def test_a_user_who_reviewed_everything_draws_from_everything() -> None:
    user, product = np.zeros(3, np.int32), np.arange(3, dtype=np.int32)
    negatives = draw_negatives(
        user, (user, product), popularity_weights(product, 1.0), k=200, rng=np.random.default_rng(0)
    )
    assert set(negatives.reshape(-1).tolist()) == {0, 1, 2}


def test_products_after_the_training_period_exclude_nothing_and_are_never_drawn() -> None:
    weights = popularity_weights(np.array([0, 1, 1], np.int32), 1.0)
    user = np.zeros(50, np.int32)
    negatives = draw_negatives(
        user, (np.zeros(2, np.int32), np.array([7, 0], np.int32)), weights, k=2, rng=np.random.default_rng(0)
    )
    assert set(negatives.reshape(-1).tolist()) == {1}


def test_one_product_is_too_few() -> None:
    with pytest.raises(InvalidArgument, match="at least 2"):
        draw_negatives(
            np.zeros(1, np.int32),
            (np.zeros(1, np.int32), np.zeros(1, np.int32)),
            popularity_weights(np.zeros(1, np.int32), 1.0),
            k=3,
            rng=np.random.default_rng(0),
        )


def test_labels_are_uniform_from_0_to_2() -> None:
    labels = draw_labels((20_000, 3), np.random.default_rng(1))
    assert labels.dtype == np.float32
    assert labels.min() >= 0
    assert labels.max() <= 2
    histogram = np.histogram(labels, bins=10, range=(0, 2))[0]
    assert np.abs(histogram - 6_000).max() < 6 * np.sqrt(6_000)


def test_pieces_are_drawn_as_the_whole_is() -> None:
    rng = np.random.default_rng(1)
    user, product = rng.integers(0, 40, 500).astype(np.int32), rng.integers(0, 30, 500).astype(np.int32)

    def drawn(chunk_rows: int) -> tuple[bytes, bytes]:
        stream, weights = np.random.default_rng(9), popularity_weights(product, 0.7)
        negatives = draw_negatives(user, (user, product), weights, k=3, rng=stream, chunk_rows=chunk_rows)
        return negatives.tobytes(), draw_labels(negatives.shape, stream, chunk_rows).tobytes()

    assert drawn(7) == drawn(CHUNK_ROWS)
