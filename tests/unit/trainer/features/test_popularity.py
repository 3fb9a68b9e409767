"""Popularity and item means against their definitions, written out."""

import numpy as np
import pytest

from trainer.data.reviews import Reviews
from trainer.features.popularity import frozen_log_popularity, live_counts, live_matrix, shrunk_item_means
from twotower.scoring import POPULARITY_FLOOR


def test_live_popularity_counts_strictly_earlier_reviews(reviews: Reviews) -> None:
    rows = np.arange(50, 400, 37)
    found = live_matrix(reviews, rows, 7.0)
    for row, values in zip(rows, found, strict=True):
        earlier = np.flatnonzero(reviews.time_us < reviews.time_us[row])
        ages = (reviews.time_us[row] - reviews.time_us[earlier]) / 86_400e6
        weights = np.bincount(reviews.product[earlier], 0.5 ** (ages / 7.0), len(reviews.products))
        np.testing.assert_allclose(values, np.log(weights / weights.sum() + POPULARITY_FLOOR), atol=1e-5)


def test_live_counts_of_a_store_that_began_empty(reviews: Reviews) -> None:
    rows, since = np.arange(50, 400, 37), 120
    for row, counts in zip(rows, live_counts(reviews, rows, 7.0, since=since), strict=True):
        counted = np.flatnonzero(reviews.time_us[since:] < reviews.time_us[row]) + since
        ages = (reviews.time_us[row] - reviews.time_us[counted]) / 86_400e6
        np.testing.assert_allclose(
            counts, np.bincount(reviews.product[counted], 0.5 ** (ages / 7.0), len(reviews.products)), atol=1e-9
        )


def test_frozen_popularity_with_no_half_life_is_counts(reviews: Reviews) -> None:
    counts = np.bincount(reviews.product[:300], minlength=len(reviews.products))
    expected = np.log(counts / counts.sum() + POPULARITY_FLOOR)
    np.testing.assert_allclose(frozen_log_popularity(reviews, 300, np.inf), expected, atol=1e-5)


def test_item_means_are_shrunk_by_ten_reviews(reviews: Reviews) -> None:
    means, mu = shrunk_item_means(reviews, 300), reviews.rating[:300].mean()
    for product in range(len(reviews.products)):
        own = reviews.rating[:300][reviews.product[:300] == product]
        assert means[product] == pytest.approx((own.sum() + 10 * mu) / (len(own) + 10), rel=1e-5)
