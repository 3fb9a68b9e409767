"""User features of one batch: from the embedding service, or cold-start ones while it has none to give."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, Protocol, TypeVar

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.user_batch import UserBatch, UserContext
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, Float32, cold_rows, is_anonymous, user_rows
from twotower.v1 import embedding_service_pb2, types_pb2

_LOG = logging.getLogger(__name__)
MAX_STALENESS_S: Final = 3_600
"""Nothing older is answered with, whatever is asked for: for so long at most a deleted user's features are."""
_CACHED_SEEN: Final = 1_000
"""Users who have reviewed more products are looked up each time: what is kept of a user has a bound."""
ValueT = TypeVar("ValueT")


class FeatureSource(Protocol):
    """Where features come from; :class:`ranking_service.upstream.embedding_client.EmbeddingClient` is one."""

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        """Look users up, in order; raises EmbeddingUnavailable or SpaceMismatch."""


@dataclass(frozen=True)
class _CachedUser:
    """Features of one user, for any release of their space."""

    looked_up_at: float
    row: Float32
    seen_product_ids: list[str]
    context: UserContext


class FeatureLookup:
    """Features of a batch, whatever the state of the embedding service.

    Features are kept for later only of users for whom a request said that older ones will do; the others cost nothing
    (docs/adr/0018-no-cache-of-features.md has why the embedding service keeps none).

    Args:
        source: the embedding service.
        mismatched: told of a release whose space the embedding service does not have.
        cache_users: users whose features are kept, about 3 kB each; the least recently used go first.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: FeatureSource,
        mismatched: Callable[[ServedRelease, SpaceMismatch], object],
        *,
        cache_users: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._mismatched = mismatched
        self._cache_users = cache_users
        self._clock = clock
        self._cache: OrderedDict[tuple[str, str, str], _CachedUser] = OrderedDict()

    async def get(
        self, served: ServedRelease, user_ids: Sequence[str], max_staleness_s: Sequence[float] = ()
    ) -> UserBatch:
        """Look users up; if the embedding service is away or has another space, all are cold ones, marked degraded.

        Args:
            served: the release to be scored with.
            user_ids: in order.
            max_staleness_s: for each user, how old the look-up may be; empty if all are to be looked up now.
        """
        if not any(max_staleness_s):
            return await self._look_up(served, user_ids)
        cached = {
            i: user for i, limit in enumerate(max_staleness_s) if (user := self._recall(served, user_ids[i], limit))
        }
        missing = [i for i in range(len(user_ids)) if i not in cached]
        parts: list[tuple[list[int], UserBatch]] = []
        if missing:
            to_cache = [position for position, i in enumerate(missing) if max_staleness_s[i]]
            parts.append((missing, await self._look_up(served, [user_ids[i] for i in missing], to_cache)))
        if cached:
            parts.append((list(cached), self._recalled(served, cached.values())))
        return _joined(parts)

    async def _look_up(self, served: ServedRelease, user_ids: Sequence[str], to_cache: Sequence[int] = ()) -> UserBatch:
        """Look users up now, and keep those at the positions `to_cache` for later."""
        try:
            columns = await self._source.get(user_ids, served.space)
            batch = from_columns(columns, served)
        except EmbeddingUnavailable as error:
            _LOG.debug("%d users are answered as cold ones: %s", len(user_ids), error)
            return cold_start(user_ids, served)
        except SpaceMismatch as error:
            self._mismatched(served, error)
            return cold_start(user_ids, served)
        if to_cache:
            now, seen = self._clock(), _per_user(columns.seen_product_ids, columns.seen_counts)
            for i in to_cache:
                if len(seen[i]) > _CACHED_SEEN:
                    continue
                key = _cache_key(served, user_ids[i])
                self._cache[key] = _CachedUser(now, batch.rows[i].copy(), seen[i], batch.contexts[i])
                self._cache.move_to_end(key)
            # What no request may ask for any more goes too: users who were deleted meanwhile may be among it.
            while self._cache and (
                len(self._cache) > self._cache_users
                or now - next(iter(self._cache.values())).looked_up_at > MAX_STALENESS_S
            ):
                self._cache.popitem(last=False)
        return batch

    def _recall(self, served: ServedRelease, user_id: str, limit_s: float) -> _CachedUser | None:
        """Return what is kept of a user, if it is not too old."""
        key = _cache_key(served, user_id)
        user = self._cache.get(key)
        if user is None or self._clock() - user.looked_up_at > min(limit_s, MAX_STALENESS_S):
            return None
        self._cache.move_to_end(key)
        return user

    def _recalled(self, served: ServedRelease, cached: Iterable[_CachedUser]) -> UserBatch:
        now, users = self._clock(), list(cached)
        return UserBatch(
            np.stack([user.row for user in users]),
            [served.catalogue.rows(user.seen_product_ids) for user in users],
            [user.context._replace(staleness_us=int(1e6 * (now - user.looked_up_at))) for user in users],
        )


def _cache_key(served: ServedRelease, user_id: str) -> tuple[str, str, str]:
    return served.space.encoder_id, served.space.als_id, user_id


def _joined(parts: Sequence[tuple[list[int], UserBatch]]) -> UserBatch:
    """Join parts into one batch; each part names the positions of its users in it."""
    order = np.argsort([position for positions, _ in parts for position in positions], kind="stable")
    seen = [rows for _, batch in parts for rows in batch.seen]
    contexts = [context for _, batch in parts for context in batch.contexts]
    rows = np.concatenate([batch.rows for _, batch in parts])
    return UserBatch(rows[order], [seen[i] for i in order], [contexts[i] for i in order])


def from_columns(columns: embedding_service_pb2.UserFeatureColumns, served: ServedRelease) -> UserBatch:
    """Convert what the embedding service knows of users into a batch.

    A user whose vectors are not finite is a cold one, marked degraded; the others stay as they are.

    Raises:
        SpaceMismatch: vectors of another space than the release's.
        EmbeddingUnavailable: a column of another length.
    """
    if columns.space != served.space:
        raise _other_space(columns.space, served)
    kinds, counts = list(columns.kinds), list(columns.seen_counts)
    origins, review_counts, ages_us = list(columns.als_origins), list(columns.review_counts), list(columns.ages_us)
    als, bert, users = columns.als, columns.bert_means, len(kinds)
    if len(als) != 4 * ALS_DIM * users or len(bert) != 4 * BERT_DIM * users:
        raise EmbeddingUnavailable("vectors of another size")
    if {len(counts), len(origins), len(review_counts), len(ages_us)} != {users} or sum(counts) != len(
        columns.seen_product_ids
    ):
        raise EmbeddingUnavailable("columns of different lengths")
    rows = user_rows(
        np.frombuffer(als, "<f4").reshape(users, ALS_DIM),
        np.frombuffer(bert, "<f4").reshape(users, BERT_DIM),
        np.array([kind == types_pb2.USER_KIND_ANONYMOUS for kind in kinds]),
    )
    contexts = list(map(UserContext, kinds, origins, review_counts, ages_us))
    batch = UserBatch(rows, _seen_rows(columns.seen_product_ids, counts, served.catalogue), contexts)
    if np.isfinite(rows).all():
        return batch
    unusable = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
    _LOG.warning("%d users are answered as cold ones: their features are no numbers", len(unusable))
    return batch.with_cold_users(unusable, served.global_mean)


def _seen_rows(product_ids: Iterable[str], counts: Sequence[int], catalogue: Catalogue) -> list[list[int]]:
    """Convert each user's products to catalogue rows, without those that the release does not have."""
    row_of = catalogue.row
    rows = _per_user([row_of(product_id) for product_id in product_ids], counts)
    return [[row for row in user if row >= 0] if -1 in user else user for user in rows]


def _per_user(values: Sequence[ValueT], counts: Sequence[int]) -> list[list[ValueT]]:
    """Cut a flat column into the users' parts."""
    return [list(values[start:end]) for start, end in pairwise(accumulate(counts, initial=0))]


def cold_start(user_ids: Iterable[str], served: ServedRelease) -> UserBatch:
    """Make users of whom nothing is known now; anonymous names are recognised."""
    anonymous = [is_anonymous(user_id, served.anonymous_keys) for user_id in user_ids]
    kinds = [types_pb2.USER_KIND_ANONYMOUS if name else types_pb2.USER_KIND_COLD for name in anonymous]
    return UserBatch(
        cold_rows(served.global_mean, anonymous),
        [[] for _ in anonymous],
        [UserContext(kind, types_pb2.ALS_ORIGIN_NONE, degraded=True) for kind in kinds],
    )


def _other_space(space: types_pb2.EmbeddingSpace, served: ServedRelease) -> SpaceMismatch:
    expected = served.space
    return SpaceMismatch(
        f"features are of encoder {space.encoder_id!r} and ALS space {space.als_id!r}, "
        f"release {served.release_id} needs {expected.encoder_id!r} and {expected.als_id!r}"
    )
