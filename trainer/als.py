"""The ALS space: item factors fitted on the positives of the training period."""

from collections.abc import Callable
from typing import Final

import numpy as np

from trainer.reviews import Reviews
from twotower.als import ItemFactors
from twotower.features import ALS_DIM

REGULARIZATION: Final = 1.0
CONFIDENCE_PER_STAR: Final = 1.0
ITERATIONS: Final = 20


def fit_item_factors(reviews: Reviews, rows: int, seed: int, on_progress: Callable[[int], None]) -> ItemFactors:
    """Fit implicit ALS; confidence of a (user, product) pair is `CONFIDENCE_PER_STAR` · Σ ratings.

    Only the first `rows` reviews are looked at, and only by users and products that appear there, so nothing later changes a factor.
    Anonymous names are left out: what strangers bought together says nothing.

    Args:
        reviews: in time order.
        rows: of the training period.
        seed: of the start.
        on_progress: called once an iteration with 1.

    Returns:
        One row for every product of `reviews`; zeros for one without a review by a named user in the training period.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import coo_matrix
    from threadpoolctl import threadpool_limits

    user, product = reviews.user[:rows], reviews.product[:rows]
    named = ~reviews.anonymous[user]
    shape = (int(user.max()) + 1, int(product.max()) + 1)
    stars = coo_matrix((reviews.rating[:rows][named], (user[named], product[named])), shape, dtype=np.float32).tocsr()
    stars.eliminate_zeros()
    factors = np.zeros((len(reviews.products), ALS_DIM), np.float32)
    if stars.nnz:
        # implicit runs its own threads: BLAS threads inside them fight for the cores.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=ALS_DIM, regularization=REGULARIZATION, alpha=CONFIDENCE_PER_STAR, iterations=ITERATIONS, random_state=seed
            )
            model.fit(stars, show_progress=False, callback=lambda *_: on_progress(1))
        seen = np.flatnonzero(np.bincount(stars.indices, minlength=shape[1]))
        factors[seen] = model.item_factors[seen]
    return ItemFactors(factors, REGULARIZATION, CONFIDENCE_PER_STAR)
