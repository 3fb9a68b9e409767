"""Users' state in Redis: one MGET to read, one script a write."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

from embedding_service.ports import (
    ActiveRelease,
    AlsOrigin,
    Change,
    FoldedIn,
    ImportedUser,
    KeptReview,
    KeptUser,
    NewReview,
    Outcome,
    Space,
    StoredUsers,
    UserSnapshot,
)
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import (
    ACTIVE_KEY,
    IMPORTED_USERS_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    UserKeys,
    keys_to_read,
)
from embedding_service.redis_store.layouts import (
    NO_ALS_VECTOR,
    pack_als,
    pack_als_record,
    pack_entry,
    pack_origin,
    pack_outbox_tail,
    pack_stamp,
    pack_sums_and_counts,
    unpack_accumulators,
    unpack_products,
    unpack_stars,
    unpack_users,
)
from embedding_service.redis_store.outboxes import Outboxes
from embedding_service.redis_store.retired_spaces import RetiredSpaces, known_ids
from embedding_service.redis_store.user_export import read_reviews, read_user
from twotower.errors import StoreUnavailable
from twotower.features import MAX_REVIEWS_PER_USER
from twotower.scoring import US_PER_DAY

_LOG = logging.getLogger(__name__)
MOST_STATED: Final = 2000
"""A user who has reviewed more products is folded in at the next look-up, not at each change."""
ANONYMOUS_PER_PRODUCT_AND_DAY: Final = 20
REMEMBER_ANONYMOUS_S: Final = 7 * 86_400
"""How long an anonymous review's id is remembered, so that sending it again counts once: far longer than anyone
retries.
"""


class RedisUserStore:
    """A :class:`~embedding_service.ports.UserStore` in Redis 7 or later, or Valkey.

    Args:
        client: of Redis, owned by the store from now on.
        clock: seconds since 1970.
        max_reviews_per_user: a review beyond it is answered FULL.
        anonymous_per_product_and_day: reviews of a product on one day under an anonymous name that live popularity
            counts, at most.
        refusal: why the store must not be used now; empty if it may.
        keep_logs_s, keep_als_s: how long what users have in a retired space stays, see :class:`RetiredSpaces`.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        clock: Callable[[], float] = time.time,
        max_reviews_per_user: int = MAX_REVIEWS_PER_USER,
        anonymous_per_product_and_day: int = ANONYMOUS_PER_PRODUCT_AND_DAY,
        refusal: Callable[[], str] = str,
        keep_logs_s: float = 0.0,
        keep_als_s: float = 0.0,
    ) -> None:
        self.client = client
        self.outboxes = Outboxes(client)
        self.retired_spaces = RetiredSpaces(client, keep_logs_s=keep_logs_s, keep_als_s=keep_als_s, clock=clock)
        self._refusal = refusal
        self._had_release = ""
        self._is_lost = False
        self._clock = clock
        self._max_reviews = max_reviews_per_user
        self._anonymous_limit = anonymous_per_product_and_day
        self._record = Script("record_review")
        self._retract = Script("retract_review", effect="frees")
        self._import = Script("import_user")
        self._delete = Script("delete_user", effect="frees")
        self._record_anonymous = Script("record_anonymous")
        self._retract_anonymous = Script("retract_anonymous", effect="frees")
        self._put_als = Script("put_als", prelude=False)
        self._snapshot = Script("snapshot", prelude=False, effect="none")

    async def active_release(self) -> ActiveRelease:
        """See the protocol."""
        if refusal := self._refusal():
            raise StoreUnavailable(refusal)
        # Nothing is written: a Redis that takes no writes answers too.
        schema, (release_id, previous_id, prepared_ids) = await self.client.send(
            [("GET", SCHEMA_KEY), ("HMGET", ACTIVE_KEY, "release_id", "previous_id", "prepared_ids")]
        )
        self._notice_loss(schema, (release_id or b"").decode())
        if schema is not None and schema != str(SCHEMA_VERSION).encode():
            hint = "; run `twotower migrate`" if int(schema) < SCHEMA_VERSION else ""
            raise StoreUnavailable(
                f"the store has schema version {schema.decode()}, this version reads {SCHEMA_VERSION}{hint}"
            )
        prepared = tuple((prepared_ids or b"").decode().split("\n")) if prepared_ids else ()
        return ActiveRelease((release_id or b"").decode(), (previous_id or b"").decode(), prepared)

    def _notice_loss(self, schema: bytes | None, release_id: str) -> None:
        """Refuse a store that had a release and has become empty, until it has one again.

        Raises:
            StoreUnavailable.
        """
        if release_id or schema is not None:
            self._had_release = release_id or self._had_release
            self._is_lost = False
        elif self._had_release:
            loss = (
                f"Redis has become empty: release {self._had_release} was active, and now there is no key of it. It "
                "was flushed, is another database, or failed over to an empty replica; bring its data back, or publish "
                f"again with `twotower publish {self._had_release}`"
            )
            if not self._is_lost:
                _LOG.error("%s", loss)
            self._is_lost = True
            raise StoreUnavailable(loss)

    async def activate(self, active: ActiveRelease) -> None:
        """See the protocol."""
        ids = {**asdict(active), "prepared_ids": "\n".join(active.prepared_ids)}
        await self.client.send(
            [
                ("SET", SCHEMA_KEY, SCHEMA_VERSION, "NX"),
                ("HSET", ACTIVE_KEY, *(text for pair in ids.items() for text in pair)),
            ]
        )

    async def register_space(self, space: Space) -> None:
        """See the protocol."""
        await self.client.one("SET", SCHEMA_KEY, SCHEMA_VERSION, "NX")
        await self.retired_spaces.register(space)

    async def retire_spaces(self, kept: Sequence[Space]) -> tuple[list[str], list[str]]:
        """See the protocol."""
        return await self.retired_spaces.retire(kept)

    async def encoder_ids(self) -> frozenset[str]:
        """See the protocol."""
        return await self.retired_spaces.encoder_ids()

    async def imported_users(self, encoder_ids: Sequence[str]) -> int:
        """See the protocol."""
        counts = await self.client.one("HMGET", IMPORTED_USERS_KEY, *encoder_ids)
        return max(int(count or 0) for count in counts)

    async def remember_import(self, encoder_id: str, user_count: int) -> None:
        """See the protocol."""
        await self.client.one("HSET", IMPORTED_USERS_KEY, encoder_id, user_count)

    async def read(self, space: Space, user_ids: Sequence[str]) -> StoredUsers:
        """See the protocol."""
        keys = keys_to_read(space.encoder_id, space.als_id, user_ids)
        if self.client.is_cluster:
            values = [
                value
                for pair in await self.client.send([("MGET", *keys[i : i + 2]) for i in range(0, len(keys), 2)])
                for value in pair
            ]
        else:
            values = await self.client.one("MGET", *keys)
        return unpack_users(values[::2], values[1::2])

    async def snapshots(self, encoder_id: str, user_ids: Sequence[str]) -> list[UserSnapshot]:
        """See the protocol."""
        calls = [ScriptCall([keys.accumulator(encoder_id), keys.seen(encoder_id)]) for keys in map(UserKeys, user_ids)]
        replies = await self.client.evaluate(self._snapshot, calls)
        sums, counts, changed_us = unpack_accumulators([accumulator for accumulator, _ in replies])
        columns = zip(sums, counts.tolist(), changed_us.tolist(), replies, strict=True)
        return [
            UserSnapshot(row, count, changed, unpack_stars(seen), unpack_products(accumulator or b""))
            for row, count, changed, (accumulator, seen) in columns
        ]

    async def record(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Change]:
        """See the protocol."""
        now_us = self._now_us()
        last = {review.user_id: i for i, review in enumerate(reviews)}
        calls = []
        for i, review in enumerate(reviews):
            most_stated = MOST_STATED if last[review.user_id] == i else 0
            keys = self._review_keys(UserKeys(review.user_id), encoder_id)
            entry = _entry(review, now_us)
            calls.append(ScriptCall(keys, [review.review_id, entry, now_us, self._max_reviews, most_stated]))
        return [
            Change(Outcome(outcome), count, changed_us, unpack_stars(seen) or None)
            for outcome, count, changed_us, seen in await self.outboxes.evaluate(self._record, calls)
        ]

    async def record_anonymous(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Outcome]:
        """See the protocol."""
        now_us = self._now_us()
        calls = []
        for review in reviews:
            time_us = now_us if review.time_us is None else review.time_us
            counted = pack_outbox_tail(time_us, review.product_id)
            # Nobody answers for times far in the future, which would be kept until they come.
            limit = self._anonymous_limit if time_us < now_us + US_PER_DAY else 0
            keys = self._anonymous_keys(encoder_id, review.user_id, review.review_id)
            calls.append(ScriptCall(keys, [review.digest, counted, REMEMBER_ANONYMOUS_S, limit]))
        return [Outcome(outcome) for outcome in await self.outboxes.evaluate(self._record_anonymous, calls)]

    async def keep_als(self, space: Space, vectors: Sequence[FoldedIn]) -> None:
        """See the protocol."""
        calls = []
        for item in vectors:
            keys = UserKeys(item.user_id)
            record = pack_als_record(item.vector, item.changed_us, item.origin)
            names = [keys.accumulator(space.encoder_id), keys.als(space.als_id)]
            calls.append(ScriptCall(names, [pack_stamp(item.changed_us), record]))
        try:
            await self.client.evaluate(self._put_als, calls)
        except StoreUnavailable as error:
            # A Redis that takes no writes still answers look-ups; what is not kept is folded in again.
            _LOG.debug("ALS vectors of %d users are not kept: %s", len(vectors), error)

    async def retract(self, space: Space, user_id: str, review_id: str) -> Change | None:
        """See the protocol."""
        keys = UserKeys(user_id)
        names = [*self._review_keys(keys, space.encoder_id), keys.als(space.als_id)]
        [(was_there, count, changed_us, seen)] = await self.outboxes.evaluate(
            self._retract, [ScriptCall(names, [review_id, self._now_us(), MOST_STATED])]
        )
        return Change(Outcome.REPLACED, count, changed_us, unpack_stars(seen) or None) if was_there else None

    async def retract_anonymous(self, encoder_id: str, user_id: str, review_id: str) -> bool:
        """See the protocol."""
        call = ScriptCall(self._anonymous_keys(encoder_id, user_id, review_id))
        [was_there] = await self.outboxes.evaluate(self._retract_anonymous, [call])
        return bool(was_there)

    async def delete(self, user_id: str) -> bool:
        """See the protocol."""
        encoder_ids, als_ids = await known_ids(self.client)
        keys, now_us = UserKeys(user_id), self._now_us()
        calls = []
        for encoder_id in encoder_ids:
            derived = [keys.accumulator(encoder_id), keys.seen(encoder_id), *map(keys.als, als_ids)]
            outbox = keys.outbox(encoder_id, is_cluster=self.client.is_cluster)
            calls.append(ScriptCall([keys.log(encoder_id), outbox, keys.tombstones, *derived], [now_us]))
        return any(await self.outboxes.evaluate(self._delete, calls))

    async def kept(self, user_id: str) -> KeptUser:
        """See the protocol."""
        return await read_user(self.client, user_id)

    async def kept_reviews(self, user_id: str, after: tuple[str, str], limit: int) -> list[KeptReview]:
        """See the protocol."""
        return await read_reviews(self.client, user_id, after, limit)

    async def merge(self, space: Space, users: Sequence[ImportedUser]) -> list[str]:
        """See the protocol."""
        if not users:
            return []
        now_us = self._now_us()
        calls = []
        sums_and_counts = pack_sums_and_counts([user.sums for user in users], [len(user.reviews) for user in users])
        vectors = pack_als([user.als for user in users])
        for user, sums_and_count, vector in zip(users, sums_and_counts, vectors, strict=True):
            keys = UserKeys(user.user_id)
            arguments: list[bytes | str | int] = [
                sums_and_count,
                vector if vector != NO_ALS_VECTOR else b"",
                pack_origin(AlsOrigin.TRAINED),
                now_us,
                self._max_reviews,
            ]
            for review in user.reviews:
                arguments += [review.review_id, _entry(review, 0)]
            names = [*self._review_keys(keys, space.encoder_id), keys.als(space.als_id)]
            calls.append(ScriptCall(names, arguments))
        replies = await self.outboxes.evaluate(self._import, calls)
        return [user.user_id for user, reply in zip(users, replies, strict=True) if reply < 0]

    async def close(self) -> None:
        """See the protocol."""
        await self.client.close()

    def _review_keys(self, keys: UserKeys, encoder_id: str) -> list[str]:
        """The first keys of every script that changes reviews of a named user."""
        outbox = keys.outbox(encoder_id, is_cluster=self.client.is_cluster)
        return [keys.accumulator(encoder_id), outbox, keys.log(encoder_id), keys.seen(encoder_id), keys.tombstones]

    def _anonymous_keys(self, encoder_id: str, user_id: str, review_id: str) -> list[str]:
        keys = UserKeys(user_id)
        outbox = keys.outbox(encoder_id, is_cluster=self.client.is_cluster)
        return [keys.anonymous(encoder_id, review_id), outbox, keys.anonymous_counts(encoder_id)]

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _entry(review: NewReview, arrival_us: int) -> bytes:
    given = review.time_us is not None
    time_us = review.time_us if review.time_us is not None else arrival_us
    return pack_entry(
        review.product_id, review.rating, review.fixed_point, time_us, time_given=given, digest=review.digest
    )
