"""A small embedding service in the test's process: the real protocol on a real port, with features that the test
chooses.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from tests.support.releases import unit_vectors
from twotower.features import ALS_DIM, BERT_DIM, Float32, dequantize, quantize
from twotower.limits import MAX_REQUEST_BYTES, server_options
from twotower.release import Release
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2
from twotower.wire import to_vector


@dataclass
class FakeEmbedding(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Answers StreamUserFeatures, GetPopularity and EncodeTexts.

    Attributes:
        users: what is known; everyone else is a cold user of `release`.
        space: the space of the answers; the one asked for if None.
        blocked: while it is not set, calls wait.
        failure: status to fail every call with.
        popularity: weight of each product.
        calls: user ids of each look-up.
        called: set at each look-up.
        opened: calls that look-ups came over.
        tokens: what the callers of these calls said who they are.
    """

    release: Release
    users: Mapping[str, types_pb2.UserFeatures] = field(default_factory=dict)
    space: types_pb2.EmbeddingSpace | None = None
    blocked: asyncio.Event = field(default_factory=asyncio.Event)
    failure: grpc.StatusCode | None = None
    popularity: dict[str, float] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    opened: int = 0
    tokens: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocked.set()
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> int:
        """Serve, by TLS if there are credentials; returns the port."""
        self._server = grpc.aio.server(options=server_options(max_request_bytes=MAX_REQUEST_BYTES, reuse_port=False))
        embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_secure_port(address, credentials)
            if credentials
            else self._server.add_insecure_port(address)
        )
        await self._server.start()
        return self.port

    def reset(self) -> None:
        """Answer normally again and forget the calls."""
        self.space = self.failure = None
        self.blocked.set()
        self.called.clear()
        self.calls.clear()
        self.opened = 0

    async def stop(self) -> None:
        """Stop at once."""
        if self._server:
            await self._server.stop(None)
            self._server = None

    async def StreamUserFeatures(
        self,
        request_iterator: AsyncIterator[embedding_service_pb2.StreamUserFeaturesRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[embedding_service_pb2.StreamUserFeaturesResponse]:
        """Features in the order asked."""
        self.opened += 1
        self.tokens += [str(value) for key, value in context.invocation_metadata() or () if key == "authorization"]
        async for request in request_iterator:
            self.calls.append(list(request.user_ids))
            self.called.set()
            await self.blocked.wait()
            if self.failure:
                await context.abort(self.failure, "as the test wants it")
            columns = to_columns(
                [self.users.get(user_id) or self._cold() for user_id in request.user_ids], self.space or request.space
            )
            yield embedding_service_pb2.StreamUserFeaturesResponse(columns=columns, release_id=self.release.release_id)

    async def GetPopularity(
        self, request: embedding_service_pb2.GetPopularityRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_service_pb2.GetPopularityResponse:
        """The weights that the test chose."""
        weights = to_vector(np.array(list(self.popularity.values()), np.float32))
        answer = embedding_service_pb2.GetPopularityResponse(product_ids=self.popularity, weights=weights)
        answer.as_of_time.GetCurrentTime()
        return answer

    async def EncodeTexts(
        self, request: embedding_service_pb2.EncodeTextsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> embedding_service_pb2.EncodeTextsResponse:
        """A vector of its own for each text."""
        vectors = [unit_vectors(np.random.default_rng(sum(text.encode())), 1)[0] for text in request.texts]
        embeddings = [
            embedding_service_pb2.TextEmbedding(embedding=to_vector(dequantize(quantize(vector)))) for vector in vectors
        ]
        return embedding_service_pb2.EncodeTextsResponse(
            embeddings=embeddings, encoder_id=self.release.manifest.encoder_id
        )

    def _cold(self) -> types_pb2.UserFeatures:
        return types_pb2.UserFeatures(
            kind=types_pb2.USER_KIND_COLD,
            bert_mean=to_vector(np.array(self.release.global_mean)),
            als=to_vector(np.zeros(ALS_DIM, np.float32)),
            als_origin=types_pb2.ALS_ORIGIN_NONE,
        )


def to_columns(
    users: Sequence[types_pb2.UserFeatures], space: types_pb2.EmbeddingSpace
) -> embedding_service_pb2.UserFeatureColumns:
    """One message a user, put into columns."""
    return embedding_service_pb2.UserFeatureColumns(
        kinds=[user.kind for user in users],
        bert_means=b"".join(user.bert_mean.values for user in users),
        als=b"".join(user.als.values for user in users),
        als_origins=[user.als_origin for user in users],
        review_counts=[user.review_count for user in users],
        ages_us=[user.age.ToMicroseconds() if user.HasField("age") else -1 for user in users],
        seen_counts=[len(user.seen_product_ids) for user in users],
        seen_product_ids=[product_id for user in users for product_id in user.seen_product_ids],
        space=space,
    )


def warm_user(row: Float32, seen: list[str]) -> types_pb2.UserFeatures:
    """Features that give the user row (449,) and the products seen."""
    features = types_pb2.UserFeatures(
        kind=types_pb2.USER_KIND_WARM,
        bert_mean=to_vector(row[ALS_DIM : ALS_DIM + BERT_DIM]),
        als=to_vector(row[:ALS_DIM]),
        als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
        review_count=len(seen),
        seen_product_ids=sorted(seen),
    )
    features.age.seconds = 30
    return features
