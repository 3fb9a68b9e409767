"""User features for one batch: from the embedding service, or cold-start ones when it is away."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol, TypeVar

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.embedding_client import FeaturesUnavailable
from ranking_service.upstream.user_batch import Known, UserBatch
from twotower.errors import SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, Float32, cold_rows, is_anonymous, user_rows
from twotower.v1 import embedding_service_pb2, types_pb2

_LOG = logging.getLogger(__name__)
ValueT = TypeVar("ValueT")


class FeatureSource(Protocol):
    """Where features come from; :class:`ranking_service.upstream.embedding_client.FeatureClient` is one."""

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        """Features of users, in order; raises FeaturesUnavailable or SpaceMismatch."""


@dataclass(frozen=True)
class _Kept:
    """Features of one user, for any release of their space."""

    looked_up_at: float
    row: Float32
    seen_product_ids: list[str]
    known: Known


class FeatureLookup:
    """Features of a batch, whatever the state of the embedding service.

    Features are kept for later only of those users for whom a request said that older ones will do; the others cost
    nothing.

    Args:
        source: the embedding service.
        cache_users: users whose features are kept, about 3 kB each; those not asked for longest go first.
        clock: seconds, monotonic.
    """

    def __init__(
        self, source: FeatureSource, *, cache_users: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._cache_users = cache_users
        self._clock = clock
        self._cache: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()

    async def get(
        self, served: ServedRelease, user_ids: Sequence[str], max_staleness_s: Sequence[float] = ()
    ) -> UserBatch:
        """Look users up; all are cold ones and degraded if the embedding service is away.

        Args:
            served: the release to be scored with.
            user_ids: in order.
            max_staleness_s: for each user, how long ago the look-up may have been; empty if all are to be looked up
                now.

        Raises:
            SpaceMismatch: the features are of another space than the release's.
        """
        if not any(max_staleness_s):
            return await self._ask(served, user_ids)
        kept = {
            i: found for i, limit in enumerate(max_staleness_s) if (found := self._recall(served, user_ids[i], limit))
        }
        missing = [i for i in range(len(user_ids)) if i not in kept]
        parts: list[tuple[list[int], UserBatch]] = []
        if missing:
            asked = [user_ids[i] for i in missing]
            remembered = [place for place, i in enumerate(missing) if max_staleness_s[i]]
            parts.append((missing, await self._ask(served, asked, remembered)))
        if kept:
            parts.append((list(kept), self._recalled(served, kept.values())))
        return _joined(parts)

    async def _ask(self, served: ServedRelease, user_ids: Sequence[str], remembered: Sequence[int] = ()) -> UserBatch:
        """Features looked up now; the users at the places `remembered` are kept for later."""
        try:
            columns = await self._source.get(user_ids, served.space)
            batch = from_columns(columns, served)
        except FeaturesUnavailable as error:
            _LOG.debug("%d users are answered as cold ones: %s", len(user_ids), error)
            return cold_start(user_ids, served)
        if remembered:
            now, seen = self._clock(), _each(columns.seen_product_ids, columns.seen_counts)
            for place in remembered:
                key = _cache_key(served, user_ids[place])
                self._cache[key] = _Kept(now, batch.rows[place].copy(), seen[place], batch.known[place])
                self._cache.move_to_end(key)
            while len(self._cache) > self._cache_users:
                self._cache.popitem(last=False)
        return batch

    def _recall(self, served: ServedRelease, user_id: str, limit_s: float) -> _Kept | None:
        """What is kept of a user, if it is not too old."""
        key = _cache_key(served, user_id)
        found = self._cache.get(key)
        if found is None or self._clock() - found.looked_up_at > limit_s:
            return None
        self._cache.move_to_end(key)
        return found

    def _recalled(self, served: ServedRelease, kept: Iterable[_Kept]) -> UserBatch:
        now, users = self._clock(), list(kept)
        return UserBatch(
            np.stack([user.row for user in users]),
            [served.catalogue.known_indices(user.seen_product_ids) for user in users],
            [user.known._replace(staleness_us=int(1e6 * (now - user.looked_up_at))) for user in users],
        )


def _cache_key(served: ServedRelease, user_id: str) -> tuple[str, str, str]:
    return served.space.encoder_id, served.space.als_id, user_id


def _joined(parts: Sequence[tuple[list[int], UserBatch]]) -> UserBatch:
    """One batch of parts, each with the places of its users in it."""
    places = [place for part, _ in parts for place in part]
    order = np.argsort(places, kind="stable")
    seen = [rows for _, batch in parts for rows in batch.seen]
    known = [user for _, batch in parts for user in batch.known]
    rows = np.concatenate([batch.rows for _, batch in parts])
    return UserBatch(rows[order], [seen[i] for i in order], [known[i] for i in order])


def from_columns(columns: embedding_service_pb2.UserFeatureColumns, served: ServedRelease) -> UserBatch:
    """Users as the embedding service knows them.

    Raises:
        SpaceMismatch: vectors of another space than the release's.
        FeaturesUnavailable: a column of another length, or a vector that is not finite.
    """
    if columns.space != served.space:
        raise _other_space(columns.space, served)
    kinds, counts = list(columns.kinds), list(columns.seen_counts)
    origins, review_counts, ages_us = list(columns.als_origins), list(columns.review_counts), list(columns.ages_us)
    als, bert, users = columns.als, columns.bert_means, len(kinds)
    if len(als) != 4 * ALS_DIM * users or len(bert) != 4 * BERT_DIM * users:
        raise FeaturesUnavailable("vectors of another size")
    if {len(counts), len(origins), len(review_counts), len(ages_us)} != {users} or sum(counts) != len(
        columns.seen_product_ids
    ):
        raise FeaturesUnavailable("columns of different lengths")
    rows = user_rows(
        np.frombuffer(als, "<f4").reshape(users, ALS_DIM),
        np.frombuffer(bert, "<f4").reshape(users, BERT_DIM),
        np.array([kind == types_pb2.USER_KIND_ANONYMOUS for kind in kinds]),
    )
    if not np.isfinite(rows).all():
        raise FeaturesUnavailable("features that are not finite")
    known = list(map(Known, kinds, origins, review_counts, ages_us))
    return UserBatch(rows, _seen_rows(columns.seen_product_ids, counts, served.catalogue), known)


def _seen_rows(product_ids: Iterable[str], counts: Sequence[int], catalogue: Catalogue) -> list[list[int]]:
    """Each user's products as catalogue rows, without those that the release does not have."""
    row_of = catalogue.row
    rows = _each([row_of(product_id) for product_id in product_ids], counts)
    return [[row for row in user if row >= 0] if -1 in user else user for user in rows]


def _each(values: Sequence[ValueT], counts: Sequence[int]) -> list[list[ValueT]]:
    """A flat column cut into the users' parts."""
    return [list(values[start:end]) for start, end in pairwise(accumulate(counts, initial=0))]


def cold_start(user_ids: Iterable[str], served: ServedRelease) -> UserBatch:
    """Users of whom nothing can be known because the embedding service is away; anonymous names are recognised all the
    same.
    """
    anonymous = [is_anonymous(user_id, served.anonymous_keys) for user_id in user_ids]
    kinds = [types_pb2.USER_KIND_ANONYMOUS if name else types_pb2.USER_KIND_COLD for name in anonymous]
    return UserBatch(
        cold_rows(served.global_mean, anonymous),
        [[] for _ in anonymous],
        [Known(kind, types_pb2.ALS_ORIGIN_NONE, degraded=True) for kind in kinds],
    )


def _other_space(space: types_pb2.EmbeddingSpace, served: ServedRelease) -> SpaceMismatch:
    expected = served.space
    return SpaceMismatch(
        f"features are of encoder {space.encoder_id!r} and ALS space {space.als_id!r}, "
        f"release {served.release_id} needs {expected.encoder_id!r} and {expected.als_id!r}"
    )
