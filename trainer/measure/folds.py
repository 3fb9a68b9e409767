"""The rows and the folds that quality is measured on."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from trainer.data.reviews import Reviews, number_by_appearance
from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import Int64

_FIRST_TRAINING_SHARE: Final = 0.6
"""The first fold trains on this share of the rows; the rest is divided among the folds."""
_MIN_TEST_ROWS: Final = 10


@dataclass(frozen=True)
class Fold:
    """One temporal split.

    Attributes:
        training: how many rows, from the first on, are trained on.
        test: (rows,) int64, the next rows in time, which are predicted.
    """

    training: int
    test: Int64


def evaluation_rows(reviews: Reviews) -> Reviews:
    """Select the reviews that are evaluated: dated ones, the first of each (user, product) pair.

    A repeat is no recommendation (a product that was reviewed is never recommended), and without a date there is no
    before and after.
    """
    pairs = reviews.user.astype(np.int64) * len(reviews.products) + reviews.product
    first = np.zeros(len(reviews), bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    return select(reviews, np.flatnonzero(first & reviews.dated))


def select(reviews: Reviews, rows: Int64) -> Reviews:
    """Select rows of a file, ascending; users and products are renumbered by first appearance among them."""
    user, users = number_by_appearance(reviews.user[rows])
    product, products = number_by_appearance(reviews.product[rows])
    return replace(
        reviews,
        review_ids=reviews.review_ids.take(rows),
        user=user,
        product=product,
        rating=reviews.rating[rows],
        time_us=reviews.time_us[rows],
        titles=reviews.titles.take(rows),
        texts=reviews.texts.take(rows),
        user_ids=reviews.user_ids.take(users),
        anonymous=reviews.anonymous[users],
        products=[reviews.products[product] for product in products.tolist()],
        said=tuple(column.take(rows) for column in reviews.said),
    )


def rolling_folds(rows: int, folds: int) -> list[Fold]:
    """Make folds that train on all rows up to a moment and test on the next ones.

    Four folds train on the first 60, 70, 80 and 90 % and test on the next 10 %.

    Raises:
        InvalidArgument: too few rows.
    """
    edges = [
        round(rows * (_FIRST_TRAINING_SHARE + (1.0 - _FIRST_TRAINING_SHARE) * fold / folds))
        for fold in range(folds + 1)
    ]
    if edges[1] - edges[0] < _MIN_TEST_ROWS:
        needed = int(_MIN_TEST_ROWS * folds / (1.0 - _FIRST_TRAINING_SHARE)) + 1
        raise InvalidArgument([FieldViolation("reviews", f"must be at least {needed} for {folds} folds, got {rows}")])
    return [Fold(start, np.arange(start, end)) for start, end in pairwise(edges)]
