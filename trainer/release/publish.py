"""Publishing a release: prepared in both services, then switched in both, or in neither."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.addresses import PLAINTEXT, ChannelSettings
from twotower.errors import TwotowerError
from twotower.release import Release
from twotower.release_users import UNDATED
from twotower.v1 import embedding_service_pb2 as embedding_pb2
from twotower.v1 import embedding_service_pb2_grpc as embedding_grpc
from twotower.v1 import release_service_pb2 as release_pb2
from twotower.v1 import release_service_pb2_grpc as release_grpc
from twotower.v1 import types_pb2
from twotower.wire import fixed_point_to_bytes, to_vector

BATCH_USERS: Final = 512
BATCH_REVIEWS: Final = 2048
"""About 2 MB per message, far below gRPC's bound; only a user with more reviews makes a longer one."""


class PublishFailed(TwotowerError):
    """A service is away or refuses the release."""


@dataclass(frozen=True)
class Published:
    """What the services say that they hold.

    Attributes:
        users: users imported.
        reviews: their reviews.
        products: products that ranking serves.
        not_retired: why spaces that nobody needs any more were not retired; the next publish does it. Empty if they
            were.
    """

    users: int
    reviews: int
    products: int
    not_retired: str = ""


def publish(
    release: Release,
    embedding: str,
    ranking: str,
    *,
    channels: ChannelSettings = PLAINTEXT,
    timeout_s: float = 600.0,
    connect_timeout_s: float = 15.0,
    batch_users: int = BATCH_USERS,
    batch_reviews: int = BATCH_REVIEWS,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Published:
    """Publish a release: both services have it in the end, or both keep the one before. Doing it again changes nothing.

    The users are sent to the embedding service, which answers for the old space and the new one from then on; ranking
    opens and warms the release up without serving it; then ranking switches, and has the embedding service switch. So
    ranking never serves a release whose space can't be asked for, wherever this is interrupted. Only then are spaces
    retired that neither service needs any more; the embedding service keeps them for a while all the same.

    Both services open the release from their own release folder, so it must be there.

    Args:
        release: opened and verified.
        embedding: ``host:port`` of the embedding service's administrative listener.
        ranking: ``host:port`` of the ranking service's administrative listener.
        channels: how both are reached.
        timeout_s: for each call.
        connect_timeout_s: how long to wait for each service to be reachable.
        batch_users: users per message at most.
        batch_reviews: reviews per message at most, but for one user with more.
        force: send the users also if they are far fewer than those of the publish before.
        on_progress: called with the number of users sent since the last call.

    Raises:
        PublishFailed: naming the service and its reason. Both services keep their release then.
        ReleaseInvalid: the release's ``users/`` can't be read.
    """
    _ = release.users  # what can't be read is said before anything is sent
    with _connected("embedding service", embedding, channels, connect_timeout_s) as channel:
        requests = import_requests(release, batch_users, batch_reviews, on_progress, force=force)
        imported = embedding_grpc.EmbeddingServiceStub(channel).ImportUsers(requests, timeout=timeout_s)
    with _connected("ranking service", ranking, channels, connect_timeout_s) as channel:
        stub = release_grpc.ReleaseServiceStub(channel)
        before = _served(stub, timeout_s).get(release_pb2.RELEASE_LABEL_STABLE)
        _prepare(stub, release.release_id, timeout_s)
        loaded = _load(stub, release.release_id, timeout_s)
        # Ranking has done it, unless it could not reach the embedding service.
        if loaded.space_state != embedding_pb2.SPACE_STATE_ACTIVE:
            try:
                _activate(embedding, release.release_id, channels, connect_timeout_s, timeout_s)
            except PublishFailed:
                if before:
                    _load(stub, before, timeout_s)
                raise
    not_retired = _retire(release.release_id, (embedding, ranking), channels, connect_timeout_s, timeout_s)
    return Published(imported.user_count, imported.review_count, loaded.product_count, not_retired)


def _retire(
    release_id: str, targets: tuple[str, str], channels: ChannelSettings, connect_timeout_s: float, timeout_s: float
) -> str:
    """Retire the spaces that can't be asked for; return why it was not done, which fails no publish."""
    embedding, ranking = targets
    try:
        with _connected("ranking service", ranking, channels, connect_timeout_s) as channel:
            served = _served(release_grpc.ReleaseServiceStub(channel), timeout_s).values()
        request = embedding_pb2.RetireSpacesRequest(release_id=release_id, served_release_ids=served)
        with _connected("embedding service", embedding, channels, connect_timeout_s) as channel:
            embedding_grpc.EmbeddingServiceStub(channel).RetireSpaces(request, timeout=timeout_s)
    except PublishFailed as error:
        return str(error)
    return ""


def _served(stub: release_grpc.ReleaseServiceStub, timeout_s: float) -> dict[int, str]:
    """Return the ids of the releases that ranking serves, by label."""
    try:
        listed = stub.ListReleases(release_pb2.ListReleasesRequest(), timeout=timeout_s).releases
    except grpc.RpcError as error:
        _pass_if_unknown(error)
        return {}
    return {info.label: info.release_id for info in listed if info.label != release_pb2.RELEASE_LABEL_UNSPECIFIED}


def _prepare(stub: release_grpc.ReleaseServiceStub, release_id: str, timeout_s: float) -> None:
    try:
        stub.PrepareRelease(release_pb2.PrepareReleaseRequest(release_id=release_id), timeout=timeout_s)
    except grpc.RpcError as error:
        _pass_if_unknown(error)


def _load(stub: release_grpc.ReleaseServiceStub, release_id: str, timeout_s: float) -> release_pb2.ReleaseInfo:
    answer: release_pb2.LoadReleaseResponse = stub.LoadRelease(
        release_pb2.LoadReleaseRequest(release_id=release_id), timeout=timeout_s
    )
    return answer.release


def _activate(
    target: str, release_id: str, channels: ChannelSettings, connect_timeout_s: float, timeout_s: float
) -> None:
    with _connected("embedding service", target, channels, connect_timeout_s) as channel:
        request = embedding_pb2.ActivateReleaseRequest(release_id=release_id)
        try:
            embedding_grpc.EmbeddingServiceStub(channel).ActivateRelease(request, timeout=timeout_s)
        except grpc.RpcError as error:
            _pass_if_unknown(error)


def _pass_if_unknown(error: grpc.RpcError) -> None:
    """Go on if a service of an older version does not have the method: it does without."""
    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
        raise error


@contextmanager
def _connected(service: str, target: str, channels: ChannelSettings, timeout_s: float) -> Iterator[grpc.Channel]:
    """Open a channel to a service that can be reached; its errors name the service."""
    listener = f"admin_{service.removesuffix(' service')}"
    with channels.open(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout_s)
            yield channel
        except grpc.FutureTimeoutError as error:
            why = _why_not(channel, channels, listener)
            raise PublishFailed(f"{service} at {target}: not reachable within {timeout_s:g} s: {why}") from error
        except grpc.RpcError as error:
            raise PublishFailed(f"{service} at {target}: {channels.explain(error, listener)}") from error


def _why_not(channel: grpc.Channel, channels: ChannelSettings, listener: str) -> str:
    """Why a channel does not connect, which gRPC tells only a call."""
    try:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0)
    except grpc.RpcError as error:
        return channels.explain(error, listener)
    return "it answers only now"


def import_requests(
    release: Release,
    batch_users: int,
    batch_reviews: int,
    on_progress: Callable[[int], None],
    *,
    force: bool = False,
) -> Iterator[embedding_pb2.ImportUsersRequest]:
    """Yield the messages of one import: the header, then users in bounded batches.

    Raises:
        ReleaseInvalid: the files of ``users/`` do not fit each other.
    """
    manifest = release.manifest
    header = embedding_pb2.ImportHeader(
        release_id=release.release_id,
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
        user_count=len(release.users),
        prepare_only=True,
        force=force,
    )
    yield embedding_pb2.ImportUsersRequest(header=header)
    batch, reviews = embedding_pb2.ImportBatch(), 0
    for user in _users(release):
        if batch.users and (len(batch.users) == batch_users or reviews + len(user.reviews) > batch_reviews):
            yield embedding_pb2.ImportUsersRequest(batch=batch)
            on_progress(len(batch.users))
            batch, reviews = embedding_pb2.ImportBatch(), 0
        batch.users.append(user)
        reviews += len(user.reviews)
    if batch.users:
        yield embedding_pb2.ImportUsersRequest(batch=batch)
        on_progress(len(batch.users))


def _users(release: Release) -> Iterator[embedding_pb2.ImportedUser]:
    users, product_ids = release.users, [product.product_id for product in release.catalogue]
    review_ids = users.review_ids()
    for row, user_id in enumerate(users.user_ids()):
        user = embedding_pb2.ImportedUser(user_id=user_id, als=to_vector(users.als[row]))
        own = users.reviews_of(row)
        for index in range(own.start, own.stop):
            review = user.reviews.add(
                review_id=next(review_ids),
                product_id=product_ids[users.products[index]],
                rating=float(users.ratings[index]),
                fixed_point=fixed_point_to_bytes(users.fixed_point[index]),
            )
            if users.times_us[index] != UNDATED:
                review.review_time.FromMicroseconds(int(users.times_us[index]))
        yield user
