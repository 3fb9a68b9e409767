"""The asyncio client that asks the embedding service for user features, text embeddings and popularity."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from twotower.access import RoutedChannel
from twotower.errors import EmbeddingUnavailable, NotFound, SpaceMismatch, TwotowerError
from twotower.token_file import Metadata, TokenFile
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2

_POPULARITY_TIMEOUT_S: Final = 5.0
_ENCODE_TIMEOUT_S: Final = 30.0
"""256 long texts take seconds."""
_SWITCH_TIMEOUT_S: Final = 120.0
"""A release is opened and verified, and an encoder compiled."""
_LIST_TIMEOUT_S: Final = 2.0
_NONE: Final[Mapping[grpc.StatusCode, type[TwotowerError]]] = {}
_REFUSALS: Final[Mapping[grpc.StatusCode, type[TwotowerError]]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: SpaceMismatch,
}
_Call = Any
"""``grpc.aio.StreamStreamCall``: its types say nothing of what it reads."""


class EmbeddingClient:
    """The embedding service, as far as ranking needs it.

    Look-ups go over calls that stay open, one look-up at a time on each: as many calls as there have ever been look-ups
    at once. A look-up that fails, is late or is given up takes its call with it
    (docs/adr/0024-look-ups-over-open-calls.md).

    Args:
        channel: to the embedding service; the caller closes it.
        admin_channel: to its administrative listener; the caller closes it.
        lookup_timeout_s: longest that one look-up may take.
        token: what the service is told of who calls; nothing if None.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        admin_channel: grpc.aio.Channel,
        lookup_timeout_s: float,
        token: TokenFile | None = None,
    ) -> None:
        self._lookup_timeout_s = lookup_timeout_s
        self._token = token
        self.connect(channel, admin_channel)

    def connect(self, channel: grpc.aio.Channel, admin_channel: grpc.aio.Channel) -> None:
        """Use these channels from now on; calls that others have in flight end as they would."""
        self._stub = embedding_service_pb2_grpc.EmbeddingServiceStub(RoutedChannel(channel, admin_channel))
        self._idle_calls: list[_Call] = []

    def _metadata(self) -> Metadata:
        return self._token.metadata() if self._token else ()

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        """Look users up.

        Args:
            user_ids: 1 to 1,024 ids.
            space: the spaces that the vectors must be in.

        Returns:
            All users, in order; one column per feature.

        Raises:
            EmbeddingUnavailable: no usable answer in time.
            SpaceMismatch: the embedding service does not have the space.
        """
        request = embedding_service_pb2.StreamUserFeaturesRequest(user_ids=user_ids, space=space)
        try:
            async with asyncio.timeout(self._lookup_timeout_s):
                columns = await self._look_up(request)
        except TimeoutError:
            raise EmbeddingUnavailable(f"no answer within {self._lookup_timeout_s:g} s") from None
        if len(columns.kinds) != len(user_ids):
            raise EmbeddingUnavailable(f"{len(columns.kinds)} answers to {len(user_ids)} users")
        return columns

    async def _look_up(
        self, request: embedding_service_pb2.StreamUserFeaturesRequest
    ) -> embedding_service_pb2.UserFeatureColumns:
        if self._idle_calls:
            with contextlib.suppress(EmbeddingUnavailable):
                return await self._exchange(self._idle_calls.pop(), request)
            # The service may have stopped or restarted since the call was last used: a new one shows who is there now.
            while self._idle_calls:
                self._idle_calls.pop().cancel()
        return await self._exchange(self._stub.StreamUserFeatures(metadata=self._metadata()), request)

    async def _exchange(
        self, call: _Call, request: embedding_service_pb2.StreamUserFeaturesRequest
    ) -> embedding_service_pb2.UserFeatureColumns:
        try:
            await call.write(request)
            response = await call.read()
        except asyncio.InvalidStateError:
            raise EmbeddingUnavailable("the call had ended") from None
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise SpaceMismatch(f"the embedding service refused: {error.details()}") from error
            raise _unavailable(error) from error
        if response is grpc.aio.EOF:
            raise EmbeddingUnavailable("the embedding service is stopping")
        self._idle_calls.append(call)
        columns: embedding_service_pb2.UserFeatureColumns = response.columns
        return columns

    async def popularity(self, als_id: str) -> embedding_service_pb2.GetPopularityResponse:
        """Ask for time-decayed review counts.

        Raises:
            EmbeddingUnavailable: no answer in time.
        """
        request = embedding_service_pb2.GetPopularityRequest(als_id=als_id)
        response: embedding_service_pb2.GetPopularityResponse = await self._ask(
            self._stub.GetPopularity, request, _POPULARITY_TIMEOUT_S
        )
        return response

    async def encode(self, texts: Sequence[str]) -> embedding_service_pb2.EncodeTextsResponse:
        """Embed 1 to 256 texts with the encoder of the embedding service's active release.

        Raises:
            EmbeddingUnavailable: no answer in time.
        """
        request = embedding_service_pb2.EncodeTextsRequest(texts=texts)
        response: embedding_service_pb2.EncodeTextsResponse = await self._ask(
            self._stub.EncodeTexts, request, _ENCODE_TIMEOUT_S
        )
        return response

    async def prepare_space(self, release_id: str, space: types_pb2.EmbeddingSpace) -> None:
        """Let a release's space be asked for.

        Raises:
            EmbeddingUnavailable: no answer in time.
            NotFound: the embedding service does not have the release.
            SpaceMismatch: it has no users for the space.
        """
        request = embedding_service_pb2.PrepareSpaceRequest(release_id=release_id, space=space)
        await self._ask(self._stub.PrepareSpace, request, _SWITCH_TIMEOUT_S, _REFUSALS)

    async def activate_release(self, release_id: str) -> None:
        """Make a release the active one of the embedding service.

        Raises:
            EmbeddingUnavailable, NotFound, SpaceMismatch: as :meth:`prepare_space`.
        """
        request = embedding_service_pb2.ActivateReleaseRequest(release_id=release_id)
        await self._ask(self._stub.ActivateRelease, request, _SWITCH_TIMEOUT_S, _REFUSALS)

    async def list_spaces(self) -> Sequence[embedding_service_pb2.LoadedSpace]:
        """List the spaces that can be asked for.

        Raises:
            EmbeddingUnavailable: no answer in time.
        """
        request = embedding_service_pb2.ListSpacesRequest()
        response = await self._ask(self._stub.ListSpaces, request, _LIST_TIMEOUT_S)
        spaces: Sequence[embedding_service_pb2.LoadedSpace] = response.spaces
        return spaces

    async def _ask(
        self,
        method: Any,
        request: Message,
        timeout_s: float,
        refusals: Mapping[grpc.StatusCode, type[TwotowerError]] = _NONE,
    ) -> Any:
        """Call a method once; a status that is not in `refusals` is EmbeddingUnavailable."""
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            kind = refusals.get(error.code())
            raise kind(str(error.details())) if kind else _unavailable(error) from error


def _unavailable(error: grpc.aio.AioRpcError) -> EmbeddingUnavailable:
    return EmbeddingUnavailable(f"{error.code().name}: {error.details()}")
