"""The ALS space: item factors fitted on the positives of the training period."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.reviews import Reviews
from twotower.als import ItemFactors
from twotower.cores import usable_cores
from twotower.features import ALS_DIM, Int32

REGULARIZATION: Final = 1.0
CONFIDENCE_PER_STAR: Final = 1.0
ITERATIONS: Final = 20
MAX_USERS: Final = 1_000_000
"""A user costs 256 bytes, and a single review does not say what goes together."""


def fit_item_factors(
    reviews: Reviews, rows: int, seed: int, on_progress: Callable[[int], None], *, max_users: int = MAX_USERS
) -> ItemFactors:
    """Fit implicit ALS; confidence of a (user, product) pair is `CONFIDENCE_PER_STAR` · Σ ratings.

    Only the first `rows` reviews are looked at, and only by users and products that appear there, so nothing later
    changes a factor. Anonymous names are left out: what strangers bought together says nothing.

    Args:
        reviews: in time order.
        rows: of the training period.
        seed: of the start.
        on_progress: called with 1 after each iteration.
        max_users: of more users, those with the most reviews are fitted.

    Returns:
        One row per product of `reviews`; zeros for one without a review by a named user in the training period.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import coo_matrix
    from threadpoolctl import threadpool_limits

    user, product = reviews.user[:rows], reviews.product[:rows]
    fitted = ~reviews.anonymous[user]
    users = int(user.max()) + 1
    if users > max_users:
        chosen = _most_active(user[fitted], users, max_users)
        fitted &= chosen[user]
        user = (np.cumsum(chosen) - 1).astype(np.int32)[user]
        users = max_users
    shape = (users, int(product.max()) + 1)
    pairs = user[fitted], product[fitted]
    stars = coo_matrix((reviews.rating[:rows][fitted], pairs), shape, dtype=np.float32).tocsr()
    stars.eliminate_zeros()
    factors = np.zeros((len(reviews.products), ALS_DIM), np.float32)
    if stars.nnz:
        # implicit runs its own threads: BLAS threads inside them fight for the cores.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=ALS_DIM,
                regularization=REGULARIZATION,
                alpha=CONFIDENCE_PER_STAR,
                iterations=ITERATIONS,
                random_state=seed,
                num_threads=usable_cores(),
            )
            model.fit(stars, show_progress=False, callback=lambda *_: on_progress(1))
        seen = np.flatnonzero(np.bincount(stars.indices, minlength=shape[1]))
        factors[seen] = model.item_factors[seen]
    return ItemFactors(factors, REGULARIZATION, CONFIDENCE_PER_STAR)


def _most_active(user: Int32, users: int, count: int) -> NDArray[np.bool_]:
    """(users,) bool: the `count` users with the most of the rows; of equals those that came first."""
    order = np.argsort(-np.bincount(user, minlength=users), kind="stable")
    chosen = np.zeros(users, bool)
    chosen[order[:count]] = True
    return chosen
