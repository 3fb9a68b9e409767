"""As-of features: what a user's store would have held just before each review.

A review sees the *earlier* reviews of its user: those before it in the order (time, review id). Undated reviews come
last: each sees its user's dated reviews only, and no dated one sees them. Two rows that would see the same are one
*state*; most reviews are a user's first, so states are few, and the training samples point at them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from twotower.als import ItemFactors, fold_in
from twotower.features import (
    ALS_DIM,
    BERT_DIM,
    USER_DIM,
    Float32,
    Int32,
    Int64,
    cold_rows,
    exclusive_sums,
    running_mean,
    user_rows,
)

COLD: Final = 0
"""State of a named user without an earlier review."""
ANONYMOUS: Final = 1
"""State of every anonymous review."""
FIRST_WARM: Final = 2
"""The first state of a user with a history; all others follow."""
BATCH: Final = 4096
"""Users, states or texts that are worked on at a time."""
MAX_KEPT_STATES: Final = 100_000
"""Up to so many states their user rows are kept: 180 MB."""


@dataclass(frozen=True)
class AsOfFeatures:
    """User features as of every review.

    Attributes:
        states: (states, 449) distinct user rows; the first is :data:`COLD`, the second :data:`ANONYMOUS`.
        state: (reviews,) int32, the state that each review sees.
    """

    states: "States | Float32"
    state: Int32


@dataclass(frozen=True)
class _ByUser:
    """Reviews grouped by user.

    Attributes:
        order: (reviews,) rows, users contiguous and ascending, each user's rows in time order.
        starts: (users,) where each user's rows start in `order`.
        lengths: (users,) how many there are.
    """

    order: Int64
    starts: Int64
    lengths: Int64

    def user_before(self, ends: Int64) -> Int64:
        """The user whose rows lie before each place in `order`."""
        return np.searchsorted(self.starts, ends, side="right") - 1

    @classmethod
    def of(cls, reviews: Reviews) -> "_ByUser":
        lengths = np.bincount(reviews.user, minlength=len(reviews.user_ids)).astype(np.int64)
        return cls(np.argsort(reviews.user, kind="stable"), np.cumsum(lengths) - lengths, lengths)


class States:
    """The user rows of all states, put together as they are asked for: a row is 1,796 bytes, and there may be millions.

    ``states[rows]`` takes what an array of shape (states, 449) would take and gives float32.

    Args:
        no_history: (2, 449) the rows :data:`COLD` and :data:`ANONYMOUS`.
        als: (states - 2, 64) float32 of all others.
        ends: (states - 2,) where in `users.order` the first review is that each does not see; ascending.
        users: the reviews by user.
        vectors: embeddings of the reviews.
        batch: states that are put together at a time.
        max_kept: up to so many states all rows are made at once and kept.
    """

    def __init__(
        self,
        no_history: Float32,
        als: Float32,
        ends: Int64,
        users: _ByUser,
        vectors: ReviewVectors,
        *,
        batch: int,
        max_kept: int,
    ) -> None:
        self._no_history, self._als, self._ends, self._users, self._vectors = no_history, als, ends, users, vectors
        self._batch = batch
        self._kept = self._rows(np.arange(len(self))) if len(self) <= max_kept else None

    def __len__(self) -> int:
        return FIRST_WARM + len(self._ends)

    @property
    def shape(self) -> tuple[int, int]:
        """(states, 449)."""
        return len(self), USER_DIM

    def __getitem__(self, index: Any) -> Float32:
        if self._kept is not None:
            rows: Float32 = self._kept[index]
            return rows
        states = np.arange(len(self))[index]
        distinct, inverse = np.unique(states, return_inverse=True)
        return self._rows(distinct)[inverse.reshape(states.shape)]

    def _rows(self, states: Int64) -> Float32:
        """User rows of distinct states, ascending."""
        rows = np.empty((len(states), USER_DIM), np.float32)
        without = int(np.searchsorted(states, FIRST_WARM))
        rows[:without] = self._no_history[states[:without]]
        for first in range(without, len(states), self._batch):
            warm = states[first : first + self._batch] - FIRST_WARM
            means = _means(self._vectors, self._users, self._ends[warm])
            rows[first : first + len(warm)] = user_rows(self._als[warm], means, False)
        return rows


def global_mean(vectors: ReviewVectors, rows: int, *, batch: int = BATCH) -> Float32:
    """Mean embedding of the first `rows` reviews, the training period, anonymous ones included: (384,) float32."""
    counts = np.bincount(vectors.text[:rows], minlength=len(vectors.distinct))
    sums = np.zeros(BERT_DIM, np.int64)
    for start in range(0, len(counts), batch):
        sums += counts[start : start + batch] @ vectors.distinct[start : start + batch].astype(np.int64)
    return running_mean(sums, rows)


def as_of_features(
    reviews: Reviews,
    vectors: ReviewVectors,
    space: ItemFactors,
    mean: Float32,
    *,
    on_progress: Callable[[int], None],
    batch: int = BATCH,
    max_kept: int = MAX_KEPT_STATES,
) -> AsOfFeatures:
    """Make the features as of every review.

    Args:
        reviews: in time order.
        vectors: their embeddings.
        space: the item factors.
        mean: (384,) float32, the embedding of users without a history.
        on_progress: called with the number of states folded in since the last call.
        batch: states that are folded in, and later put together, at a time.
        max_kept: up to so many states all user rows are kept; of more they are made as they are asked for.
    """
    users = _ByUser.of(reviews)
    group_start = np.repeat(users.starts, users.lengths)
    dated = np.add.reduceat(reviews.dated[users.order].astype(np.int64), users.starts)
    visible = np.minimum(np.arange(len(reviews)) - group_start, np.repeat(dated, users.lengths))
    warm = (visible > 0) & ~reviews.anonymous[reviews.user[users.order]]
    # What a state sees ends in `order` where the first review is that it does not see: no two states end alike.
    ends, state_of_warm = np.unique((group_start + visible)[warm], return_inverse=True)
    state = np.where(reviews.anonymous[reviews.user], ANONYMOUS, COLD).astype(np.int32)
    state[users.order[warm]] = FIRST_WARM + state_of_warm
    no_history = cold_rows(mean, [False, True])
    als = np.empty((len(ends), ALS_DIM), np.float32)
    histories = _histories(reviews, users, ends)
    for first in range(0, len(ends), batch):
        folded = fold_in(space, list(islice(histories, batch)))
        als[first : first + len(folded)] = folded
        on_progress(len(folded))
    return AsOfFeatures(States(no_history, als, ends, users, vectors, batch=batch, max_kept=max_kept), state)


def _means(vectors: ReviewVectors, users: _ByUser, ends: Int64) -> Float32:
    """Running means, (ends, 384) float32, of the reviews of each end's user before it; ends ascend."""
    distinct, group = np.unique(users.user_before(ends), return_inverse=True)
    starts, lengths = users.starts[distinct], users.lengths[distinct]
    # Reviews of the users of this batch only, so that memory stays flat however many there are.
    local_starts = np.cumsum(lengths) - lengths
    positions = np.arange(lengths.sum()) + np.repeat(starts - local_starts, lengths)
    sums = exclusive_sums(vectors.of(users.order[positions]), local_starts)
    seen = ends - starts[group]
    return running_mean(sums[local_starts[group] + seen], seen)


def _histories(reviews: Reviews, users: _ByUser, ends: Int64) -> Iterator[Mapping[int, float]]:
    """Yield product → Σ ratings of each end; ends ascend, so each continues the one before or starts a new user."""
    current, start, history = -1, 0, dict[int, float]()
    for end, user in zip(ends.tolist(), users.user_before(ends).tolist(), strict=True):
        if user != current:
            current, start, history = user, int(users.starts[user]), {}
        yield dict(_with(history, _rated(reviews, users.order[start:end])))
        start = end


def _rated(reviews: Reviews, rows: Int64) -> Iterator[tuple[int, float]]:
    """Product and rating of some rows."""
    return zip(reviews.product[rows].tolist(), reviews.rating[rows].tolist(), strict=True)


def _with(history: dict[int, float], rated: Iterable[tuple[int, float]]) -> dict[int, float]:
    """Add to a history, product → Σ ratings, in place."""
    for product, rating in rated:
        history[product] = history.get(product, 0.0) + rating
    return history


@dataclass(frozen=True)
class UserStates:
    """Every named user with all reviews of the file: what is published.

    Attributes:
        users: (users,) index of each user.
        rows: rows of their reviews, users contiguous, each user's rows in time order.
        offsets: (users + 1,) where each user's rows start in `rows`.
    """

    users: Int64
    rows: Int64
    offsets: Int64


def final_states(reviews: Reviews) -> UserStates:
    """Group the reviews of every named user."""
    users = _ByUser.of(reviews)
    named = np.flatnonzero(~reviews.anonymous)
    rows = users.order[~reviews.anonymous[reviews.user[users.order]]]
    offsets = np.concatenate([[0], np.cumsum(users.lengths[named])])
    return UserStates(named, rows, offsets)


def final_als(reviews: Reviews, space: ItemFactors, states: UserStates) -> Iterator[Float32]:
    """Fold in the ALS vectors of all `states.users` from all of their reviews.

    Yields:
        (users, 64) float32, for a few thousand users at a time.
    """
    # Most users have one review, and there are few different ones.
    single: dict[tuple[int, float], Float32] = {}
    for first in range(0, len(states.users), BATCH):
        last = min(first + BATCH, len(states.users))
        rows = states.rows[states.offsets[first] : states.offsets[last]]
        pairs = list(_rated(reviews, rows))
        edges = (states.offsets[first : last + 1] - states.offsets[first]).tolist()
        own = [pairs[start:end] for start, end in pairwise(edges)]
        new = list({history[0] for history in own if len(history) == 1} - single.keys())
        several = [user for user, history in enumerate(own) if len(history) > 1]
        folded = fold_in(
            space, [{product: rating} for product, rating in new] + [_with({}, own[user]) for user in several]
        )
        single.update(zip(new, folded, strict=False))
        als = np.empty((last - first, ALS_DIM), np.float32)
        als[several] = folded[len(new) :]
        for user, history in enumerate(own):
            if len(history) == 1:
                als[user] = single[history[0]]
        yield als


def first_of_moment(reviews: Reviews, rows: Int64) -> Int64:
    """Replace each of `rows` by the first row of its user at the same time, which sees strictly earlier reviews only.

    Training and serving see reviews in the order (time, review id). Where a file knows the day only, that order is made
    up within a day; a figure that is to be believed must not rest on it.
    """
    users = _ByUser.of(reviews)
    user, time_us = reviews.user[users.order], reviews.time_us[users.order]
    starts = np.ones(len(reviews), bool)
    starts[1:] = (user[1:] != user[:-1]) | (time_us[1:] != time_us[:-1])
    first = np.empty(len(reviews), np.int64)
    first[users.order] = users.order[np.maximum.accumulate(np.where(starts, np.arange(len(reviews)), 0))]
    return first[rows]


def earlier_products(reviews: Reviews, rows: Int64) -> tuple[Int64, Int64]:
    """Find the products that the user of each of `rows` had reviewed before it; none for an anonymous one.

    Returns:
        Pairs: index into `rows`, product; (pairs,) int64 each.
    """
    users = _ByUser.of(reviews)
    position = np.empty(len(reviews), np.int64)
    position[users.order] = np.arange(len(reviews))
    user = reviews.user[rows]
    count = np.where(reviews.anonymous[user], 0, position[rows] - users.starts[user])
    first = np.repeat(users.starts[user] - (np.cumsum(count) - count), count)
    products = reviews.product[users.order[first + np.arange(len(first))]]
    return np.repeat(np.arange(len(rows)), count), products.astype(np.int64)


def seen_mask(reviews: Reviews, rows: Int64) -> NDArray[np.bool_]:
    """:func:`earlier_products` as (rows, products) bool."""
    mask = np.zeros((len(rows), len(reviews.products)), bool)
    mask[earlier_products(reviews, rows)] = True
    return mask
