"""Asks the embedding service for user features, text embeddings and popularity: the asyncio client that the ranking service uses."""

from collections.abc import Sequence
from typing import Final

import grpc

from twotower.errors import SpaceMismatch
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2

_SLOW_CALL_S: Final = 5.0
_ENCODE_S: Final = 30.0
"""256 long texts take seconds."""


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

    async def get(self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace) -> embedding_service_pb2.UserFeatureColumns:
        """Look users up.

        Args:
            user_ids: 1 to 1,024 ids.
            space: the spaces that the vectors must be in.

        Returns:
            All users, in order; a column a feature.

        Raises:
            FeaturesUnavailable: no usable answer in time.
            SpaceMismatch: the embedding service does not have the space.
        """
        request = embedding_service_pb2.BatchGetUserFeaturesRequest(
            user_ids=user_ids, space=space, layout=embedding_service_pb2.FEATURE_LAYOUT_COLUMNS
        )
        try:
            response = await self._stub.BatchGetUserFeatures(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise SpaceMismatch(f"the embedding service refused: {error.details()}") from error
            raise FeaturesUnavailable(f"{error.code().name}: {error.details()}") from error
        if not response.HasField("columns"):
            raise FeaturesUnavailable("answered without columns: the embedding service is older than this one")
        columns: embedding_service_pb2.UserFeatureColumns = response.columns
        if len(columns.kinds) != len(user_ids):
            raise FeaturesUnavailable(f"{len(columns.kinds)} answers to {len(user_ids)} users")
        return columns

    async def popularity(self, als_id: str) -> embedding_service_pb2.GetPopularityResponse:
        """Time-decayed review counts.

        Raises:
            FeaturesUnavailable: no answer in time.
        """
        try:
            response: embedding_service_pb2.GetPopularityResponse = await self._stub.GetPopularity(
                embedding_service_pb2.GetPopularityRequest(als_id=als_id), timeout=_SLOW_CALL_S
            )
        except grpc.aio.AioRpcError as error:
            raise FeaturesUnavailable(f"{error.code().name}: {error.details()}") from error
        return response

    async def encode(self, texts: Sequence[str]) -> embedding_service_pb2.EncodeTextsResponse:
        """Embed 1 to 256 texts with the encoder of the embedding service's active release.

        Raises:
            FeaturesUnavailable: no answer in time.
        """
        try:
            response: embedding_service_pb2.EncodeTextsResponse = await self._stub.EncodeTexts(
                embedding_service_pb2.EncodeTextsRequest(texts=texts), timeout=_ENCODE_S
            )
        except grpc.aio.AioRpcError as error:
            raise FeaturesUnavailable(f"{error.code().name}: {error.details()}") from error
        return response
