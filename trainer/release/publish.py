"""Publishing a release: its users' states into the embedding service, then the release onto the ranking service."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc

from trainer.data.reviews import UNDATED
from twotower.errors import ReleaseInvalid, TwotowerError
from twotower.release import Release
from twotower.rpc import ChannelTls, open_channel
from twotower.v1 import embedding_service_pb2 as embedding_pb2
from twotower.v1 import embedding_service_pb2_grpc as embedding_grpc
from twotower.v1 import release_service_pb2 as release_pb2
from twotower.v1 import release_service_pb2_grpc as release_grpc
from twotower.v1 import types_pb2
from twotower.wire import fixed_point_to_bytes, to_vector

_BATCH_USERS: Final = 512
_BATCH_REVIEWS: Final = 2048
"""About 2 MB a message, far below gRPC's bound; only a user with more reviews than this makes a longer one."""


class PublishFailed(TwotowerError):
    """A service is away or refuses the release."""


@dataclass(frozen=True)
class Published:
    """What the services say that they hold.

    Attributes:
        users: users imported.
        reviews: their reviews.
        products: products that ranking serves.
    """

    users: int
    reviews: int
    products: int


def user_count(release: Release) -> int:
    """Users that :func:`publish` will send."""
    return len(release.array("users/review_offsets.npy")) - 1


def publish(
    release: Release,
    embedding: str,
    ranking: str,
    *,
    tls: ChannelTls | None = None,
    timeout_s: float = 600.0,
    connect_timeout_s: float = 15.0,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Published:
    """Publish a release; doing it again changes nothing.

    Both services open the release from their own release folder, so it must be there.

    Args:
        release: opened and verified.
        embedding: ``host:port`` of the embedding service.
        ranking: ``host:port`` of the ranking service.
        tls: of both channels.
        timeout_s: for each of the two calls.
        connect_timeout_s: how long to wait for each service to be reachable.
        on_progress: called with the number of users sent since the last call.

    Raises:
        PublishFailed: naming the service and its reason. Ranking keeps its release then.
        ReleaseInvalid: the release's ``users/`` can't be read.
    """
    with _connected("embedding service", embedding, tls, connect_timeout_s) as channel:
        stub = embedding_grpc.EmbeddingServiceStub(channel)
        imported = stub.ImportUsers(import_requests(release, on_progress), timeout=timeout_s)
    with _connected("ranking service", ranking, tls, connect_timeout_s) as channel:
        request = release_pb2.LoadReleaseRequest(release_id=release.release_id)
        loaded = release_grpc.ReleaseServiceStub(channel).LoadRelease(request, timeout=timeout_s)
    return Published(imported.user_count, imported.review_count, loaded.release.product_count)


@contextmanager
def _connected(service: str, target: str, tls: ChannelTls | None, timeout_s: float) -> Iterator[grpc.Channel]:
    """A channel to a service that can be reached; its errors name it."""
    with open_channel(target, tls) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout_s)
            yield channel
        except grpc.FutureTimeoutError as error:
            raise PublishFailed(
                f"{service} at {target}: not reachable within {timeout_s:g} s; is it running?"
            ) from error
        except grpc.RpcError as error:
            raise PublishFailed(f"{service} at {target}: {error.code().name}: {error.details()}") from error


def import_requests(
    release: Release, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[embedding_pb2.ImportUsersRequest]:
    """The messages of one import: the header, then users in bounded batches.

    Raises:
        ReleaseInvalid: the files of ``users/`` do not fit each other.
    """
    manifest = release.manifest
    header = embedding_pb2.ImportHeader(
        release_id=release.release_id,
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
        user_count=user_count(release),
    )
    yield embedding_pb2.ImportUsersRequest(header=header)
    batch, reviews = embedding_pb2.ImportBatch(), 0
    for user in _users(release):
        if batch.users and (len(batch.users) == _BATCH_USERS or reviews + len(user.reviews) > _BATCH_REVIEWS):
            yield embedding_pb2.ImportUsersRequest(batch=batch)
            on_progress(len(batch.users))
            batch, reviews = embedding_pb2.ImportBatch(), 0
        batch.users.append(user)
        reviews += len(user.reviews)
    if batch.users:
        yield embedding_pb2.ImportUsersRequest(batch=batch)
        on_progress(len(batch.users))


def _users(release: Release) -> Iterator[embedding_pb2.ImportedUser]:
    names = ("review_offsets", "products", "ratings", "times_us", "fixed_point", "als")
    offsets, products, ratings, times_us, vectors, als = (release.array(f"users/{name}.npy") for name in names)
    if (
        len({len(products), len(ratings), len(times_us), len(vectors), int(offsets[-1])}) != 1
        or len(als) != len(offsets) - 1
    ):
        raise ReleaseInvalid("users/: its arrays have different lengths")
    product_ids = [product.product_id for product in release.catalogue]
    review_ids = _lines(release, "users/review_ids.jsonl")
    for row, user_id in enumerate(_lines(release, "users/user_ids.jsonl")):
        user = embedding_pb2.ImportedUser(user_id=user_id, als=to_vector(als[row]))
        for index in range(int(offsets[row]), int(offsets[row + 1])):
            review = user.reviews.add(
                review_id=next(review_ids),
                product_id=product_ids[products[index]],
                rating=float(ratings[index]),
                fixed_point=fixed_point_to_bytes(vectors[index]),
            )
            if times_us[index] != UNDATED:
                review.review_time.FromMicroseconds(int(times_us[index]))
        yield user


def _lines(release: Release, name: str) -> Iterator[str]:
    with (release.path / name).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
