"""Users' state in Redis: one MGET to read, one script a write."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from embedding_service.ports import (
    ActiveRelease,
    AlsOrigin,
    Change,
    FoldedIn,
    ImportedUser,
    NewReview,
    Outcome,
    Space,
    StoredUsers,
    UserSnapshot,
)
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import ACTIVE_KEY, SCHEMA_KEY, SCHEMA_VERSION, UserKeys, keys_to_read
from embedding_service.redis_store.layouts import (
    NO_ALS_VECTOR,
    pack_als,
    pack_als_record,
    pack_als_tail,
    pack_entry,
    pack_outbox_tail,
    pack_stamp,
    pack_sums_and_counts,
    unpack_accumulators,
    unpack_stars,
    unpack_users,
)
from embedding_service.redis_store.outboxes import Outboxes
from embedding_service.redis_store.retired_spaces import RetiredSpaces, known_ids
from twotower.errors import StoreUnavailable
from twotower.features import MAX_REVIEWS_PER_USER

REMEMBER_ANONYMOUS_S: Final = 7 * 86_400
"""How long an anonymous review's id is remembered, so that sending it again counts once: far longer than anyone
retries.
"""


class RedisUserStore:
    """A :class:`~embedding_service.ports.UserStore` in Redis 6.2 or later.

    Args:
        client: of Redis, owned by the store from now on.
        clock: seconds since 1970.
        max_reviews_per_user: a review beyond it is answered FULL.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        clock: Callable[[], float] = time.time,
        max_reviews_per_user: int = MAX_REVIEWS_PER_USER,
    ) -> None:
        self.client = client
        self.outboxes = Outboxes(client)
        self.retired_spaces = RetiredSpaces(client)
        self._clock = clock
        self._max_reviews = max_reviews_per_user
        self._record = Script("record_review")
        self._retract = Script("retract_review")
        self._import = Script("import_user")
        self._delete = Script("delete_user")
        self._record_anonymous = Script("record_anonymous", prelude=False)
        self._retract_anonymous = Script("retract_anonymous", prelude=False)
        self._put_als = Script("put_als", prelude=False)
        self._snapshot = Script("snapshot", prelude=False)

    async def active_release(self) -> ActiveRelease:
        """See the protocol."""
        _, schema, (release_id, previous_id) = await self.client.send(
            [
                ("SET", SCHEMA_KEY, SCHEMA_VERSION, "NX"),
                ("GET", SCHEMA_KEY),
                ("HMGET", ACTIVE_KEY, "release_id", "previous_id"),
            ]
        )
        if schema != str(SCHEMA_VERSION).encode():
            hint = "; run `twotower migrate`" if int(schema) < SCHEMA_VERSION else ""
            raise StoreUnavailable(
                f"the store has schema version {schema.decode()}, this version reads {SCHEMA_VERSION}{hint}"
            )
        return ActiveRelease((release_id or b"").decode(), (previous_id or b"").decode())

    async def activate(self, active: ActiveRelease) -> None:
        """See the protocol."""
        await self.client.one("HSET", ACTIVE_KEY, "release_id", active.release_id, "previous_id", active.previous_id)

    async def register_space(self, space: Space) -> None:
        """See the protocol."""
        await self.retired_spaces.register(space)

    async def retire_spaces(self, kept: Sequence[Space]) -> None:
        """See the protocol."""
        await self.retired_spaces.retire(kept)

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
        return [UserSnapshot(row, count, changed, unpack_stars(seen)) for row, count, changed, (_, seen) in columns]

    async def record(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Change]:
        """See the protocol."""
        now_us = self._now_us()
        calls = []
        for review in reviews:
            keys = UserKeys(review.user_id)
            outbox = self.outboxes.of(keys, encoder_id)
            names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id), outbox, keys.tombstones]
            calls.append(
                ScriptCall(names, [review.review_id, _entry(review, now_us), now_us, self._max_reviews], outbox)
            )
        return [
            Change(
                Outcome(outcome),
                count,
                changed_us,
                unpack_stars(seen) if outcome in (Outcome.RECORDED, Outcome.REPLACED) else None,
            )
            for outcome, count, changed_us, seen in await self._write(self._record, calls)
        ]

    async def record_anonymous(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Outcome]:
        """See the protocol."""
        now_us = self._now_us()
        calls = []
        for review in reviews:
            keys = UserKeys(review.user_id)
            time_us = now_us if review.time_us is None else review.time_us
            outbox = self.outboxes.of(keys, encoder_id)
            calls.append(
                ScriptCall(
                    [keys.anonymous(encoder_id, review.review_id), outbox],
                    [review.digest, pack_outbox_tail(time_us, review.product_id), REMEMBER_ANONYMOUS_S],
                    outbox,
                )
            )
        return [Outcome(outcome) for outcome in await self._write(self._record_anonymous, calls)]

    async def keep_als(self, space: Space, vectors: Sequence[FoldedIn]) -> None:
        """See the protocol."""
        calls = []
        for item in vectors:
            keys = UserKeys(item.user_id)
            record = pack_als_record(item.vector, item.changed_us, item.origin, item.product_ids)
            calls.append(
                ScriptCall(
                    [keys.accumulator(space.encoder_id), keys.als(space.als_id)], [pack_stamp(item.changed_us), record]
                )
            )
        await self.client.evaluate(self._put_als, calls)

    async def retract(self, space: Space, user_id: str, review_id: str) -> Change | None:
        """See the protocol."""
        keys, encoder_id = UserKeys(user_id), space.encoder_id
        names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id), keys.als(space.als_id)]
        outbox = self.outboxes.of(keys, encoder_id)
        call = ScriptCall([*names, outbox, keys.tombstones], [review_id, self._now_us()], outbox)
        [(found, count, changed_us, seen)] = await self._write(self._retract, [call])
        return Change(Outcome.REPLACED, count, changed_us, unpack_stars(seen)) if found else None

    async def retract_anonymous(self, encoder_id: str, user_id: str, review_id: str) -> bool:
        """See the protocol."""
        keys = UserKeys(user_id)
        outbox = self.outboxes.of(keys, encoder_id)
        [found] = await self._write(
            self._retract_anonymous, [ScriptCall([keys.anonymous(encoder_id, review_id), outbox], outbox=outbox)]
        )
        return bool(found)

    async def delete(self, user_id: str) -> bool:
        """See the protocol."""
        encoder_ids, als_ids = await known_ids(self.client)
        keys, now_us = UserKeys(user_id), self._now_us()
        calls = []
        for encoder_id in encoder_ids:
            derived = [keys.accumulator(encoder_id), keys.seen(encoder_id), *map(keys.als, als_ids)]
            outbox = self.outboxes.of(keys, encoder_id)
            calls.append(ScriptCall([keys.log(encoder_id), outbox, keys.tombstones, *derived], [now_us], outbox))
        return any(await self._write(self._delete, calls))

    async def merge(self, space: Space, users: Sequence[ImportedUser]) -> list[str]:
        """See the protocol."""
        if not users:
            return []
        now_us, encoder_id = self._now_us(), space.encoder_id
        calls = []
        sums_and_counts = pack_sums_and_counts([user.sums for user in users], [len(user.reviews) for user in users])
        for user, sums_and_count, als in zip(
            users, sums_and_counts, pack_als([user.als for user in users]), strict=True
        ):
            keys = UserKeys(user.user_id)
            names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id), keys.als(space.als_id)]
            tail = pack_als_tail(AlsOrigin.TRAINED, (review.product_id for review in user.reviews))
            state: list[bytes | str | int] = [
                sums_and_count,
                als if als != NO_ALS_VECTOR else b"",
                tail,
                now_us,
                self._max_reviews,
            ]
            for review in user.reviews:
                state += [review.review_id, _entry(review, 0)]
            outbox = self.outboxes.of(keys, encoder_id)
            calls.append(ScriptCall([*names, outbox, keys.tombstones], state, outbox))
        replies = await self._write(self._import, calls)
        return [user.user_id for user, reply in zip(users, replies, strict=True) if reply < 0]

    async def close(self) -> None:
        """See the protocol."""
        await self.client.close()

    async def _write(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        try:
            return await self.client.evaluate(script, calls, durable=True)
        finally:
            self.outboxes.wake(call.outbox for call in calls)

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _entry(review: NewReview, arrival_us: int) -> bytes:
    given = review.time_us is not None
    time_us = review.time_us if review.time_us is not None else arrival_us
    return pack_entry(
        review.product_id, review.rating, review.fixed_point, time_us, time_given=given, digest=review.digest
    )
