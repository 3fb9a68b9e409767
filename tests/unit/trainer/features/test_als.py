"""Item factors: of many users those with the most reviews."""

from pathlib import Path

import numpy as np

from tests.support.reviews import read
from trainer.features.als import fit_item_factors


def test_of_more_users_than_the_bound_the_most_active_are_fitted(tmp_path: Path) -> None:
    active = [
        {"reviews.username": f"u{n % 6}", "id": f"P{n % 7}", "reviews.date": f"2017-02-{1 + n % 28:02d}"}
        for n in range(60)
    ]
    single = [
        {"reviews.username": f"once {n}", "id": f"P{n % 3}", "reviews.date": f"2017-01-{1 + n % 28:02d}"}
        for n in range(40)
    ]
    both = read(tmp_path / "both.csv", single + active)
    all_users = fit_item_factors(both, len(both), 0, lambda _: None)
    bounded = fit_item_factors(both, len(both), 0, lambda _: None, max_users=6)
    alone = read(tmp_path / "alone.csv", active)
    expected = fit_item_factors(alone, len(alone), 0, lambda _: None)
    ids = [product.product_id for product in alone.products]
    place = [[product.product_id for product in both.products].index(product_id) for product_id in ids]
    # The start is drawn by product, and the products of the two files are numbered differently: alike up to that.
    for factors, other in ((bounded.factors[place], expected.factors),):
        np.testing.assert_allclose(factors @ factors.T, other @ other.T, atol=0.05)
    assert not np.allclose(all_users.factors, bounded.factors, atol=1e-3)
