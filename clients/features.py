"""Asks the embedding service for user features: the asyncio client that the ranking service uses."""

from collections.abc import Sequence

import grpc

from twotower.errors import SpaceMismatch
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2


class FeaturesUnavailable(Exception):
    """The embedding service is away, too slow, not ready or failing; the message says which."""


class FeatureClient:
    """Features of many users in one call.

    Args:
        channel: to the embedding service; the caller closes it.
        timeout_s: longest that one call may take.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        self._timeout_s = timeout_s

    async def get(self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace) -> Sequence[types_pb2.UserFeatures]:
        """Look users up.

        Args:
            user_ids: 1 to 1,024 ids.
            space: the spaces that the vectors must be in.

        Returns:
            One a user, in order.

        Raises:
            FeaturesUnavailable: no usable answer in time.
            SpaceMismatch: the embedding service does not have the space.
        """
        request = embedding_service_pb2.BatchGetUserFeaturesRequest(user_ids=user_ids, space=space)
        try:
            response = await self._stub.BatchGetUserFeatures(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise SpaceMismatch(f"the embedding service refused: {error.details()}") from error
            raise FeaturesUnavailable(f"{error.code().name}: {error.details()}") from error
        if len(response.features) != len(user_ids):
            raise FeaturesUnavailable(f"{len(response.features)} answers to {len(user_ids)} users")
        features: Sequence[types_pb2.UserFeatures] = response.features
        return features
