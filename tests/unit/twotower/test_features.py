"""Properties of the fixed point, the running mean and the text templates."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twotower import features
from twotower.errors import InvalidArgument
from twotower.features import BERT_DIM, FIXED_POINT_SCALE, MAX_REVIEWS_PER_USER

seeds = st.integers(0, 2**32 - 1)


def unit_vectors(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, BERT_DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(seeds)
def test_fixed_point_keeps_the_direction(seed: int) -> None:
    vectors = unit_vectors(seed, 4)
    fixed = features.quantize(vectors).astype(np.float64)
    cosine = (
        (fixed * vectors).sum(axis=1)
        / np.linalg.norm(fixed, axis=1)
        / np.linalg.norm(vectors.astype(np.float64), axis=1)
    )
    assert cosine.min() > 0.9999999


@given(hnp.arrays(np.int16, (3, BERT_DIM), elements=st.integers(-FIXED_POINT_SCALE, FIXED_POINT_SCALE)))
def test_dequantize_loses_nothing(fixed: np.ndarray) -> None:
    assert np.array_equal(np.rint(features.dequantize(fixed).astype(np.float64) * FIXED_POINT_SCALE), fixed)


@pytest.mark.parametrize(
    "bad", [np.zeros(BERT_DIM), np.full(BERT_DIM, np.nan), np.full(BERT_DIM, np.inf), np.ones(BERT_DIM)]
)
def test_only_unit_vectors_are_quantized(bad: np.ndarray) -> None:
    with pytest.raises(InvalidArgument, match="Euclidean length 1"):
        features.quantize(bad.astype(np.float32)[np.newaxis])


@given(seeds, st.integers(1, 40), st.permutations(range(8)))
def test_running_mean_is_the_exact_mean_rounded_once_in_any_order(seed: int, repeats: int, order: list[int]) -> None:
    fixed = np.tile(features.quantize(unit_vectors(seed, 8))[order], (repeats, 1))
    sums = fixed.sum(axis=0, dtype=np.int32)
    mean = features.running_mean(sums, len(fixed))
    # Exact rational arithmetic on a few elements; the float64 quotient is rounded once more to float32.
    for element in range(0, BERT_DIM, 97):
        exact = Fraction(int(sum(int(v) for v in fixed[:, element])), len(fixed) * FIXED_POINT_SCALE)
        assert mean[element] == np.float32(float(exact))


@given(seeds, st.lists(st.integers(1, 6), min_size=0, max_size=8))
def test_exclusive_sums_replay_the_log(seed: int, lengths: list[int]) -> None:
    fixed = (
        np.random.default_rng(seed)
        .integers(-FIXED_POINT_SCALE, FIXED_POINT_SCALE + 1, (sum(lengths), BERT_DIM))
        .astype(np.int16)
    )
    starts = np.cumsum([0, *lengths])[:-1]
    result = features.exclusive_sums(fixed, starts)
    row = 0
    for length in lengths:
        total = np.zeros(BERT_DIM, np.int64)
        for _ in range(length):
            assert np.array_equal(result[row], total)
            total += fixed[row]
            row += 1


def test_exclusive_sums_hold_at_the_limit_of_reviews() -> None:
    fixed = np.full((MAX_REVIEWS_PER_USER, 1), -FIXED_POINT_SCALE, np.int16)
    assert features.exclusive_sums(fixed, [0])[-1, 0] == -FIXED_POINT_SCALE * (MAX_REVIEWS_PER_USER - 1)
    with pytest.raises(InvalidArgument, match="65538"):
        features.exclusive_sums(np.vstack([fixed, fixed[:1]]), [0])


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [("Nice", "It works.", "Nice It works."), ("", " ", "No Title No Review"), (" A ", "", "A No Review")],
)
def test_review_text_fills_blanks(title: str, text: str, expected: str) -> None:
    assert features.review_text(title, text) == expected


def test_product_text_leaves_no_double_space() -> None:
    assert features.product_text("Soap", "", "Home,Bath", "Acme") == "Soap Home,Bath Acme"


@pytest.mark.parametrize(
    ("name", "anonymous"), [("ANONYMOUS", True), (" byamazon customer ", True), ("An Anonymous", False), ("", False)]
)
def test_anonymous_names_are_compared_without_case(name: str, anonymous: bool) -> None:
    assert features.is_anonymous(name, features.anonymous_keys(features.ANONYMOUS_NAMES)) is anonymous


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("u", None),
        ("é" * 128, None),
        ("é" * 128 + "x", "got 257"),
        ("", "got 0"),
        ("a\0b", "NUL"),
        ("\ud800", "UTF-8"),
        ("{x}", None),
    ],
)
def test_ids_are_bounded_in_bytes(value: str, problem: str | None) -> None:
    found = features.id_problem(value)
    assert found is None if problem is None else problem in (found or "")


def test_user_rows_are_als_then_bert_then_flag() -> None:
    als = np.arange(128, dtype=np.float32).reshape(2, 64)
    bert = np.arange(768, dtype=np.float32).reshape(2, 384)
    rows = features.user_rows(als, bert, np.array([False, True]))
    assert rows.shape == (2, 449)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, np.hstack([als, bert, [[0], [1]]]))


def test_row_layout_is_that_of_the_rows() -> None:
    als, bert = np.full((1, 64), 1, np.float32), np.full((1, 384), 2, np.float32)
    user, product = features.user_rows(als, bert, True), features.product_rows(als, bert)
    assert (features.USER_DIM, features.PRODUCT_DIM) == (449, 448)
    values = {"user_ALS_Embedding": 1, "user_BERT_Embedding": 2, "is_anonymous_user": 1}
    values |= {"product_ALS_Embedding": 1, "product_BERT_Embedding": 2}
    for row, inputs in ((user, features.USER_INPUTS), (product, features.PRODUCT_INPUTS)):
        expected = np.concatenate([np.full(width, values[name]) for name, width in inputs.items()])
        assert np.array_equal(row[0], expected)
        assert np.array_equal(row[:, features.ALS_COLUMNS], als)
        assert np.array_equal(row[:, features.BERT_COLUMNS], bert)


def test_cold_rows_have_no_als_and_the_mean_of_all() -> None:
    mean = np.linspace(-1, 1, 384, dtype=np.float32)
    rows = features.cold_rows(mean, [False, True])
    assert rows.dtype == np.float32
    assert not rows[:, :64].any()
    assert np.array_equal(rows[:, 64:448], [mean, mean])
    assert rows[:, 448].tolist() == [0, 1]
    assert np.array_equal(features.cold_rows(mean), rows[:1])
    assert features.cold_rows(mean, []).shape == (0, 449)
