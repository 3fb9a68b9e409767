"""User features for one batch: from the embedding service, or cold-start ones when it is away."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clients.features import FeaturesUnavailable
from ranking_service.releases import ServedRelease
from twotower.errors import SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, Float32, is_anonymous, user_rows
from twotower.v1 import ranking_service_pb2, types_pb2


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


def from_features(features: Sequence[types_pb2.UserFeatures], served: ServedRelease) -> UserBatch:
    """Users as the embedding service knows them.

    Raises:
        SpaceMismatch: a vector of another space than the release's.
        FeaturesUnavailable: a vector of another size, or not finite.
    """
    _check(features, served)
    als = np.frombuffer(b"".join([user.als.values for user in features]), "<f4").reshape(-1, ALS_DIM)
    bert = np.frombuffer(b"".join([user.bert_mean.values for user in features]), "<f4").reshape(-1, BERT_DIM)
    anonymous = np.array([user.kind == types_pb2.USER_KIND_ANONYMOUS for user in features])
    rows = user_rows(als, bert, anonymous)
    if not np.isfinite(rows).all():
        raise FeaturesUnavailable("features that are not finite")
    seen = [served.catalogue.known_indices(user.seen_product_ids) for user in features]
    return UserBatch(rows, seen, [_context(user) for user in features])


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


def _check(features: Sequence[types_pb2.UserFeatures], served: ServedRelease) -> None:
    encoder_id, als_id = served.space.encoder_id, served.space.als_id
    for user in features:
        space = user.space
        if space.encoder_id != encoder_id or space.als_id != als_id:
            raise SpaceMismatch(
                f"features are of encoder {space.encoder_id!r} and ALS space {space.als_id!r}, "
                f"release {served.release_id} needs {encoder_id!r} and {als_id!r}"
            )
        if len(user.als.values) != 4 * ALS_DIM or len(user.bert_mean.values) != 4 * BERT_DIM:
            raise FeaturesUnavailable(f"vectors of {len(user.als.values)} and {len(user.bert_mean.values)} bytes")


def _context(user: types_pb2.UserFeatures) -> ranking_service_pb2.UserContext:
    context = ranking_service_pb2.UserContext(kind=user.kind, review_count=user.review_count, als_origin=user.als_origin)
    if user.HasField("age"):
        context.feature_age.CopyFrom(user.age)
    return context
