"""What a new product inherits from products with similar texts, and to whom it is shown."""

import numpy as np
import pytest

from ranking_service.rollout import relatives
from ranking_service.rollout.relatives import Introduction, inherited_factors
from tests.support.releases import unit_vectors
from twotower.features import ALS_DIM, USER_DIM, Float32, dequantize, quantize
from twotower.scoring import LiftScoring, log_popularity

PRODUCTS = 50


@pytest.fixture
def factors() -> Float32:
    factors = np.random.default_rng(1).normal(0, 1, (PRODUCTS, ALS_DIM)).astype(np.float32)
    factors[::5] = 0
    return factors


def test_the_same_text_inherits_the_same_factors(factors: Float32) -> None:
    texts = quantize(unit_vectors(np.random.default_rng(0), PRODUCTS))
    inherited = inherited_factors(texts, factors, dequantize(texts[[7, 31]]))
    np.testing.assert_allclose(inherited, factors[[7, 31]], atol=1e-3)
    # One without factors says nothing, and random texts are like no other.
    assert np.abs(inherited_factors(texts, factors, dequantize(texts[[10]]))).max() < 0.1


def test_parts_are_as_good_as_the_whole(factors: Float32, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    texts, new = quantize(unit_vectors(rng, PRODUCTS)), unit_vectors(rng, 3)
    whole = inherited_factors(texts, factors, new)
    monkeypatch.setattr(relatives, "_ROWS", 7)
    monkeypatch.setattr(relatives, "_NEW_ROWS", 2)
    np.testing.assert_allclose(inherited_factors(texts, factors, new), whole, rtol=1e-4, atol=1e-7)


def test_it_is_the_mean_by_likeness_times_the_square_of_the_nearest(factors: Float32) -> None:
    texts = quantize(unit_vectors(np.random.default_rng(3), PRODUCTS))
    new = dequantize(texts[[1]]) + 0.7 * dequantize(texts[[2]])
    new /= np.linalg.norm(new)
    known = [row for row in range(PRODUCTS) if row % 5]
    vectors = dequantize(texts).astype(np.float64)
    any_two = np.mean([[vectors[a] @ vectors[b] for a in known] for b in known])
    likeness = np.array([(vectors[row] @ new[0] - any_two) / (1 - any_two) for row in known])
    near = np.exp(likeness / 0.05)
    expected = likeness.max() ** 2 * sum(
        weight * factors[row] for weight, row in zip(near / near.sum(), known, strict=True)
    )
    np.testing.assert_allclose(inherited_factors(texts, factors, new.astype(np.float32))[0], expected, atol=1e-4)


def test_nothing_is_inherited_where_nothing_is_known() -> None:
    texts = quantize(unit_vectors(np.random.default_rng(0), 3))
    assert not inherited_factors(texts, np.zeros((3, ALS_DIM), np.float32), dequantize(texts)).any()
    alike = np.repeat(texts[:1], 3, axis=0)
    assert np.isfinite(inherited_factors(alike, np.ones((3, ALS_DIM), np.float32), dequantize(texts))).all()


def test_only_who_would_choose_a_relative_is_introduced() -> None:
    shares = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
    scoring = LiftScoring(
        0.1,
        0.0,
        7.0,
        np.zeros(5, np.float32),
        np.zeros(5, np.float32),
        log_popularity(shares),
        3.5,
        new_product_share=0.001,
    )
    factors = np.eye(ALS_DIM, dtype=np.float32)[:1]
    rows = np.zeros((5, USER_DIM), np.float32)
    rows[:, 0] = (-0.5, 0.0, 1 / 3, 2 / 3, 1.0)
    nats = Introduction.of(scoring, factors)(rows)[:, 0] / 0.1
    odds = 0.1001 / 0.0011
    assert nats[:2].tolist() == [0, 0]
    assert nats[2:] == pytest.approx([np.log(0.5 + 0.5 * odds), np.log(odds), np.log(odds)], rel=1e-4)
