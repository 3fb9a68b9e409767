"""The asyncio client of the two services."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Self, TypeVar, Unpack

import grpc

from clients import calls, results
from clients.calls import SERVICES, BatchOptions, Call, RecommendOptions, Review
from clients.calls.fields import seconds, texts
from clients.connection import Channels, Connection, main_channel
from clients.health import wait_async
from twotower.rpc import open_async_channel

T = TypeVar("T")
_CLOSING: Final[set[asyncio.Task[None]]] = set()
"""Tasks that close channels; the event loop alone would forget them."""


class AsyncTwotowerClient(Connection[grpc.aio.Channel]):
    """The asyncio client, with the calls of :class:`clients.recommender.TwotowerClient`; make it in a running loop."""

    _open = staticmethod(open_async_channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        for channels in list(self._live):
            await _close(channels)

    async def wait_until_serving(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` (full names) are SERVING, each within `timeout_s`.

        Raises:
            DeadlineExceeded: naming the service and its last status.
        """
        limit_s = seconds(timeout_s, "timeout_s")
        for service in texts(services, "services"):
            await self._wait(service, limit_s, serving=True)

    async def wait_until_answering(self, timeout_s: float = 60.0, services: Sequence[str] = SERVICES) -> None:
        """Return when all `services` answer, SERVING or not: from then on they can be given a release.

        Raises:
            DeadlineExceeded: naming the service.
        """
        limit_s = seconds(timeout_s, "timeout_s")
        for service in texts(services, "services"):
            await self._wait(service, limit_s, serving=False)

    async def recommend(
        self,
        user_id: str,
        k: int = 10,
        *,
        paginate: bool = False,
        page_token: str = "",
        timeout_s: float | None = None,
        **options: Unpack[RecommendOptions],
    ) -> results.Recommendations:
        """Recommend the best `k` products to one user; an unknown user gets a cold-start answer.

        Args:
            user_id: the user.
            k: products wanted; fewer come back if fewer may be recommended.
            paginate: answer with a token for the next page.
            page_token: from the answer before, for the `k` after it; all options but `max_staleness_s` must be as they
                were.
            timeout_s: deadline in seconds.
            options: those of :class:`clients.calls.RecommendOptions`.
        """
        return await self._send(
            calls.recommend(user_id, k, paginate=paginate, page_token=page_token, **options), timeout_s
        )

    async def recommend_pages(
        self, user_id: str, k: int = 10, *, timeout_s: float | None = None, **options: Unpack[RecommendOptions]
    ) -> AsyncIterator[results.Recommendations]:
        """Yield one ranking in pages of `k` products, which never overlap.

        Each page is fetched as it is read, within `timeout_s`.
        """
        token = ""
        while True:
            page = await self.recommend(user_id, k, paginate=True, page_token=token, timeout_s=timeout_s, **options)
            yield page
            if not (token := page.next_page_token):
                return

    async def batch_recommend(
        self, user_ids: Sequence[str], k: int = 10, *, timeout_s: float | None = None, **options: Unpack[BatchOptions]
    ) -> results.BatchRecommendations:
        """Recommend the best `k` products to each of 1 to 1,024 users; the results are columns, in the users' order.

        The options are those of :class:`clients.calls.BatchOptions`.
        """
        return await self._send(calls.batch_recommend(user_ids, k, **options), timeout_s)

    async def predict_ratings(
        self,
        user_id: str,
        product_ids: Sequence[str],
        *,
        max_staleness_s: float | None = None,
        timeout_s: float | None = None,
    ) -> results.Recommendations:
        """Score 1 to 1,024 given products and predict their ratings; the answer is in the order of `product_ids`.

        `max_staleness_s` is that of :class:`clients.calls.BatchOptions`.
        """
        return await self._send(calls.predict_ratings(user_id, product_ids, max_staleness_s=max_staleness_s), timeout_s)

    async def similar_products(
        self, product_id: str, k: int = 10, *, timeout_s: float | None = None
    ) -> results.SimilarProducts:
        """Find the `k` products whose towers are nearest to a product's; NotFound if the release does not have it."""
        return await self._send(calls.similar_products(product_id, k), timeout_s)

    async def get_product(self, product_id: str, *, timeout_s: float | None = None) -> results.ProductDetails:
        """Get one product of the catalogue; NotFound if the release does not have it."""
        return await self._send(calls.get_product(product_id), timeout_s)

    async def list_products(
        self, page_size: int = 100, page_token: str = "", *, timeout_s: float | None = None
    ) -> results.ProductPage:
        """Get a page of 1 to 1,000 products, in catalogue order."""
        return await self._send(calls.list_products(page_size, page_token), timeout_s)

    async def products(self, page_size: int = 1000) -> AsyncIterator[results.Product]:
        """Yield the whole catalogue; a page is fetched when the one before has been read."""
        token = ""
        while True:
            page = await self.list_products(page_size, token)
            for product in page.products:
                yield product
            if not (token := page.next_page_token):
                return

    async def upsert_products(
        self, products: Sequence[results.Product], *, timeout_s: float | None = None
    ) -> results.UpsertedProducts:
        """Add 1 to 256 products, which can be recommended at once; one that the release has gets a new tower."""
        return await self._send(calls.upsert_products(products), timeout_s)

    async def list_added_products(
        self, page_size: int = 100, page_token: str = "", *, timeout_s: float | None = None
    ) -> results.AddedProductPage:
        """Get a page of 1 to 1,000 upserted products, in the order in which they were added."""
        return await self._send(calls.list_added_products(page_size, page_token), timeout_s)

    async def remove_added_products(
        self, product_ids: Sequence[str], *, timeout_s: float | None = None
    ) -> results.RemovedProducts:
        """Take 1 to 256 upserted products back, all or none; NotFound if one was not upserted."""
        return await self._send(calls.remove_added_products(product_ids), timeout_s)

    async def withdraw_products(
        self, product_ids: Sequence[str], *, timeout_s: float | None = None
    ) -> results.WithdrawnProducts:
        """Withdraw 1 to 256 products, which no release recommends until they are restored."""
        return await self._send(calls.withdraw_products(product_ids, restore=False), timeout_s)

    async def restore_products(
        self, product_ids: Sequence[str], *, timeout_s: float | None = None
    ) -> results.WithdrawnProducts:
        """Bring 1 to 256 withdrawn products back."""
        return await self._send(calls.withdraw_products(product_ids, restore=True), timeout_s)

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
    ) -> results.RecordedReview:
        """Record one review; it counts once however often it is sent under one `review_id`.

        The arguments are the fields of :class:`clients.calls.Review`.
        """
        key = calls.new_review_id() if review_id is None else review_id
        return await self._send(
            calls.record_review(Review(user_id, product_id, rating, title, text, key, review_time)), timeout_s
        )

    async def batch_record_reviews(
        self, reviews: Sequence[Review], *, timeout_s: float | None = None
    ) -> tuple[results.RecordedReview, ...]:
        """Record 1 to 256 reviews; each is atomic by itself and answered by itself, in the order sent."""
        return await self._send(calls.batch_record_reviews(reviews), timeout_s)

    async def retract_review(
        self, user_id: str, review_id: str, *, timeout_s: float | None = None
    ) -> results.RetractedReview:
        """Take one review back, exactly."""
        return await self._send(calls.retract_review(user_id, review_id), timeout_s)

    async def delete_user(self, user_id: str, *, timeout_s: float | None = None) -> results.DeletedUser:
        """Forget a user: all reviews, and the features in every space."""
        return await self._send(calls.delete_user(user_id), timeout_s)

    async def export_user(
        self, user_id: str, *, page_token: str = "", timeout_s: float | None = None
    ) -> results.UserPage:
        """All that is kept of a user, a page of up to 1,000 reviews at a time."""
        return await self._send(calls.export_user(user_id, page_token), timeout_s)

    async def get_user_features(
        self, user_id: str, *, space: results.EmbeddingSpace | None = None, timeout_s: float | None = None
    ) -> results.UserFeatures:
        """Get one user's features, in the active release's spaces by default; an unknown user is a cold one."""
        return await self._send(calls.get_user_features(user_id, space), timeout_s)

    async def batch_get_user_features(
        self, user_ids: Sequence[str], *, space: results.EmbeddingSpace | None = None, timeout_s: float | None = None
    ) -> tuple[results.UserFeatures, ...]:
        """Get the features of 1 to 1,024 users, in the order of `user_ids`."""
        return await self._send(calls.batch_get_user_features(user_ids, space), timeout_s)

    async def list_spaces(self, *, timeout_s: float | None = None) -> tuple[results.LoadedSpace, ...]:
        """List the releases whose spaces the embedding service can be asked for, the active one first."""
        return await self._send(calls.list_spaces(), timeout_s)

    async def prepare_space(
        self, release_id: str, space: results.EmbeddingSpace, *, timeout_s: float | None = None
    ) -> results.LoadedSpace:
        """Let a release's space be asked for, beside the active one's.

        Raises:
            PreconditionFailed: users have no embeddings of its encoder: publish the release.
        """
        return await self._send(calls.prepare_space(release_id, space), timeout_s)

    async def activate_release(self, release_id: str, *, timeout_s: float | None = None) -> results.LoadedSpace:
        """Make a release the active one of the embedding service; :meth:`load_release` switches both services."""
        return await self._send(calls.activate_release(release_id), timeout_s)

    async def encode_texts(self, texts: Sequence[str], *, timeout_s: float | None = None) -> results.TextEmbeddings:
        """Embed 1 to 256 texts with the active release's encoder."""
        return await self._send(calls.encode_texts(texts), timeout_s)

    async def get_popularity(self, als_id: str = "", *, timeout_s: float | None = None) -> results.Popularity:
        """Get the time-decayed review count of each product, in the order of the catalogue that has this ALS id.

        It is the active release's catalogue if `als_id` is "".
        """
        return await self._send(calls.get_popularity(als_id), timeout_s)

    async def list_releases(self, *, timeout_s: float | None = None) -> tuple[results.ReleaseInfo, ...]:
        """List the releases in the ranking server's folder, newest first."""
        return await self._send(calls.list_releases(), timeout_s)

    async def prepare_release(self, release_id: str, *, timeout_s: float | None = None) -> results.ReleaseInfo:
        """Verify a release and warm it up without letting it answer; :meth:`load_release` then only switches."""
        return await self._send(calls.prepare_release(release_id), timeout_s)

    async def load_release(self, release_id: str, *, timeout_s: float | None = None) -> results.ReleaseInfo:
        """Verify a release, warm it up and make it answer, in both services.

        Raises:
            PreconditionFailed: something is wrong with it, or the embedding service has no users for it and it must be
                published; the one before goes on answering.
        """
        return await self._send(calls.load_release(release_id), timeout_s)

    async def set_label(
        self, release_id: str, label: results.ReleaseLabel, *, canary_share: float = 0.0, timeout_s: float | None = None
    ) -> results.ReleaseInfo:
        """Make a release the stable one, the canary or the shadow; UNSPECIFIED takes its label away.

        Args:
            release_id: the release.
            label: its new label.
            canary_share: the canary's share of the users, above 0 and at most 1.
            timeout_s: deadline in seconds.
        """
        return await self._send(calls.set_label(release_id, label, canary_share), timeout_s)

    async def rollback(self, *, timeout_s: float | None = None) -> results.ReleaseInfo:
        """Make the previous stable release answer again and take the canary away; twice is there and back.

        Raises:
            NotFound: no release was stable before.
        """
        return await self._send(calls.rollback(), timeout_s)

    async def _send(self, call: Call[T], timeout_s: float | None) -> T:
        deadline_s = self._deadline_s(call, timeout_s)
        channels, metadata = self._borrow(), self._settings.metadata()
        try:
            response = await channels.stubs[type(call.request)](call.request, timeout=deadline_s, metadata=metadata)
        except grpc.RpcError as error:
            raise self._failed(call, error, deadline_s) from error
        finally:
            self._give_back(channels)
        return call.decode(response)

    async def _wait(self, service: str, limit_s: float, *, serving: bool) -> None:
        channels = self._borrow()
        try:
            await wait_async(main_channel(channels, service), service, self._server(service), limit_s, serving=serving)
        finally:
            self._give_back(channels)

    def _close(self, channels: Channels) -> None:
        task = asyncio.get_running_loop().create_task(_close(channels))
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)


async def _close(channels: Channels) -> None:
    for channel in channels.opened.values():
        await channel.close()
