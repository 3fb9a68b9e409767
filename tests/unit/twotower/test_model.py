"""The numpy reference: split fusion is exact, top-k is that of a full sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.support.releases import random_weights
from twotower.features import PRODUCT_DIM, USER_DIM
from twotower.model import (
    Activation,
    activate,
    as_rating,
    full_forward,
    product_fusion,
    run_layers,
    score_catalogue,
    top_k,
)


def test_the_reference_network_has_the_contracted_size() -> None:
    assert random_weights(np.random.default_rng(0), "elu").parameter_count == 322_817


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 1000), st.sampled_from(["relu", "leaky_relu", "elu", "selu"]), st.integers(1, 5), st.integers(1, 30)
)
def test_split_fusion_is_the_full_network(seed: int, activation: Activation, users: int, products: int) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, activation)
    user_rows = rng.normal(size=(users, USER_DIM)).astype(np.float32)
    product_rows = rng.normal(size=(products, PRODUCT_DIM)).astype(np.float32)
    fused = score_catalogue(
        weights, user_rows, product_fusion(weights, run_layers(weights.product_tower, product_rows))
    )
    pairs = full_forward(weights, np.repeat(user_rows, products, axis=0), np.tile(product_rows, (users, 1))).reshape(
        users, products
    )
    assert np.abs(fused - pairs).max() <= 1e-5


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("linear", [-2.0, 0.0, 3.0]),
        ("relu", [0.0, 0.0, 3.0]),
        ("leaky_relu", [-0.4, 0.0, 3.0]),
        ("elu", [np.exp(-2) - 1, 0.0, 3.0]),
        ("selu", [1.0507009873554805 * 1.6732632423543772 * (np.exp(-2) - 1), 0.0, 1.0507009873554805 * 3]),
    ],
)
def test_activations_are_those_of_keras(activation: Activation, expected: list[float]) -> None:
    assert activate(np.array([-2.0, 0.0, 3.0], np.float32), activation) == pytest.approx(expected, abs=1e-6)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="'swish' is not known"):
        activate(np.zeros(1, np.float32), "swish")  # type: ignore[arg-type]


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]),
    ),
    st.integers(1, 25),
)
def test_top_k_is_a_full_sort_with_ties_by_index(scores: np.ndarray, k: int) -> None:
    for row, result in zip(scores, top_k(scores, k), strict=True):
        expected = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        assert result.tolist() == expected


_NUMBERS = st.sampled_from([-np.inf, -3e38, -1.0, 0.0, 0.5, 3e38, np.inf])


@settings(deadline=None, max_examples=200)
@given(st.data(), st.sampled_from([(3, 20), (9, 20), (9, 300), (3, 2_100)]), st.integers(1, 4))
def test_nan_of_one_row_leaves_the_others_as_they_are_alone(
    data: st.DataObject, shape: tuple[int, int], k: int
) -> None:
    """Every branch of `top_k`: few users, many, and long rows; NaN counts as −inf, last and by index."""
    users, products = shape
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scores = rng.choice([-1.0, 0.0, 0.5, 2.0], shape).astype(np.float32)
    for _ in range(data.draw(st.integers(1, 6))):
        row, start = data.draw(st.integers(0, users - 1)), data.draw(st.integers(0, products - 1))
        length = data.draw(st.sampled_from([1, 2, products]))
        scores[row, start : start + length] = data.draw(st.just(np.nan) | _NUMBERS)
    together = top_k(scores, k)
    for row, result in zip(scores, together, strict=True):
        assert result.tolist() == top_k(row[np.newaxis], k)[0].tolist()
        values = np.where(np.isnan(row), -np.inf, row).tolist()
        assert result.tolist() == [i for _, i in sorted((-value, i) for i, value in enumerate(values))][:k]


def test_a_rating_stays_on_the_scale() -> None:
    assert as_rating(np.array([-1.0, 2.5, 7.0], np.float32)).tolist() == [0.0, 2.5, 5.0]
