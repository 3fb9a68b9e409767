"""As-of features: what a user's store would have held just before each review.

A review sees the *earlier* reviews of its user: those before it in the order (time, review id). Undated reviews come last: each sees its
user's dated reviews only, and no dated one sees them. Two rows that would see the same are one *state*; most reviews are a user's first, so
states are few, and the training samples point at them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.reviews import Reviews
from twotower.als import ItemFactors, fold_in
from twotower.features import BERT_DIM, USER_DIM, Float32, Int16, Int32, Int64, exclusive_sums, running_mean, user_rows

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


def global_mean(vectors: Int16, vector: Int64, rows: int) -> Float32:
    """Mean embedding of the reviews of the training period, anonymous ones included: (384,) float32.

    Args:
        vectors: (texts, 384) int16.
        vector: (reviews,) index of each review's text.
        rows: of the training period.
    """
    counts = np.bincount(vector[:rows], minlength=len(vectors))
    sums = counts.astype(np.int64) @ vectors.astype(np.int64)
    return running_mean(sums, rows)


def as_of_features(
    reviews: Reviews, vectors: Int16, vector: Int64, space: ItemFactors, mean: Float32, on_progress: Callable[[int], None]
) -> AsOfFeatures:
    """Features as of every review.

    Args:
        reviews: in time order.
        vectors: (texts, 384) int16.
        vector: (reviews,) index of each review's text.
        space: the item factors.
        mean: (384,) float32, what users without history have.
        on_progress: called with the number of states folded in since the last call.
    """
    order, starts, lengths = _by_user(reviews)
    position = np.arange(len(order)) - np.repeat(starts, lengths)
    dated = np.add.reduceat(reviews.dated[order].astype(np.int64), starts)
    visible = np.minimum(position, np.repeat(dated, lengths))
    warm = (visible > 0) & ~reviews.anonymous[reviews.user[order]]
    # A state is known by the place, in `order`, of the first review that it does not see.
    end = np.repeat(starts, lengths) + visible
    ends, state_of_warm = np.unique(end[warm], return_inverse=True)
    state = np.where(reviews.anonymous[reviews.user], ANONYMOUS, COLD).astype(np.int32)
    state[order[warm]] = 2 + state_of_warm
    states = np.empty((2 + len(ends), USER_DIM), np.float32)
    base = np.zeros((1, space.factors.shape[1]), np.float32)
    states[COLD] = user_rows(base, mean[np.newaxis], False)[0]
    states[ANONYMOUS] = user_rows(base, mean[np.newaxis], True)[0]
    _fill(states[2:], ends, reviews, order, starts, vectors, vector, space, on_progress)
    return AsOfFeatures(states, state)


def _fill(
    states: Float32,
    ends: Int64,
    reviews: Reviews,
    order: Int64,
    starts: Int64,
    vectors: Int16,
    vector: Int64,
    space: ItemFactors,
    on_progress: Callable[[int], None],
) -> None:
    """Write the warm states: for each end, the reviews of its user from the user's start up to it."""
    group = np.searchsorted(starts, ends, side="right") - 1
    seen = ends - starts[group]
    histories = _histories(reviews, order, starts, ends)
    for first in range(0, len(ends), _BATCH):
        batch = slice(first, min(first + _BATCH, len(ends)))
        means = running_mean(_sums(vectors, vector, order, starts, group[batch], ends[batch]), seen[batch])
        als = fold_in(space, [next(histories) for _ in range(batch.stop - batch.start)])
        states[batch] = user_rows(als, means, False)
        on_progress(batch.stop - batch.start)


def _sums(vectors: Int16, vector: Int64, order: Int64, starts: Int64, group: Int64, ends: Int64) -> Int32:
    """Exact sums (ends, 384) int32 of the fixed-point vectors from each end's user's start up to it."""
    users, place = np.unique(group, return_inverse=True)
    # Reviews of the users of this batch only, so that memory stays flat however many there are.
    last = np.zeros(len(users), np.int64)
    np.maximum.at(last, place, ends)
    lengths = last + 1 - starts[users]
    local_starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = np.arange(lengths.sum()) + np.repeat(starts[users] - local_starts, lengths)
    sums = exclusive_sums(vectors[vector[order[rows]]], local_starts)
    picked: Int32 = sums[ends - starts[users][place] + local_starts[place]]
    return picked if len(picked) else np.zeros((0, BERT_DIM), np.int32)


def _histories(reviews: Reviews, order: Int64, starts: Int64, ends: Int64) -> Iterator[Mapping[int, float]]:
    """Product → Σ ratings, for each end in turn; ends ascend, so each continues the one before or starts a new user."""
    group = np.searchsorted(starts, ends, side="right") - 1
    current, upto, history = -1, 0, dict[int, float]()
    for end, user in zip(ends.tolist(), group.tolist(), strict=True):
        if user != current:
            current, upto, history = user, int(starts[user]), {}
        for row in order[upto:end].tolist():
            product = int(reviews.product[row])
            history[product] = history.get(product, 0.0) + float(reviews.rating[row])
        upto = end
        yield dict(history)


def _by_user(reviews: Reviews) -> tuple[Int64, Int64, Int64]:
    """Rows grouped by user, each group in time order; where groups start; how long they are."""
    order = np.argsort(reviews.user, kind="stable")
    lengths = np.bincount(reviews.user, minlength=len(reviews.user_ids)).astype(np.int64)
    return order, np.cumsum(lengths) - lengths, lengths


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
    order, starts, lengths = _by_user(reviews)
    users = np.flatnonzero(~reviews.anonymous)
    rows = order[~reviews.anonymous[reviews.user[order]]]
    offsets = np.concatenate([[0], np.cumsum(lengths[users])])
    als = np.empty((len(users), space.factors.shape[1]), np.float32)
    for first in range(0, len(users), _BATCH):
        batch = []
        for user in users[first : first + _BATCH].tolist():
            history = dict[int, float]()
            for row in order[starts[user] : starts[user] + lengths[user]].tolist():
                product = int(reviews.product[row])
                history[product] = history.get(product, 0.0) + float(reviews.rating[row])
            batch.append(history)
        als[first : first + _BATCH] = fold_in(space, batch)
    return UserStates(users, rows, offsets, als)
