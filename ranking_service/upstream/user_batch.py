"""The users of a batch, ready to be scored, and what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.features import USER_DIM, Float32, cold_rows
from twotower.v1 import types_pb2


class UserContext(NamedTuple):
    """What is known of a user, as ``twotower.v1.UserContext`` says it.

    Attributes:
        kind: warm, cold or anonymous.
        als_origin: how the ALS part was obtained.
        review_count: reviews that the features hold.
        age_us: microseconds since the user's state last changed; -1 for a user without state.
        staleness_us: microseconds since the features were looked up; -1 if they were looked up for this answer.
        degraded: cold-start features, because the embedding service did not answer.
    """

    kind: types_pb2.UserKind
    als_origin: types_pb2.AlsOrigin
    review_count: int = 0
    age_us: int = -1
    staleness_us: int = -1
    degraded: bool = False


@dataclass(frozen=True)
class UserBatch:
    """Users ready to be scored.

    Attributes:
        rows: (users, 449) float32.
        seen: for each user, the catalogue rows of the products that the user has reviewed.
        contexts: what is known of each user.
    """

    rows: Float32
    seen: list[list[int]]
    contexts: list[UserContext]

    @classmethod
    def empty(cls) -> "UserBatch":
        """Make a batch without users."""
        return cls(np.zeros((0, USER_DIM), np.float32), [], [])

    def with_cold_users(self, users: Sequence[int], global_mean: Float32) -> "UserBatch":
        """Return the batch with cold rows, marked degraded, for some users; what those have seen stays."""
        rows, contexts = self.rows.copy(), list(self.contexts)
        for user in users:
            is_anonymous = contexts[user].kind == types_pb2.USER_KIND_ANONYMOUS
            rows[user] = cold_rows(global_mean, [is_anonymous])[0]
            contexts[user] = contexts[user]._replace(als_origin=types_pb2.ALS_ORIGIN_NONE, degraded=True)
        return UserBatch(rows, self.seen, contexts)

    def part(self, users: slice) -> "UserBatch":
        """Return some of the users."""
        return UserBatch(self.rows[users], self.seen[users], self.contexts[users])
