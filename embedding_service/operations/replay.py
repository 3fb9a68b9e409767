"""Replays a release's reviews through a live service and compares its features with the offline ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import grpc
import numpy as np

from twotower.access import RoutedChannel
from twotower.addresses import PLAINTEXT, ChannelSettings
from twotower.als import fold_in
from twotower.errors import NotReady, StoreUnavailable
from twotower.features import ALS_DIM, Int64, running_mean
from twotower.release import Release
from twotower.release_users import UNDATED
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector

_BATCH: Final = 512


@dataclass
class Replayed:
    """What a replay found.

    Attributes:
        users: users replayed.
        reviews: reviews replayed.
        rounds: the most reviews that a user has.
        compared: states compared, one per user and round.
        different_means: running means that are not the offline ones bit for bit.
        worst_als: largest difference of an element of an ALS vector.
    """

    ALS_TOLERANCE: ClassVar[float] = 1e-5
    users: int = 0
    reviews: int = 0
    rounds: int = 0
    compared: int = 0
    different_means: int = 0
    worst_als: float = 0.0


def replay_release(
    release: Release,
    address: str,
    admin_address: str,
    channels: ChannelSettings = PLAINTEXT,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Send every user's first review, compare, send every user's second one, and so on.

    They are sent with the release's embeddings, as an import that leaves folding in to the service.

    Args:
        release: its ``users/`` are replayed.
        address: ``host:port`` of an embedding service that knows none of the users.
        admin_address: ``host:port`` of its administrative listener.
        channels: how it is reached.
        on_progress: called with the number of reviews sent since the last call.

    Raises:
        StoreUnavailable: the service can't be called or refuses.
        NotReady: the service knows some of the users already.
    """
    users = _Users(release)
    replayed = Replayed(users=len(users.user_ids))
    with channels.open(address) as channel, channels.open(admin_address) as admin_channel:
        stub = EmbeddingServiceStub(RoutedChannel(channel, admin_channel))
        try:
            while (rows := users.rows_with(replayed.rounds)).size:
                stub.ImportUsers(users.requests(rows, replayed.rounds))
                if replayed.rounds == 0:
                    _refuse_known(stub, users, rows)
                replayed.rounds += 1
                replayed.reviews += len(rows)
                on_progress(len(rows))
                for start in range(0, len(rows), _BATCH):
                    _compare(stub, users, rows[start : start + _BATCH], replayed)
        except grpc.RpcError as error:
            raise StoreUnavailable(f"embedding service at {address}: {channels.explain(error, 'embedding')}") from error
    return replayed


class _Users:
    """Users of a release by their number of reviews."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.columns = release.users
        self.user_ids = list(self.columns.user_ids())
        self.review_ids = list(self.columns.review_ids())
        self._product_ids = [product.product_id for product in release.catalogue]

    def rows_with(self, round_: int) -> Int64:
        """Users that have more than `round_` reviews."""
        return np.flatnonzero(np.diff(self.columns.review_offsets) > round_)

    def requests(self, rows: Int64, round_: int) -> Iterator[pb.ImportUsersRequest]:
        """The import of these users' reviews number `round_`."""
        manifest = self.release.manifest
        space = types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id)
        yield pb.ImportUsersRequest(
            # Every round has fewer users than the one before.
            header=pb.ImportHeader(release_id=self.release.release_id, space=space, user_count=len(rows), force=True)
        )
        for start in range(0, len(rows), _BATCH):
            users = [
                self._user(row, int(self.columns.review_offsets[row]) + round_)
                for row in rows[start : start + _BATCH].tolist()
            ]
            yield pb.ImportUsersRequest(batch=pb.ImportBatch(users=users))

    def histories(self, row: int, reviews: int) -> dict[int, float]:
        """Product row → sum of ratings over a user's first reviews; products without factors are left out."""
        factors = self.release.item_factors.factors
        history: dict[int, float] = {}
        for index in range(int(self.columns.review_offsets[row]), int(self.columns.review_offsets[row]) + reviews):
            product = int(self.columns.products[index])
            if factors[product].any():
                history[product] = history.get(product, 0.0) + float(self.columns.ratings[index])
        return history

    def _user(self, row: int, index: int) -> pb.ImportedUser:
        review = pb.ImportedReview(
            review_id=self.review_ids[index],
            product_id=self._product_ids[self.columns.products[index]],
            rating=float(self.columns.ratings[index]),
            fixed_point=fixed_point_to_bytes(self.columns.fixed_point[index]),
        )
        if self.columns.times_us[index] != UNDATED:
            review.review_time.FromMicroseconds(int(self.columns.times_us[index]))
        return pb.ImportedUser(user_id=self.user_ids[row], reviews=[review], als=_ZEROS)


_ZEROS: Final = to_vector(np.zeros(ALS_DIM, np.float32))


def _features(stub: EmbeddingServiceStub, users: _Users, rows: Int64) -> list[types_pb2.UserFeatures]:
    request = pb.BatchGetUserFeaturesRequest(user_ids=[users.user_ids[row] for row in rows.tolist()])
    return list(stub.BatchGetUserFeatures(request).features)


def _refuse_known(stub: EmbeddingServiceStub, users: _Users, rows: Int64) -> None:
    for features in _features(stub, users, rows[:_BATCH]):
        if features.review_count != 1:
            raise NotReady(f"the service knew user {features.user_id!r} already: replay into one without users")


def _compare(stub: EmbeddingServiceStub, users: _Users, rows: Int64, replayed: Replayed) -> None:
    online = _features(stub, users, rows)
    als = fold_in(users.release.item_factors, [users.histories(row, replayed.rounds) for row in rows.tolist()])
    for row, features, vector in zip(rows.tolist(), online, als, strict=True):
        start = int(users.columns.review_offsets[row])
        sums = users.columns.fixed_point[start : start + replayed.rounds].sum(axis=0, dtype=np.int64)
        replayed.different_means += running_mean(sums, replayed.rounds).tobytes() != features.bert_mean.values
        replayed.worst_als = max(
            replayed.worst_als, float(np.abs(np.frombuffer(features.als.values, "<f4") - vector).max())
        )
        replayed.compared += 1
