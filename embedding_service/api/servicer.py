"""The gRPC boundary: check, convert, call, convert. Errors are mapped by :class:`twotower.rpc.ErrorInterceptor`."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from embedding_service.api import checks, messages
from embedding_service.api.streams import prompt, until_idle
from embedding_service.ports import Space
from embedding_service.usecases.activation import Activation
from embedding_service.usecases.importing import Importer
from embedding_service.usecases.popularity import Popularity
from embedding_service.usecases.users import Users
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import embedding_service_pb2_grpc as pb_grpc

_Context = grpc.aio.ServicerContext[Any, Any]


class EmbeddingServicer(pb_grpc.EmbeddingServiceServicer):
    """``twotower.v1.EmbeddingService``.

    Args:
        users, popularity, importer, activation: the use cases.
        import_idle_s: an import that sends nothing for so long is ended.
        stream_idle_s: a look-up stream on which nothing was asked for so long is ended.
    """

    def __init__(
        self,
        users: Users,
        popularity: Popularity,
        importer: Importer,
        activation: Activation,
        *,
        import_idle_s: float,
        stream_idle_s: float,
    ) -> None:
        self._users = users
        self._import_idle_s = import_idle_s
        self._stream_idle_s = stream_idle_s
        self._activation = activation
        self._popularity = popularity
        self._importer = importer

    async def GetUserFeatures(
        self, request: pb.GetUserFeaturesRequest, context: _Context
    ) -> pb.GetUserFeaturesResponse:
        """Features of one user."""
        checks.check_get_user_features(request)
        features = await self._users.features([request.user_id], _space(request))
        batch = pb.BatchGetUserFeaturesResponse()
        messages.add_features(features, batch.features.add)
        return pb.GetUserFeaturesResponse(features=batch.features[0], release_id=features.release.release_id)

    async def BatchGetUserFeatures(
        self, request: pb.BatchGetUserFeaturesRequest, context: _Context
    ) -> pb.BatchGetUserFeaturesResponse:
        """Features of many users."""
        checks.check_batch_get_user_features(request)
        features = await self._users.features(list(request.user_ids), _space(request))
        response = pb.BatchGetUserFeaturesResponse(release_id=features.release.release_id)
        if request.layout == pb.FEATURE_LAYOUT_COLUMNS:
            messages.fill_columns(features, response.columns)
        else:
            messages.add_features(features, response.features.add)
        return response

    async def StreamUserFeatures(
        self, request_iterator: AsyncIterator[pb.StreamUserFeaturesRequest], context: _Context
    ) -> AsyncIterator[pb.StreamUserFeaturesResponse]:
        """Features of many users, again and again."""
        async for request in until_idle(request_iterator, self._stream_idle_s):
            checks.check_stream_user_features(request)
            features = await self._users.features(list(request.user_ids), _space(request))
            response = pb.StreamUserFeaturesResponse(release_id=features.release.release_id)
            messages.fill_columns(features, response.columns)
            yield response

    async def RecordReview(self, request: pb.RecordReviewRequest, context: _Context) -> pb.RecordReviewResponse:
        """Add one review."""
        checks.check_record_review(request)
        [recorded] = await self._users.record(
            [messages.to_written_review(request.review)], field="review", caller=_caller(context)
        )
        return messages.from_recorded(recorded)

    async def BatchRecordReviews(
        self, request: pb.BatchRecordReviewsRequest, context: _Context
    ) -> pb.BatchRecordReviewsResponse:
        """Add many reviews."""
        checks.check_batch_record_reviews(request)
        recorded = await self._users.record(
            [messages.to_written_review(review) for review in request.reviews], caller=_caller(context)
        )
        return pb.BatchRecordReviewsResponse(results=map(messages.from_recorded, recorded))

    async def RetractReview(self, request: pb.RetractReviewRequest, context: _Context) -> pb.RetractReviewResponse:
        """Take one review back."""
        checks.check_retract_review(request)
        retracted, count, release_id = await self._users.retract(request.user_id, request.review_id)
        return pb.RetractReviewResponse(retracted=retracted, review_count=count, release_id=release_id)

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: _Context) -> pb.DeleteUserResponse:
        """Forget a user."""
        checks.check_delete_user(request)
        return pb.DeleteUserResponse(deleted=await self._users.delete(request.user_id))

    async def ExportUser(self, request: pb.ExportUserRequest, context: _Context) -> pb.ExportUserResponse:
        """All that is kept of a user, a page at a time."""
        checks.check_export_user(request)
        size = request.page_size or checks.MAX_PAGE_REVIEWS
        kept = None if request.page_token else await self._users.export(request.user_id)
        reviews, next_page = await self._users.export_reviews(request.user_id, request.page_token, size)
        return messages.from_kept(kept, reviews, next_page)

    async def ImportUsers(
        self, request_iterator: AsyncIterator[pb.ImportUsersRequest], context: _Context
    ) -> pb.ImportUsersResponse:
        """The trainer's bulk load."""
        requests = prompt(request_iterator, self._import_idle_s)
        first = await anext(requests, pb.ImportUsersRequest())
        checks.check_import_users_header(first)
        header = first.header
        async with self._importer.begin(
            header.release_id,
            messages.to_space(header.space),
            header.user_count,
            prepare_only=header.prepare_only,
            force=header.force,
        ) as running:
            async for request in requests:
                checks.check_import_users_batch(request)
                await running.add(messages.to_batch(request.batch))
            await running.finish()
        return pb.ImportUsersResponse(
            user_count=running.users,
            review_count=running.reviews,
            anonymous_skipped_count=running.anonymous,
            release_id=running.release_id,
        )

    async def ListSpaces(self, request: pb.ListSpacesRequest, context: _Context) -> pb.ListSpacesResponse:
        """The spaces that can be asked for."""
        held, current = self._activation.held, self._activation.current
        return pb.ListSpacesResponse(spaces=[messages.from_loaded(release, current) for release in held])

    async def PrepareSpace(self, request: pb.PrepareSpaceRequest, context: _Context) -> pb.PrepareSpaceResponse:
        """Let a release's space be asked for."""
        checks.check_prepare_space(request)
        release = await self._activation.prepare(request.release_id, messages.to_space(request.space))
        return pb.PrepareSpaceResponse(space=messages.from_loaded(release, self._activation.current))

    async def ActivateRelease(
        self, request: pb.ActivateReleaseRequest, context: _Context
    ) -> pb.ActivateReleaseResponse:
        """Make a release the active one."""
        release = await self._activation.activate(request.release_id)
        return pb.ActivateReleaseResponse(space=messages.from_loaded(release, self._activation.current))

    async def RetireSpaces(self, request: pb.RetireSpacesRequest, context: _Context) -> pb.RetireSpacesResponse:
        """Let the spaces go that can't be asked for."""
        checks.check_retire_spaces(request)
        retired = await self._activation.retire(request.release_id, list(request.served_release_ids))
        return pb.RetireSpacesResponse(encoder_ids=retired.encoder_ids, als_ids=retired.als_ids)

    async def EncodeTexts(self, request: pb.EncodeTextsRequest, context: _Context) -> pb.EncodeTextsResponse:
        """Embed texts."""
        checks.check_encode_texts(request)
        encoded, encoder_id = await self._users.encode(list(request.texts), _caller(context))
        return pb.EncodeTextsResponse(embeddings=messages.from_encoded(encoded), encoder_id=encoder_id)

    async def GetPopularity(self, request: pb.GetPopularityRequest, context: _Context) -> pb.GetPopularityResponse:
        """Live popularity."""
        return messages.from_popularity(await self._popularity.live(request.als_id))


def _caller(context: _Context) -> str:
    """Whose share of the encoder's queue a call takes: that of its host, on this machine that of its connection."""
    peer = str(context.peer())
    local = peer.startswith(("ipv4:127.", "ipv6:%5B::1%5D", "ipv6:[::1]"))
    return peer if local or not peer.startswith("ip") else peer.rpartition(":")[0]


def _space(
    request: pb.GetUserFeaturesRequest | pb.BatchGetUserFeaturesRequest | pb.StreamUserFeaturesRequest,
) -> Space | None:
    return messages.to_space(request.space) if request.HasField("space") else None
