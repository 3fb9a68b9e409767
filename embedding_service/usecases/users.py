"""The use cases of users: their features, their reviews, and forgetting them."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from embedding_service.ports import (
    AlsOrigin,
    Change,
    FoldedIn,
    KeptReview,
    KeptUser,
    NewReview,
    Outcome,
    Space,
    StoredUsers,
    UserStore,
    content_digest,
)
from embedding_service.releases.spaces import LoadedRelease, Spaces
from twotower.encoder import Encoded
from twotower.errors import FieldViolation, InvalidArgument, InvalidFile, StoreUnavailable
from twotower.features import (
    BERT_DIM,
    MAX_REVIEWS_PER_USER,
    Float32,
    Int16,
    Int32,
    Int64,
    is_anonymous,
    review_text,
    running_mean,
)
from twotower.suppressions import suppress

_NO_EMBEDDING = np.zeros(BERT_DIM, np.int16)
_MEANS_AT_ONCE: Final = 64


@dataclass(frozen=True)
class WrittenReview:
    """A review as its author sent it; `time_ns` is since 1970, None if it was not given."""

    review_id: str
    user_id: str
    product_id: str
    rating: float
    title: str
    text: str
    time_ns: int | None


@dataclass(frozen=True)
class Recorded:
    """What became of a review."""

    outcome: Outcome
    review_count: int
    text_truncated: bool
    product_known: bool
    release_id: str


@dataclass(frozen=True)
class Features:
    """Features of many users, in columns.

    Attributes:
        release: whose factors and global mean were used.
        user_ids: in the order of the request.
        anonymous: (users,) bool.
        counts: (users,) reviews.
        bert_mean: (users, 384) float32.
        als: (users, 64) float32.
        als_origins: (users,) :class:`AlsOrigin`, never MISSING.
        ages_us: (users,) µs since the last change; -1 for a user without state.
        seen_product_ids: for each user, the products reviewed, sorted, each once.
    """

    release: LoadedRelease
    user_ids: Sequence[str]
    anonymous: Sequence[bool]
    counts: Int64
    bert_mean: Float32
    als: Float32
    als_origins: NDArray[np.uint8]
    ages_us: Int64
    seen_product_ids: Sequence[Sequence[str]]


class Users:
    """Reads and writes users' state.

    Args:
        store: users' state.
        spaces: loaded releases.
        clock: seconds since 1970.
        suppressions: the list to which deleted users are added; none if None.
    """

    def __init__(
        self,
        store: UserStore,
        spaces: Spaces,
        clock: Callable[[], float] = time.time,
        suppressions: Path | None = None,
    ) -> None:
        self._suppressions = suppressions
        self._store = store
        self._spaces = spaces
        self._clock = clock

    async def features(self, user_ids: Sequence[str], space: Space | None = None) -> Features:
        """Features of users, in the order of `user_ids`; in the active release's space if `space` is None.

        Raises:
            NotReady, SpaceMismatch, StoreUnavailable.
        """
        release = self._spaces.find(space)
        distinct = user_ids if len(set(user_ids)) == len(user_ids) else list(dict.fromkeys(user_ids))
        stored = await self._store.read(release.space, distinct)
        anonymous = [is_anonymous(user_id, release.anonymous) for user_id in distinct]
        if True in anonymous:  # also one whose name was an ordinary one in an earlier release
            _forget(stored, np.flatnonzero(anonymous).tolist())
        all_fresh = stored.als_origins.all()  # the usual case; a user without state has no fresh vector either
        if not all_fresh:
            missing = np.flatnonzero((stored.als_origins == AlsOrigin.MISSING) & (stored.counts > 0)).tolist()
            await self._fold_in_missing(release, distinct, stored, missing)
        means = _means(stored.sums, stored.counts if all_fresh else np.maximum(stored.counts, 1))
        ages_us = np.maximum(round(self._clock() * 1e6) - stored.changed_us, 0)
        if not all_fresh:
            cold = stored.counts == 0
            means[cold], ages_us[cold] = release.global_mean, -1
            stored.als[cold], stored.als_origins[cold] = 0, AlsOrigin.NONE
        features = Features(
            release=release,
            user_ids=distinct,
            anonymous=anonymous,
            counts=stored.counts,
            bert_mean=means,
            als=stored.als,
            als_origins=stored.als_origins,
            ages_us=ages_us,
            seen_product_ids=stored.seen_product_ids,
        )
        return features if distinct is user_ids else _repeated(features, user_ids)

    async def record(
        self, reviews: Sequence[WrittenReview], *, field: str = "reviews[{}]", caller: str = ""
    ) -> list[Recorded]:
        """Add reviews in order; each is atomic by itself, and sent again counts once.

        Args:
            reviews: to add.
            field: the request's field of a review, with a place for its number.
            caller: whose share of the encoder's queue is taken.

        Raises:
            NotReady, StoreUnavailable.
            Overloaded: the encoder's queue is full.
            InvalidArgument: a user has as many reviews as can be summed exactly.
        """
        release = self._spaces.active
        anonymous = [i for i, review in enumerate(reviews) if is_anonymous(review.user_id, release.anonymous)]
        named = sorted(set(range(len(reviews))) - set(anonymous))
        results = [
            Recorded(Outcome.ANONYMOUS, 0, False, review.product_id in release.product_rows, release.release_id)
            for review in reviews
        ]
        queue = self._spaces.queue
        # Products that no release knows are not counted under a name that anybody may use.
        counted = [reviews[i] for i in anonymous if reviews[i].product_id in release.catalogue_rows]
        if counted:
            never_embedded = [_new_review(review, _NO_EMBEDDING) for review in counted]
            await self._store.record_anonymous(release.space.encoder_id, never_embedded)
        if not named:
            return results
        written = [reviews[i] for i in named]
        encoded = await queue.encode([review_text(review.title, review.text) for review in written], caller)
        new = [_new_review(review, vector) for review, vector in zip(written, encoded.fixed_point, strict=True)]
        changes = await self._store.record(queue.encoder_id, new)
        await self._fold_in_changes(release, dict(zip([review.user_id for review in written], changes, strict=True)))
        if self._spaces.queue is not queue:
            # The encoder was switched meanwhile: what went to the old space is needed in the new one too.
            return await self.record(reviews, field=field, caller=caller)
        for i, change, truncated in zip(named, changes, encoded.truncated, strict=True):
            if change.outcome is Outcome.FULL:
                violation = f"has {MAX_REVIEWS_PER_USER} reviews, the most that can be summed exactly"
                raise InvalidArgument([FieldViolation(f"{field.format(i)}.user_id", violation)])
            known = reviews[i].product_id in release.product_rows
            results[i] = Recorded(change.outcome, change.review_count, truncated, known, release.release_id)
        return results

    async def retract(self, user_id: str, review_id: str) -> tuple[bool, int, str]:
        """Take one review back.

        A review under an anonymous name leaves live popularity, as long as its id is remembered.

        Returns:
            Whether it was there, the number of reviews left, and the active release's id.
        """
        release = self._spaces.active
        if is_anonymous(user_id, release.anonymous):
            return (
                await self._store.retract_anonymous(release.space.encoder_id, user_id, review_id),
                0,
                release.release_id,
            )
        change = await self._store.retract(release.space, user_id, review_id)
        if change is None:
            [count] = (await self._store.read(release.space, [user_id])).counts.tolist()
            return False, count, release.release_id
        await self._fold_in_changes(release, {user_id: change})
        return True, change.review_count, release.release_id

    async def delete(self, user_id: str) -> bool:
        """Forget a user in every space, and for later trainings; False if there was nothing.

        Raises:
            StoreUnavailable: the store does not answer, or the user is deleted and the list can't be written.
        """
        was_known = await self._store.delete(user_id)
        if self._suppressions is not None:
            try:
                await asyncio.to_thread(suppress, self._suppressions, user_id, int(self._clock() * 1e6))
            except (OSError, InvalidFile) as error:
                raise StoreUnavailable(
                    f"the user is deleted here, but not on the suppression list, which trainings read: {error}; "
                    "mend it and delete the user again"
                ) from error
        return was_known

    async def export(self, user_id: str) -> KeptUser:
        """All that is kept of a user in every space, reviews aside."""
        return await self._store.kept(user_id)

    async def export_reviews(self, user_id: str, page_token: str, page_size: int) -> tuple[list[KeptReview], str]:
        """A page of a user's reviews, and the token of the next one; empty if there is none."""
        encoder_id, _, review_id = page_token.partition("/")
        reviews = await self._store.kept_reviews(user_id, (encoder_id, review_id), page_size + 1)
        if len(reviews) <= page_size:
            return reviews, ""
        last = reviews[page_size - 1]
        return reviews[:page_size], f"{last.encoder_id}/{last.review_id}"

    async def encode(self, texts: Sequence[str], caller: str = "") -> tuple[Encoded, str]:
        """Embeddings of texts, and the encoder's id."""
        queue = self._spaces.queue
        return await queue.encode(texts, caller), queue.encoder_id

    async def _fold_in_missing(
        self, release: LoadedRelease, user_ids: Sequence[str], stored: StoredUsers, missing: Sequence[int]
    ) -> None:
        """Put fresh ALS vectors into rows that have none or a stale one, and keep them in the store."""
        if not missing:
            return
        missing_ids = [user_ids[row] for row in missing]
        snapshots = await self._store.snapshots(release.space.encoder_id, missing_ids)
        folded = _folded(release, missing_ids, [s.stars for s in snapshots], [s.changed_us for s in snapshots])
        await self._store.keep_als(release.space, folded)
        for row, snapshot, item in zip(missing, snapshots, folded, strict=True):
            # All of the answer comes from the one moment of the snapshot.
            stored.sums[row], stored.counts[row] = snapshot.sums, snapshot.review_count
            stored.changed_us[row], stored.seen_product_ids[row] = snapshot.changed_us, snapshot.seen_product_ids
            stored.als[row], stored.als_origins[row] = item.vector, item.origin

    async def _fold_in_changes(self, release: LoadedRelease, changes: Mapping[str, Change]) -> None:
        changed = {user_id: (change.stars, change.changed_us) for user_id, change in changes.items() if change.stars}
        histories, times_us = [stars for stars, _ in changed.values()], [time_us for _, time_us in changed.values()]
        await self._store.keep_als(release.space, _folded(release, list(changed), histories, times_us))


def _means(sums: Int32, counts: Int64) -> Float32:
    """Running means (users, 384) of some users at a time.

    So the float64 values between stay in the cache, which takes a quarter of the time for 512 users.
    """
    if len(sums) <= _MEANS_AT_ONCE:
        return running_mean(sums, counts)
    means = np.empty(sums.shape, np.float32)
    for start in range(0, len(sums), _MEANS_AT_ONCE):
        rows = slice(start, start + _MEANS_AT_ONCE)
        means[rows] = running_mean(sums[rows], counts[rows])
    return means


def _forget(stored: StoredUsers, rows: Sequence[int]) -> None:
    """Make the users of some rows users without state."""
    stored.counts[rows], stored.als_origins[rows] = 0, AlsOrigin.MISSING
    for row in rows:
        stored.seen_product_ids[row] = []


def _repeated(distinct: Features, user_ids: Sequence[str]) -> Features:
    """Features of distinct users, repeated for a request that names some more than once."""
    row_of = {user_id: row for row, user_id in enumerate(distinct.user_ids)}
    rows = [row_of[user_id] for user_id in user_ids]
    return Features(
        release=distinct.release,
        user_ids=user_ids,
        anonymous=[distinct.anonymous[row] for row in rows],
        counts=distinct.counts[rows],
        bert_mean=distinct.bert_mean[rows],
        als=distinct.als[rows],
        als_origins=distinct.als_origins[rows],
        ages_us=distinct.ages_us[rows],
        seen_product_ids=[distinct.seen_product_ids[row] for row in rows],
    )


def _folded(
    release: LoadedRelease, user_ids: Sequence[str], histories: Sequence[Mapping[str, float]], changed_us: Sequence[int]
) -> list[FoldedIn]:
    rows = zip(user_ids, histories, changed_us, release.fold_in(list(histories)), strict=True)
    return [
        FoldedIn(
            user_id,
            time_us,
            vector,
            AlsOrigin.NONE if release.product_rows.keys().isdisjoint(history) else AlsOrigin.FOLDED_IN,
        )
        for user_id, history, time_us, vector in rows
    ]


def _new_review(review: WrittenReview, fixed_point: Int16) -> NewReview:
    return NewReview(
        user_id=review.user_id,
        review_id=review.review_id,
        product_id=review.product_id,
        rating=review.rating,
        time_us=None if review.time_ns is None else review.time_ns // 1000,
        fixed_point=fixed_point,
        digest=content_digest(review.product_id, review.rating, review.title, review.text, review.time_ns),
    )
