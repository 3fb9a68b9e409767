"""As-of features: what a user's store would have held just before each review.

A review sees the *earlier* reviews of its user: those before it in the order (time, review id). Undated reviews come last: each sees its
user's dated reviews only, and no dated one sees them. Two rows that would see the same are one *state*; most reviews are a user's first, so
states are few, and the training samples point at them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.reviews import Reviews
from trainer.vectors import ReviewVectors
from twotower.als import ItemFactors, fold_in
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM, Float32, Int32, Int64, exclusive_sums, running_mean, user_rows

COLD: Final = 0
"""State of a named user without an earlier review."""
ANONYMOUS: Final = 1
"""State of every anonymous review."""
_BATCH: Final = 4096


@dataclass(frozen=True)
class AsOfFeatures:
    """User features as of every review.

    Attributes:
        states: (states, 449) float32 distinct user rows; the first is :data:`COLD`, the second :data:`ANONYMOUS`.
        state: (reviews,) int32, the state that each review sees.
    """

    states: Float32
    state: Int32


@dataclass(frozen=True)
class _ByUser:
    """Rows grouped by user.

    Attributes:
        order: (reviews,) rows, users contiguous and ascending, each user's in time order.
        starts: (users,) where each user's rows start in `order`.
        lengths: (users,) how many there are.
    """

    order: Int64
    starts: Int64
    lengths: Int64

    @classmethod
    def of(cls, reviews: Reviews) -> "_ByUser":
        lengths = np.bincount(reviews.user, minlength=len(reviews.user_ids)).astype(np.int64)
        return cls(np.argsort(reviews.user, kind="stable"), np.cumsum(lengths) - lengths, lengths)


def global_mean(vectors: ReviewVectors, rows: int) -> Float32:
    """Mean embedding of the first `rows` reviews, the training period, anonymous ones included: (384,) float32."""
    counts = np.bincount(vectors.text[:rows], minlength=len(vectors.distinct))
    sums = np.zeros(BERT_DIM, np.int64)
    for start in range(0, len(counts), _BATCH):
        sums += counts[start : start + _BATCH] @ vectors.distinct[start : start + _BATCH].astype(np.int64)
    return running_mean(sums, rows)


def as_of_features(
    reviews: Reviews, vectors: ReviewVectors, space: ItemFactors, mean: Float32, *, on_progress: Callable[[int], None]
) -> AsOfFeatures:
    """Features as of every review.

    Args:
        reviews: in time order.
        vectors: their embeddings.
        space: the item factors.
        mean: (384,) float32, what users without history have.
        on_progress: called with the number of states folded in since the last call.
    """
    users = _ByUser.of(reviews)
    group_start = np.repeat(users.starts, users.lengths)
    dated = np.add.reduceat(reviews.dated[users.order].astype(np.int64), users.starts)
    visible = np.minimum(np.arange(len(reviews)) - group_start, np.repeat(dated, users.lengths))
    warm = (visible > 0) & ~reviews.anonymous[reviews.user[users.order]]
    # A state is known by the place, in `order`, of the first review that it does not see.
    ends, state_of_warm = np.unique((group_start + visible)[warm], return_inverse=True)
    state = np.where(reviews.anonymous[reviews.user], ANONYMOUS, COLD).astype(np.int32)
    state[users.order[warm]] = 2 + state_of_warm
    states = np.empty((2 + len(ends), USER_DIM), np.float32)
    no_als = np.zeros((2, ALS_DIM), np.float32)
    states[[COLD, ANONYMOUS]] = user_rows(no_als, np.stack([mean, mean]), np.array([False, True]))
    histories = _histories(reviews, users, ends)
    for first in range(0, len(ends), _BATCH):
        batch = ends[first : first + _BATCH]
        als = fold_in(space, list(islice(histories, len(batch))))
        states[2 + first : 2 + first + len(batch)] = user_rows(als, _means(vectors, users, batch), False)
        on_progress(len(batch))
    return AsOfFeatures(states, state)


def _means(vectors: ReviewVectors, users: _ByUser, ends: Int64) -> Float32:
    """Running means (ends, 384) float32 of each end's user's reviews before it; ends ascend."""
    user = np.searchsorted(users.starts, ends, side="right") - 1
    distinct, group = np.unique(user, return_inverse=True)
    starts, lengths = users.starts[distinct], users.lengths[distinct]
    # Reviews of the users of this batch only, so that memory stays flat however many there are.
    local_starts = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) + np.repeat(starts - local_starts, lengths)
    sums = exclusive_sums(vectors.of(users.order[places]), local_starts)
    seen = ends - starts[group]
    return running_mean(sums[local_starts[group] + seen], seen)


def _histories(reviews: Reviews, users: _ByUser, ends: Int64) -> Iterator[Mapping[int, float]]:
    """Product → Σ ratings, for each end in turn; ends ascend, so each continues the one before or starts a new user."""
    current, upto, history = -1, 0, dict[int, float]()
    user_of_end = np.searchsorted(users.starts, ends, side="right") - 1
    for end, user in zip(ends.tolist(), user_of_end.tolist(), strict=True):
        if user != current:
            current, upto, history = user, int(users.starts[user]), {}
        _add(history, reviews, users.order[upto:end])
        upto = end
        yield dict(history)


def _add(history: dict[int, float], reviews: Reviews, rows: Int64) -> None:
    for product, rating in zip(reviews.product[rows].tolist(), reviews.rating[rows].tolist(), strict=True):
        history[product] = history.get(product, 0.0) + rating


@dataclass(frozen=True)
class UserStates:
    """Every named user with all reviews of the file: what the embedding service is given.

    Attributes:
        users: (users,) index of each user.
        rows: rows of their reviews, users contiguous, each user's in time order.
        offsets: (users + 1,) where each user's rows start in `rows`.
        als: (users, 64) float32 folded in from all of them.
    """

    users: Int64
    rows: Int64
    offsets: Int64
    als: Float32


def final_states(reviews: Reviews, space: ItemFactors) -> UserStates:
    """The state of every named user after the last review."""
    users = _ByUser.of(reviews)
    named = np.flatnonzero(~reviews.anonymous)
    rows = users.order[~reviews.anonymous[reviews.user[users.order]]]
    offsets = np.concatenate([[0], np.cumsum(users.lengths[named])])
    als = np.empty((len(named), ALS_DIM), np.float32)
    for first in range(0, len(named), _BATCH):
        batch: list[dict[int, float]] = []
        for user in range(first, min(first + _BATCH, len(named))):
            batch.append({})
            _add(batch[-1], reviews, rows[offsets[user] : offsets[user + 1]])
        als[first : first + len(batch)] = fold_in(space, batch)
    return UserStates(named, rows, offsets, als)


def first_of_moment(reviews: Reviews, rows: Int64) -> Int64:
    """For each of `rows`, the first row of its user at the same time: it sees strictly earlier reviews only.

    Training and serving see reviews in the order (time, review id). Where a file knows the day only, that order is made up within a day; a
    figure that is to be believed must not rest on it.
    """
    users = _ByUser.of(reviews)
    user, time_us = reviews.user[users.order], reviews.time_us[users.order]
    starts = np.ones(len(reviews), bool)
    starts[1:] = (user[1:] != user[:-1]) | (time_us[1:] != time_us[:-1])
    first = np.empty(len(reviews), np.int64)
    first[users.order] = users.order[np.maximum.accumulate(np.where(starts, np.arange(len(reviews)), 0))]
    return first[rows]


def earlier_products(reviews: Reviews, rows: Int64) -> tuple[Int64, Int64]:
    """Products that the user of each of `rows` had reviewed before it; none for an anonymous one.

    Returns:
        Pairs: place in `rows`, product; (pairs,) int64 each.
    """
    users = _ByUser.of(reviews)
    place = np.empty(len(reviews), np.int64)
    place[users.order] = np.arange(len(reviews))
    user = reviews.user[rows]
    count = np.where(reviews.anonymous[user], 0, place[rows] - users.starts[user])
    first = np.repeat(users.starts[user] - (np.cumsum(count) - count), count)
    products = reviews.product[users.order[first + np.arange(len(first))]]
    return np.repeat(np.arange(len(rows)), count), products.astype(np.int64)


def seen_mask(reviews: Reviews, rows: Int64) -> NDArray[np.bool_]:
    """:func:`earlier_products` as (rows, products) bool."""
    mask = np.zeros((len(rows), len(reviews.products)), bool)
    mask[earlier_products(reviews, rows)] = True
    return mask
