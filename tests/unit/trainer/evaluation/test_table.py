"""Intervals by bootstrap."""

import numpy as np

from trainer.evaluation.table import bootstrap


def test_the_bootstrap_covers_the_standard_error() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.5, 1.0, (2000, 2)) + np.array([0.0, 1.0])
    low, high = bootstrap(values, rng)
    half = 1.96 * values.std(axis=0) / np.sqrt(2000)
    np.testing.assert_allclose(low, values.mean(axis=0) - half, atol=0.01)
    np.testing.assert_allclose(high, values.mean(axis=0) + half, atol=0.01)
