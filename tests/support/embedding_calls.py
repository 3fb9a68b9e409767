"""Calls of a running embedding service, and the messages that they take."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedding_service.bootstrap import SERVICE_NAME
from tests.support.encoders import hash_vector
from tests.support.importing import import_requests
from tests.support.releases import product_id
from twotower.access import RoutedChannel
from twotower.features import Float32
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.wire import to_vector

Answer = TypeVar("Answer")


@dataclass
class Service:
    """A running service and a channel to its listeners; the generated stub has no types."""

    stub: Any
    channel: RoutedChannel
    port: int


class StartService(Protocol):
    """Starts a service with these settings."""

    def __call__(self, **settings: Any) -> Awaitable[Service]: ...


def imported_user(user_id: str, texts: Sequence[str], als: float = 0.5) -> pb.ImportedUser:
    """A user with a review of each text, r0 of product 0 and so on, and an ALS vector of one number."""
    reviews = [
        pb.ImportedReview(
            review_id=f"r{i}", product_id=product_id(i), rating=4, fixed_point=hash_vector(text).tobytes()
        )
        for i, text in enumerate(texts)
    ]
    return pb.ImportedUser(user_id=user_id, reviews=reviews, als=to_vector(np.full(64, als, np.float32)))


async def publish(
    service: Service, release: Release, users: Sequence[pb.ImportedUser] = (), count: int | None = None
) -> pb.ImportUsersResponse:
    """Import users, two per batch, and make the release active; `count` is announced if it is given."""
    if not users and not count:
        await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=release.release_id))
        return pb.ImportUsersResponse(release_id=release.release_id)
    requests = import_requests(release, users, batch=2, count=count)
    response: pb.ImportUsersResponse = await service.stub.ImportUsers(requests)
    return response


async def record(
    service: Service, review_id: str, user_id: str = "u1", product: str | None = None, **fields: Any
) -> pb.RecordReviewResponse:
    """Record one review."""
    defaults: dict[str, Any] = {"rating": 4.0, "title": "Fine", "text": f"text of {review_id}"}
    review = types_pb2.Review(
        review_id=review_id, user_id=user_id, product_id=product or product_id(0), **(defaults | fields)
    )
    response: pb.RecordReviewResponse = await service.stub.RecordReview(pb.RecordReviewRequest(review=review))
    return response


async def features(service: Service, user_id: str, **request: Any) -> types_pb2.UserFeatures:
    """Features of one user."""
    response: pb.GetUserFeaturesResponse = await service.stub.GetUserFeatures(
        pb.GetUserFeaturesRequest(user_id=user_id, **request)
    )
    return response.features


async def live_popularity(service: Service, **request: Any) -> pb.GetPopularityResponse:
    """Live popularity."""
    response: pb.GetPopularityResponse = await service.stub.GetPopularity(pb.GetPopularityRequest(**request))
    return response


async def health(service: Service, status: int) -> None:
    """Return when health of the service is `status`."""
    stub = health_pb2_grpc.HealthStub(service.channel)
    async for update in stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE_NAME)):
        if update.status == status:
            return


async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again while the service is UNAVAILABLE, and for no other reason."""
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def array(vector: types_pb2.Vector) -> Float32:
    """A vector's numbers, unchecked."""
    return np.frombuffer(vector.values, "<f4")
