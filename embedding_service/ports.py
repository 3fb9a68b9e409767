"""The ports to users' state and popularity: what the use cases need of a store, and the values that cross it."""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from twotower.features import Float32, Int16, Int32, Int64

MAX_PREPARED: Final = 3
"""Prepared releases: a canary, a shadow and one that is being published."""


class AlsOrigin(IntEnum):
    """How a stored ALS vector was obtained. The numbers are stored."""

    MISSING = 0
    TRAINED = 1
    FOLDED_IN = 2
    NONE = 3


class Outcome(IntEnum):
    """What became of a review."""

    RECORDED = 1
    DUPLICATE = 2
    REPLACED = 3
    FULL = 4
    ANONYMOUS = 5


@dataclass(frozen=True)
class Space:
    """The pair of vector spaces that features live in."""

    encoder_id: str
    als_id: str


@dataclass(frozen=True)
class ActiveRelease:
    """Which releases answer.

    Attributes:
        release_id: the active one; "" if there is none.
        previous_id: the one that was active before; "" if there is none.
        prepared_ids: releases whose spaces can be asked for beside those two, the newest first.
    """

    release_id: str = ""
    previous_id: str = ""
    prepared_ids: tuple[str, ...] = ()

    @property
    def held_ids(self) -> tuple[str, ...]:
        """The releases to keep loaded: the active one first, each once."""
        return tuple(dict.fromkeys(filter(None, (self.release_id, self.previous_id, *self.prepared_ids))))

    def with_active(self, release_id: str) -> "ActiveRelease":
        """Return what answers when a release becomes the active one."""
        previous = self.previous_id if self.release_id == release_id else self.release_id
        prepared = tuple(name for name in self.prepared_ids if name not in (release_id, previous))
        return ActiveRelease(release_id, previous, prepared)

    def with_prepared(self, release_id: str) -> "ActiveRelease":
        """Return what answers when a release is prepared too; the oldest of those prepared goes if they are many."""
        if release_id in (self.release_id, self.previous_id):
            return self
        others = (name for name in self.prepared_ids if name != release_id)
        return replace(self, prepared_ids=(release_id, *others)[:MAX_PREPARED])


@dataclass(frozen=True)
class NewReview:
    """A review to add.

    Attributes:
        user_id: author.
        review_id: idempotency key, unique per user.
        product_id: product reviewed.
        rating: stars.
        time_us: when it was written, µs since 1970; None if unknown.
        fixed_point: (384,) int16 embedding.
        digest: 16 bytes that stand for all that the author sent; empty if only the embedding is known.
    """

    user_id: str
    review_id: str
    product_id: str
    rating: float
    time_us: int | None
    fixed_point: Int16
    digest: bytes


@dataclass(frozen=True)
class Change:
    """A user's state after a write.

    Attributes:
        outcome: what was done.
        review_count: reviews that the state now holds.
        changed_us: time of the last change, which is also the state's version: it only ever grows.
        stars: product id → sum of ratings; None if nothing changed, if a later one of the same call has them, or if
            they are too many to be stated at each change.
    """

    outcome: Outcome
    review_count: int
    changed_us: int
    stars: Mapping[str, float] | None


@dataclass(frozen=True)
class StoredUsers:
    """State of many users, in columns.

    Attributes:
        sums: (users, 384) int32.
        counts: (users,) reviews; 0 for a user without state.
        changed_us: (users,) time of the last change, µs since 1970.
        als: (users, 64) float32; of no meaning where the origin is MISSING.
        als_origins: (users,) :class:`AlsOrigin`; MISSING if there is no vector or it was made from an older state.
        seen_product_ids: for each user, the products reviewed, sorted; of very many the newest.
    """

    sums: Int32
    counts: Int64
    changed_us: Int64
    als: Float32
    als_origins: NDArray[Any]
    seen_product_ids: list[list[str]]


@dataclass(frozen=True)
class UserSnapshot:
    """One user's state of one moment.

    Attributes:
        sums: (384,) int32.
        review_count: reviews.
        changed_us: time of the last change.
        stars: product id → sum of ratings.
        seen_product_ids: the products reviewed, sorted; of very many the newest.
    """

    sums: Int32
    review_count: int
    changed_us: int
    stars: Mapping[str, float]
    seen_product_ids: list[str]


@dataclass(frozen=True)
class FoldedIn:
    """An ALS vector, valid as long as the user's state is the one that it was made from.

    Attributes:
        user_id: the user.
        changed_us: version of that state.
        vector: (64,) float32.
        origin: FOLDED_IN, or NONE if no product reviewed has factors.
    """

    user_id: str
    changed_us: int
    vector: Float32
    origin: AlsOrigin


@dataclass(frozen=True)
class HourlyCounts:
    """Reviews by product and hour, in columns, or changes of their numbers, which may be negative.

    Attributes:
        product_ids: product of each row.
        hours: (rows,) int64, hours since 1970.
        counts: (rows,) int64, reviews.
        offsets_s: (rows,) int64, sum of the reviews' times since the beginning of the hour, in seconds.
    """

    product_ids: Sequence[str]
    hours: Int64
    counts: Int64
    offsets_s: Int64

    def rows(self, chosen: NDArray[Any]) -> "HourlyCounts":
        """The rows for which `chosen`, (rows,) bool, is true."""
        if chosen.all():
            return self
        product_ids = [name for name, is_chosen in zip(self.product_ids, chosen.tolist(), strict=True) if is_chosen]
        return HourlyCounts(product_ids, self.hours[chosen], self.counts[chosen], self.offsets_s[chosen])


@dataclass(frozen=True)
class ImportedUser:
    """Reviews of a user, to be merged with what there is.

    Attributes:
        user_id: the user.
        reviews: at least one, of distinct review ids.
        sums: (384,) int32, the sum of their embeddings.
        als: (64,) float32, folded in from exactly these reviews; zeros if that is left to the next look-up.
    """

    user_id: str
    reviews: Sequence[NewReview]
    sums: Int32
    als: Float32


@dataclass(frozen=True)
class KeptState:
    """What is kept of a user in an encoder's space, beside the reviews; `bert_mean` is (384,) float32."""

    encoder_id: str
    review_count: int
    changed_us: int
    bert_mean: Float32
    seen_product_ids: Sequence[str]


@dataclass(frozen=True)
class KeptAls:
    """A user's vector in an ALS space, (64,) float32."""

    als_id: str
    origin: AlsOrigin
    vector: Float32


@dataclass(frozen=True)
class KeptTombstone:
    """A review that was taken back, or with an empty id the user's deletion; `time_us` is since 1970."""

    review_id: str
    time_us: int


@dataclass(frozen=True)
class KeptReview:
    """A review in a user's log; `time_us` is None if it was imported without one, `fixed_point` (384,) int16."""

    encoder_id: str
    review_id: str
    product_id: str
    rating: float
    time_us: int | None
    fixed_point: Int16


@dataclass(frozen=True)
class KeptUser:
    """All that is kept of a user, beside the reviews."""

    states: Sequence[KeptState]
    als: Sequence[KeptAls]
    tombstones: Sequence[KeptTombstone]


class UserStore(Protocol):
    """Users' state.

    Every write is atomic for one user. Every method raises StoreUnavailable within a bounded time if the store is away.
    """

    async def active_release(self) -> ActiveRelease:
        """The releases that answer.

        Also the probe of the store's health: a store of another schema version is unavailable.
        """

    async def activate(self, active: ActiveRelease) -> None:
        """Remember which releases answer."""

    async def register_space(self, space: Space) -> None:
        """Remember that users may have state in this space."""

    async def retire_spaces(self, kept: Sequence[Space]) -> tuple[list[str], list[str]]:
        """Let the state in every other space go: it is dropped in the background when its time is over.

        Until then :meth:`register_space` takes it back.

        Returns:
            Encoder ids and ALS ids that are retired and not dropped yet.
        """

    async def encoder_ids(self) -> frozenset[str]:
        """Encoders of which users have state, those included that are retired and can be taken back."""

    async def imported_users(self, encoder_ids: Sequence[str]) -> int:
        """The most users that the last import into any of these encoders' spaces had; 0 if there was none."""

    async def remember_import(self, encoder_id: str, user_count: int) -> None:
        """Remember how many users were imported into an encoder's space."""

    async def read(self, space: Space, user_ids: Sequence[str]) -> StoredUsers:
        """State of many users in one round trip, in the order of `user_ids`."""

    async def snapshots(self, encoder_id: str, user_ids: Sequence[str]) -> list[UserSnapshot]:
        """State of many users with their rating sums, each of one moment."""

    async def record(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Change]:
        """Add reviews in order, each exactly once per (user, review id) and each atomic by itself."""

    async def keep_als(self, space: Space, vectors: Sequence[FoldedIn]) -> None:
        """Store ALS vectors, if the store takes writes; one whose user has changed since is dropped."""

    async def retract(self, space: Space, user_id: str, review_id: str) -> Change | None:
        """Take one review back, for later imports too; None if it was not there."""

    async def delete(self, user_id: str) -> bool:
        """Forget a user in every space, for later imports too; False if there was nothing."""

    async def merge(self, space: Space, users: Sequence[ImportedUser]) -> list[str]:
        """Merge imported reviews into users' states, each user atomically; the same again changes nothing.

        A review of an id that is there is replaced exactly, others stay. A review that was retracted since is left out,
        until it is recorded again; so is one from before its user was deleted. Both are remembered for 90 days. The ALS
        vector is kept only where the log is then exactly the imported reviews.

        Returns:
            Users that would have had more reviews than can be summed exactly; they are unchanged.
        """

    async def kept(self, user_id: str) -> KeptUser:
        """All that is kept of a user in every space, also in those that are retired; reviews aside."""

    async def kept_reviews(self, user_id: str, after: tuple[str, str], limit: int) -> list[KeptReview]:
        """Up to `limit` of a user's reviews that come after an encoder id and review id, in that order."""

    async def record_anonymous(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Outcome]:
        """Count reviews of anonymous names in live popularity, each once as long as its id is remembered.

        No state is kept.
        """

    async def retract_anonymous(self, encoder_id: str, user_id: str, review_id: str) -> bool:
        """Take an anonymous review out of live popularity; False if it is not remembered."""

    async def close(self) -> None:
        """Close connections."""


class PopularityStore(Protocol):
    """Counts of reviews by product and hour, which follow users' logs."""

    async def settle(self) -> None:
        """Count what this process has written and not counted yet."""

    async def days(self, encoder_id: str) -> tuple[int, list[int]]:
        """Days since 1970 that have counts, and the position in the changes that they are of."""

    async def day(self, encoder_id: str, day: int) -> tuple[int, HourlyCounts]:
        """The counts of a day, and the position in the changes that they are of."""

    async def changes(self, encoder_id: str, position: int) -> HourlyCounts | None:
        """Changes of counts from a position on, in order, a page of them; None if they are no longer remembered."""

    async def prune(self, encoder_id: str, before_day: int) -> None:
        """Forget the counts of earlier days, and count no more of them."""


def content_digest(product_id: str, rating: float, title: str, text: str, time_ns: int | None) -> bytes:
    """16 bytes that differ if anything that the author sent differs; the arrival time is no part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (product_id.encode(), struct.pack("<f", rating), title.encode(), text.encode(), repr(time_ns).encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()
