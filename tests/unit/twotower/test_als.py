"""Fold-in against the normal equations, against `implicit`, and its order- and batch-freedom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from twotower.als import ItemFactors, fold_in

PRODUCTS = 90


def space(seed: int, confidence_per_star: float = 1.0) -> ItemFactors:
    factors = np.random.default_rng(seed).normal(scale=0.2, size=(PRODUCTS, 64)).astype(np.float32)
    factors[-1] = 0  # a product without a training review
    return ItemFactors(factors, regularization=0.05, confidence_per_star=confidence_per_star)


def normal_equations(factors: ItemFactors, history: dict[int, float]) -> np.ndarray:
    """Equation 4 of Hu, Koren, Volinsky, written down as it stands."""
    Y = factors.factors.astype(np.float64)
    confidence = np.ones(PRODUCTS)
    preference = np.zeros(PRODUCTS)
    for item, stars in history.items():
        confidence[item] = factors.confidence_per_star * stars
        preference[item] = 1
    system = Y.T @ np.diag(confidence) @ Y + factors.regularization * np.eye(64)
    return np.linalg.solve(system, Y.T @ (confidence * preference))


histories = st.dictionaries(st.integers(0, PRODUCTS - 1), st.sampled_from([0.5, 1.0, 3.0, 5.0, 10.0]), max_size=80)


@settings(deadline=None)
@given(st.integers(0, 100), histories, st.sampled_from([0.5, 1.0, 4.0]))
def test_fold_in_solves_the_normal_equations(seed: int, history: dict[int, float], confidence_per_star: float) -> None:
    factors = space(seed, confidence_per_star)
    expected = normal_equations(factors, history)
    assert np.abs(fold_in(factors, [history])[0] - expected).max() <= 1e-5


@settings(deadline=None)
@given(st.integers(0, 100), st.lists(histories, max_size=12))
def test_a_batch_equals_its_singles_and_order_does_not_matter(seed: int, batch: list[dict[int, float]]) -> None:
    factors = space(seed)
    together = fold_in(factors, batch)
    reversed_histories = [dict(reversed(history.items())) for history in batch]
    for row, history in zip(together, reversed_histories, strict=True):
        assert np.array_equal(row, fold_in(factors, [history])[0])


@pytest.mark.filterwarnings("ignore:OpenBLAS is configured")  # about speed only
@pytest.mark.parametrize("length", [1, 2, 64, 65, 80])
def test_fold_in_equals_implicit(length: int) -> None:
    """`implicit` solves the same system for a user that it was not fitted with."""
    from implicit.cpu.als import AlternatingLeastSquares

    factors = space(7)
    model = AlternatingLeastSquares(factors=64, regularization=0.05, dtype=np.float64, num_threads=1)
    model.item_factors = factors.factors.astype(np.float64)
    history = {item: 1.0 + item % 5 for item in range(length)}
    row = sparse.csr_matrix((list(history.values()), ([0] * length, list(history))), shape=(1, PRODUCTS))
    expected = model.recalculate_user(0, row)
    assert np.abs(fold_in(factors, [history])[0] - expected).max() <= 1e-5


def test_no_history_is_a_zero_vector() -> None:
    result = fold_in(space(0), [{}, {PRODUCTS - 1: 5.0}])
    assert result.shape == (2, 64)
    assert not result.any()
