"""The client of the two services, blocking and asyncio.

Example::

    with TwotowerClient() as client:
        answer = client.recommend("Maria", k=5)
        for product in answer.products:
            print(product.name, product.predicted_rating)

Every call takes `timeout_s`, its deadline in seconds with all attempts included; without it that of the client's :class:`Deadlines` holds.
Every call raises the errors of :mod:`clients.errors`.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from google.protobuf.message import Message

from clients import calls
from clients.calls import EMBEDDING_SERVICE, METHODS, RANKING_SERVICE, Call, Deadlines, Method
from clients.connection import CHANNEL_OPTIONS, DEFAULT_EMBEDDING, DEFAULT_RANKING, Endpoints
from clients.errors import from_rpc_error
from clients.health import wait, wait_async
from clients.results import (
    BatchRecommendations,
    Product,
    ProductDetails,
    ProductPage,
    Recommendations,
    RecordedReview,
    ReleaseInfo,
    TextEmbeddings,
    UserFeatures,
)
from twotower.rpc import ChannelTls, open_async_channel, open_channel

T = TypeVar("T")

SERVICES: Final = (EMBEDDING_SERVICE, RANKING_SERVICE)
_PAGE_SIZE: Final = 1000


class TwotowerClient:
    """The blocking client; safe to share between threads, and cheap to hold open. Connects at the first call.

    Args:
        ranking: ``host:port`` of the ranking service.
        embedding: ``host:port`` of the embedding service.
        tls: PEM files; plaintext if None.
        deadlines: of calls that name none.
    """

    def __init__(
        self,
        ranking: str = DEFAULT_RANKING,
        embedding: str = DEFAULT_EMBEDDING,
        *,
        tls: ChannelTls | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        endpoints = Endpoints(ranking, embedding, tls)
        self._endpoints = endpoints
        self._deadlines = deadlines or Deadlines()
        self._ranking = open_channel(endpoints.ranking, endpoints.tls, CHANNEL_OPTIONS)
        self._embedding = open_channel(endpoints.embedding, endpoints.tls, CHANNEL_OPTIONS)
        self._stubs = {
            method: self._channel(method.service).unary_unary(method.path, _serialize, method.response.FromString) for method in METHODS
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        self._ranking.close()
        self._embedding.close()

    def wait_until_serving(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` (full names) are SERVING, each within `timeout_s`.

        Raises:
            DeadlineExceeded: naming the service and its last status.
        """
        for service in services:
            wait(self._channel(service), service, self._endpoints.describe(service), timeout_s)

    def wait_until_answering(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` answer, SERVING or not: from then on they can be given a release.

        Raises:
            DeadlineExceeded: naming the service.
        """
        for service in services:
            wait(self._channel(service), service, self._endpoints.describe(service), timeout_s, serving=False)

    def recommend(self, user_id: str, k: int = 10, *, include_seen: bool = False, timeout_s: float | None = None) -> Recommendations:
        """The best `k` products for one user; those that the user has reviewed only if `include_seen`. Unknown users get a cold answer."""
        return self._send(calls.recommend(user_id, k, include_seen), timeout_s)

    def batch_recommend(
        self, user_ids: Sequence[str], k: int = 10, *, include_seen: bool = False, timeout_s: float | None = None
    ) -> BatchRecommendations:
        """The best `k` products for each of 1 to 1,024 users, in the order asked, in columns."""
        return self._send(calls.batch_recommend(user_ids, k, include_seen), timeout_s)

    def predict_ratings(self, user_id: str, product_ids: Sequence[str], *, timeout_s: float | None = None) -> Recommendations:
        """Scores and predicted ratings of 1 to 1,024 given products, in the order asked."""
        return self._send(calls.predict_ratings(user_id, product_ids), timeout_s)

    def get_product(self, product_id: str, *, timeout_s: float | None = None) -> ProductDetails:
        """One product; NotFound if the release does not have it."""
        return self._send(calls.get_product(product_id), timeout_s)

    def list_products(self, page_size: int = 100, page_token: str = "", *, timeout_s: float | None = None) -> ProductPage:
        """A page of 1 to 1,000 products, in catalogue order."""
        return self._send(calls.list_products(page_size, page_token), timeout_s)

    def products(self) -> Iterator[Product]:
        """The whole catalogue, fetched page by page as it is read."""
        token = ""
        while True:
            page = self.list_products(_PAGE_SIZE, token)
            yield from page.products
            if not (token := page.next_page_token):
                return

    def record_review(
        self,
        user_id: str,
        product_id: str,
        rating: float,
        *,
        title: str = "",
        text: str = "",
        review_id: str | None = None,
        review_time: datetime | None = None,
        timeout_s: float | None = None,
    ) -> RecordedReview:
        """Add one review; it counts once however often it is sent under one `review_id` (see :func:`clients.calls.record_review`)."""
        call = calls.record_review(user_id, product_id, rating, title=title, text=text, review_id=review_id, review_time=review_time)
        return self._send(call, timeout_s)

    def get_user_features(self, user_id: str, *, timeout_s: float | None = None) -> UserFeatures:
        """One user's features; those of a cold user if unknown."""
        return self._send(calls.get_user_features(user_id), timeout_s)

    def encode_texts(self, texts: Sequence[str], *, timeout_s: float | None = None) -> TextEmbeddings:
        """Embed 1 to 256 texts with the active release's encoder."""
        return self._send(calls.encode_texts(texts), timeout_s)

    def list_releases(self, *, timeout_s: float | None = None) -> tuple[ReleaseInfo, ...]:
        """The releases in the ranking server's folder, newest first."""
        return self._send(calls.list_releases(), timeout_s)

    def load_release(self, release_id: str, *, timeout_s: float | None = None) -> ReleaseInfo:
        """Verify a release, warm it up and make it answer; PreconditionFailed, and the one before stays, if anything is wrong with it."""
        return self._send(calls.load_release(release_id), timeout_s)

    def _channel(self, service: str) -> grpc.Channel:
        return self._embedding if service == EMBEDDING_SERVICE else self._ranking

    def _send(self, call: Call[T], timeout_s: float | None) -> T:
        timeout = _timeout_s(call.method, timeout_s, self._deadlines)
        try:
            response = self._stubs[call.method](call.request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._endpoints.describe(call.method.service)) from error
        return call.decode(response)


class AsyncTwotowerClient:
    """The asyncio client: the same calls as :class:`TwotowerClient`, which describes them. Make it inside a running event loop.

    Args:
        ranking: ``host:port`` of the ranking service.
        embedding: ``host:port`` of the embedding service.
        tls: PEM files; plaintext if None.
        deadlines: of calls that name none.
    """

    def __init__(
        self,
        ranking: str = DEFAULT_RANKING,
        embedding: str = DEFAULT_EMBEDDING,
        *,
        tls: ChannelTls | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        endpoints = Endpoints(ranking, embedding, tls)
        self._endpoints = endpoints
        self._deadlines = deadlines or Deadlines()
        self._ranking = open_async_channel(endpoints.ranking, endpoints.tls, CHANNEL_OPTIONS)
        self._embedding = open_async_channel(endpoints.embedding, endpoints.tls, CHANNEL_OPTIONS)
        self._stubs = {
            method: self._channel(method.service).unary_unary(method.path, _serialize, method.response.FromString) for method in METHODS
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        await self._ranking.close()
        await self._embedding.close()

    async def wait_until_serving(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` (full names) are SERVING, each within `timeout_s`."""
        for service in services:
            await wait_async(self._channel(service), service, self._endpoints.describe(service), timeout_s)

    async def wait_until_answering(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` answer, SERVING or not."""
        for service in services:
            await wait_async(self._channel(service), service, self._endpoints.describe(service), timeout_s, serving=False)

    async def recommend(self, user_id: str, k: int = 10, *, include_seen: bool = False, timeout_s: float | None = None) -> Recommendations:
        """The best `k` products for one user."""
        return await self._send(calls.recommend(user_id, k, include_seen), timeout_s)

    async def batch_recommend(
        self, user_ids: Sequence[str], k: int = 10, *, include_seen: bool = False, timeout_s: float | None = None
    ) -> BatchRecommendations:
        """The best `k` products for each of many users."""
        return await self._send(calls.batch_recommend(user_ids, k, include_seen), timeout_s)

    async def predict_ratings(self, user_id: str, product_ids: Sequence[str], *, timeout_s: float | None = None) -> Recommendations:
        """Scores and predicted ratings of given products."""
        return await self._send(calls.predict_ratings(user_id, product_ids), timeout_s)

    async def get_product(self, product_id: str, *, timeout_s: float | None = None) -> ProductDetails:
        """One product."""
        return await self._send(calls.get_product(product_id), timeout_s)

    async def list_products(self, page_size: int = 100, page_token: str = "", *, timeout_s: float | None = None) -> ProductPage:
        """A page of the catalogue."""
        return await self._send(calls.list_products(page_size, page_token), timeout_s)

    async def products(self) -> AsyncIterator[Product]:
        """The whole catalogue, fetched page by page as it is read."""
        token = ""
        while True:
            page = await self.list_products(_PAGE_SIZE, token)
            for product in page.products:
                yield product
            if not (token := page.next_page_token):
                return

    async def record_review(
        self,
        user_id: str,
        product_id: str,
        rating: float,
        *,
        title: str = "",
        text: str = "",
        review_id: str | None = None,
        review_time: datetime | None = None,
        timeout_s: float | None = None,
    ) -> RecordedReview:
        """Add one review."""
        call = calls.record_review(user_id, product_id, rating, title=title, text=text, review_id=review_id, review_time=review_time)
        return await self._send(call, timeout_s)

    async def get_user_features(self, user_id: str, *, timeout_s: float | None = None) -> UserFeatures:
        """One user's features."""
        return await self._send(calls.get_user_features(user_id), timeout_s)

    async def encode_texts(self, texts: Sequence[str], *, timeout_s: float | None = None) -> TextEmbeddings:
        """Embed texts."""
        return await self._send(calls.encode_texts(texts), timeout_s)

    async def list_releases(self, *, timeout_s: float | None = None) -> tuple[ReleaseInfo, ...]:
        """The releases, newest first."""
        return await self._send(calls.list_releases(), timeout_s)

    async def load_release(self, release_id: str, *, timeout_s: float | None = None) -> ReleaseInfo:
        """Verify a release, warm it up and make it answer."""
        return await self._send(calls.load_release(release_id), timeout_s)

    def _channel(self, service: str) -> grpc.aio.Channel:
        return self._embedding if service == EMBEDDING_SERVICE else self._ranking

    async def _send(self, call: Call[T], timeout_s: float | None) -> T:
        timeout = _timeout_s(call.method, timeout_s, self._deadlines)
        try:
            response = await self._stubs[call.method](call.request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._endpoints.describe(call.method.service)) from error
        return call.decode(response)


def _timeout_s(method: Method, asked: float | None, deadlines: Deadlines) -> float:
    return deadlines.of(method.pace) if asked is None else asked


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
