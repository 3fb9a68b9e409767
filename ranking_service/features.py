"""User features for one batch: from the embedding service, or cold-start ones when it is away."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clients.features import FeaturesUnavailable
from ranking_service.served import ServedRelease
from twotower.errors import SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM, Float32, is_anonymous, user_rows
from twotower.v1 import ranking_service_pb2, types_pb2

_LOG = logging.getLogger(__name__)


class FeatureSource(Protocol):
    """Where features come from; :class:`clients.features.FeatureClient` is one."""

    async def get(self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace) -> Sequence[types_pb2.UserFeatures]:
        """Features of users, in order; raises FeaturesUnavailable or SpaceMismatch."""


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
    contexts: list[ranking_service_pb2.UserContext]

    @classmethod
    def empty(cls) -> "UserBatch":
        """No user."""
        return cls(np.zeros((0, USER_DIM), np.float32), [], [])


class FeatureLookup:
    """Features of a batch, whatever the state of the embedding service.

    Features are kept for later only of those users for whom a request said that older ones will do; the others cost nothing.

    Args:
        source: the embedding service.
        cache_users: users whose features are kept, about 3 kB each; those not asked for longest go first.
        clock: seconds, monotonic.
    """

    def __init__(self, source: FeatureSource, *, cache_users: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._cache_users = cache_users
        self._clock = clock
        self._cache: OrderedDict[tuple[str, str, str], tuple[float, types_pb2.UserFeatures]] = OrderedDict()

    async def get(self, served: ServedRelease, user_ids: Sequence[str], max_staleness_s: Sequence[float] = ()) -> UserBatch:
        """Look users up; all are cold ones and degraded if the embedding service is away.

        Args:
            served: the release to be scored with.
            user_ids: in order.
            max_staleness_s: for each user, how long ago the look-up may have been; empty if all are to be looked up now.

        Raises:
            SpaceMismatch: the features are of another space than the release's.
        """
        if not any(max_staleness_s):
            return await self._ask(served, user_ids)
        kept = {i: found for i, limit in enumerate(max_staleness_s) if (found := self._recall(served, user_ids[i], limit))}
        missing = [i for i in range(len(user_ids)) if i not in kept]
        parts: list[tuple[list[int], UserBatch]] = []
        if missing:
            asked = [user_ids[i] for i in missing]
            remembered = [asked[n] for n, i in enumerate(missing) if max_staleness_s[i]]
            parts.append((missing, await self._ask(served, asked, remembered)))
        if kept:
            batch = from_features([features for _, features in kept.values()], served)
            for context, (age_s, _) in zip(batch.contexts, kept.values(), strict=True):
                context.staleness.FromNanoseconds(int(age_s * 1e9))
            parts.append((list(kept), batch))
        return _joined(parts)

    async def _ask(self, served: ServedRelease, user_ids: Sequence[str], remembered: Iterable[str] = ()) -> UserBatch:
        try:
            features = await self._source.get(user_ids, served.space)
            batch = from_features(features, served)
        except FeaturesUnavailable as error:
            _LOG.debug("%d users are answered as cold ones: %s", len(user_ids), error)
            return cold_start(user_ids, served)
        keep = set(remembered)
        for user in features if keep else ():
            if user.user_id in keep:
                key = _cache_key(served, user.user_id)
                self._cache[key] = self._clock(), user
                self._cache.move_to_end(key)
        while len(self._cache) > self._cache_users:
            self._cache.popitem(last=False)
        return batch

    def _recall(self, served: ServedRelease, user_id: str, limit_s: float) -> tuple[float, types_pb2.UserFeatures] | None:
        """Age in seconds, and features, if they are not too old."""
        key = _cache_key(served, user_id)
        found = self._cache.get(key)
        if found is None or (age_s := self._clock() - found[0]) > limit_s:
            return None
        self._cache.move_to_end(key)
        return age_s, found[1]


def _cache_key(served: ServedRelease, user_id: str) -> tuple[str, str, str]:
    return served.space.encoder_id, served.space.als_id, user_id


def _joined(parts: Sequence[tuple[list[int], UserBatch]]) -> UserBatch:
    """One batch of parts, each with the places of its users in it."""
    places = [place for part, _ in parts for place in part]
    order = np.argsort(places, kind="stable")
    seen = [rows for _, batch in parts for rows in batch.seen]
    contexts = [context for _, batch in parts for context in batch.contexts]
    rows = np.concatenate([batch.rows for _, batch in parts])
    return UserBatch(rows[order], [seen[i] for i in order], [contexts[i] for i in order])


def from_features(features: Sequence[types_pb2.UserFeatures], served: ServedRelease) -> UserBatch:
    """Users as the embedding service knows them.

    Raises:
        SpaceMismatch: a vector of another space than the release's.
        FeaturesUnavailable: a vector of another size, or not finite.
    """
    expected, row_of = served.space, served.catalogue.row
    als, bert, seen, contexts, anonymous = [], [], [], [], []
    for user in features:
        if user.space != expected:
            raise _other_space(user.space, served)
        als.append(user.als.values)
        bert.append(user.bert_mean.values)
        kind = user.kind
        anonymous.append(kind == types_pb2.USER_KIND_ANONYMOUS)
        seen.append([row for product_id in user.seen_product_ids if (row := row_of(product_id)) >= 0])
        age = user.age if user.HasField("age") else None
        contexts.append(
            ranking_service_pb2.UserContext(kind=kind, review_count=user.review_count, als_origin=user.als_origin, feature_age=age)
        )
    if set(map(len, als)) - {4 * ALS_DIM} or set(map(len, bert)) - {4 * BERT_DIM}:
        raise FeaturesUnavailable("vectors of another size")
    als_block = np.frombuffer(b"".join(als), "<f4").reshape(-1, ALS_DIM)
    rows = user_rows(als_block, np.frombuffer(b"".join(bert), "<f4").reshape(-1, BERT_DIM), np.array(anonymous, bool))
    if not np.isfinite(rows).all():
        raise FeaturesUnavailable("features that are not finite")
    return UserBatch(rows, seen, contexts)


def cold_start(user_ids: Iterable[str], served: ServedRelease) -> UserBatch:
    """Users of whom nothing can be known because the embedding service is away; anonymous names are recognised all the same."""
    anonymous = [is_anonymous(user_id, served.anonymous_keys) for user_id in user_ids]
    users = len(anonymous)
    als = np.zeros((users, ALS_DIM), np.float32)
    rows = user_rows(als, np.broadcast_to(served.global_mean, (users, BERT_DIM)), np.array(anonymous))
    kinds = [types_pb2.USER_KIND_ANONYMOUS if name else types_pb2.USER_KIND_COLD for name in anonymous]
    contexts = [
        ranking_service_pb2.UserContext(kind=kind, als_origin=types_pb2.ALS_ORIGIN_NONE, degraded=True) for kind in kinds
    ]  # fmt: skip
    return UserBatch(rows, [[] for _ in anonymous], contexts)


def _other_space(space: types_pb2.EmbeddingSpace, served: ServedRelease) -> SpaceMismatch:
    expected = served.space
    return SpaceMismatch(
        f"features are of encoder {space.encoder_id!r} and ALS space {space.als_id!r}, "
        f"release {served.release_id} needs {expected.encoder_id!r} and {expected.als_id!r}"
    )
