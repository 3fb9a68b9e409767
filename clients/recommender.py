"""The blocking client of the two services.

Example::

    with TwotowerClient() as client:
        answer = client.recommend("Maria", k=5, filter=ProductFilter(brands=["Amazon"]), max_per_brand=2)
        for product in answer.products:
            print(product.name, product.predicted_rating)

Every call takes `timeout_s`, its deadline in seconds with all attempts included; without it that of the client's
:class:`Deadlines` holds. Every call raises the errors of :mod:`clients.errors`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc

from clients import calls
from clients.calls import EMBEDDING_SERVICE, METHODS, SERVICES, BatchOptions, Call, Deadlines, RecommendOptions, Review
from clients.connection import CHANNEL_OPTIONS, DEFAULT_EMBEDDING, DEFAULT_RANKING, Endpoints, serialize
from clients.errors import from_rpc_error
from clients.health import wait
from clients.results import (
    BatchRecommendations,
    DeletedUser,
    EmbeddingSpace,
    Popularity,
    Product,
    ProductDetails,
    ProductPage,
    Recommendations,
    RecordedReview,
    ReleaseInfo,
    ReleaseLabel,
    RetractedReview,
    SimilarProducts,
    TextEmbeddings,
    UpsertedProducts,
    UserFeatures,
)
from twotower.rpc import ChannelTls, open_channel

T = TypeVar("T")


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
            method: self._channel(method.service).unary_unary(method.path, serialize, method.response.FromString)
            for method in METHODS
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def recommend(
        self,
        user_id: str,
        k: int = 10,
        *,
        paginate: bool = False,
        page_token: str = "",
        timeout_s: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> Recommendations:
        """The best `k` products for one user. Unknown users get a cold answer.

        Args:
            user_id: the user.
            k: products wanted; fewer come back if the user has seen the rest or the filter leaves no more.
            paginate: answer with a token for the next page.
            page_token: from the answer before, for the `k` after it; all options must be as they were.
            timeout_s: deadline in seconds.
            options: include_seen, filter, max_per_brand, diversity_strength, max_staleness_s, explain
                (:class:`RecommendOptions`).
        """
        return self._send(calls.recommend(user_id, k, paginate=paginate, page_token=page_token, **options), timeout_s)

    def recommend_pages(
        self, user_id: str, k: int = 10, *, timeout_s: float | None = None, **options: Unpack[RecommendOptions]
    ) -> Iterator[Recommendations]:
        """One ranking `k` products at a time, each page fetched as it is read; pages never overlap. `timeout_s` is of a
        page.
        """
        token = ""
        while True:
            page = self.recommend(user_id, k, paginate=True, page_token=token, timeout_s=timeout_s, **options)
            yield page
            if not (token := page.next_page_token):
                return

    def batch_recommend(
        self, user_ids: Sequence[str], k: int = 10, *, timeout_s: float | None = None, **options: Unpack[BatchOptions]
    ) -> BatchRecommendations:
        """The best `k` products for each of 1 to 1,024 users, in the order asked, in columns; options as
        :class:`BatchOptions`.
        """
        return self._send(calls.batch_recommend(user_ids, k, **options), timeout_s)

    def predict_ratings(
        self,
        user_id: str,
        product_ids: Sequence[str],
        *,
        max_staleness_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Recommendations:
        """Scores and predicted ratings of 1 to 1,024 given products, in the order asked."""
        return self._send(calls.predict_ratings(user_id, product_ids, max_staleness_s=max_staleness_s), timeout_s)

    def similar_products(self, product_id: str, k: int = 10, *, timeout_s: float | None = None) -> SimilarProducts:
        """The `k` products whose towers are nearest to a product's; NotFound if the release does not have it."""
        return self._send(calls.similar_products(product_id, k), timeout_s)

    def get_product(self, product_id: str, *, timeout_s: float | None = None) -> ProductDetails:
        """One product; NotFound if the release does not have it."""
        return self._send(calls.get_product(product_id), timeout_s)

    def list_products(
        self, page_size: int = 100, page_token: str = "", *, timeout_s: float | None = None
    ) -> ProductPage:
        """A page of 1 to 1,000 products, in catalogue order."""
        return self._send(calls.list_products(page_size, page_token), timeout_s)

    def products(self, page_size: int = 1000) -> Iterator[Product]:
        """The whole catalogue, fetched page by page as it is read."""
        token = ""
        while True:
            page = self.list_products(page_size, token)
            yield from page.products
            if not (token := page.next_page_token):
                return

    def upsert_products(self, products: Sequence[Product], *, timeout_s: float | None = None) -> UpsertedProducts:
        """Add 1 to 256 products, which can be recommended at once; one that is there already gets a new tower from its
        new text.
        """
        return self._send(calls.upsert_products(products), timeout_s)

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
        """Add one review; it counts once however often it is sent under one `review_id` (see
        :class:`clients.calls.Review`).
        """
        key = calls.new_review_id() if review_id is None else review_id
        return self._send(
            calls.record_review(Review(user_id, product_id, rating, title, text, key, review_time)), timeout_s
        )

    def batch_record_reviews(
        self, reviews: Sequence[Review], *, timeout_s: float | None = None
    ) -> tuple[RecordedReview, ...]:
        """Add 1 to 256 reviews; each is atomic by itself and answered by itself, in the order sent."""
        return self._send(calls.batch_record_reviews(reviews), timeout_s)

    def retract_review(self, user_id: str, review_id: str, *, timeout_s: float | None = None) -> RetractedReview:
        """Take one review back, exactly."""
        return self._send(calls.retract_review(user_id, review_id), timeout_s)

    def delete_user(self, user_id: str, *, timeout_s: float | None = None) -> DeletedUser:
        """Forget a user: all reviews and features in every space."""
        return self._send(calls.delete_user(user_id), timeout_s)

    def get_user_features(
        self, user_id: str, *, space: EmbeddingSpace | None = None, timeout_s: float | None = None
    ) -> UserFeatures:
        """One user's features, in the active release's spaces if `space` is None; those of a cold user if unknown."""
        return self._send(calls.get_user_features(user_id, space), timeout_s)

    def batch_get_user_features(
        self, user_ids: Sequence[str], *, space: EmbeddingSpace | None = None, timeout_s: float | None = None
    ) -> tuple[UserFeatures, ...]:
        """Features of 1 to 1,024 users, in the order asked."""
        return self._send(calls.batch_get_user_features(user_ids, space), timeout_s)

    def encode_texts(self, texts: Sequence[str], *, timeout_s: float | None = None) -> TextEmbeddings:
        """Embed 1 to 256 texts with the active release's encoder."""
        return self._send(calls.encode_texts(texts), timeout_s)

    def get_popularity(self, als_id: str = "", *, timeout_s: float | None = None) -> Popularity:
        """Time-decayed review counts a product, in the product order of an ALS id; the active release's if ""."""
        return self._send(calls.get_popularity(als_id), timeout_s)

    def list_releases(self, *, timeout_s: float | None = None) -> tuple[ReleaseInfo, ...]:
        """The releases in the ranking server's folder, newest first."""
        return self._send(calls.list_releases(), timeout_s)

    def load_release(self, release_id: str, *, timeout_s: float | None = None) -> ReleaseInfo:
        """Verify a release, warm it up and make it answer; PreconditionFailed, and the one before stays, if anything is
        wrong with it.
        """
        return self._send(calls.load_release(release_id), timeout_s)

    def set_label(
        self, release_id: str, label: ReleaseLabel, *, canary_share: float = 0.0, timeout_s: float | None = None
    ) -> ReleaseInfo:
        """Make a release stable, the canary for a share of the users (above 0, at most 1) or the shadow; UNSPECIFIED
        takes it away.
        """
        return self._send(calls.set_label(release_id, label, canary_share), timeout_s)

    def rollback(self, *, timeout_s: float | None = None) -> ReleaseInfo:
        """Make the previous stable release answer again and take the canary away; NotFound if there was none. Twice is
        there and back.
        """
        return self._send(calls.rollback(), timeout_s)

    def _channel(self, service: str) -> grpc.Channel:
        return self._embedding if service == EMBEDDING_SERVICE else self._ranking

    def _send(self, call: Call[T], timeout_s: float | None) -> T:
        timeout = self._deadlines.of(call.method.pace) if timeout_s is None else timeout_s
        try:
            response = self._stubs[call.method](call.request, timeout=timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._endpoints.describe(call.method.service)) from error
        return call.decode(response)
