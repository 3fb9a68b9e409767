"""Users' state in Redis: pipelines to read, one script a write."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from embedding_service.records import (
    ACTIVE_KEY,
    ALS_IDS_KEY,
    ENCODER_IDS_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    UserKeys,
    pack_als,
    pack_als_record,
    pack_entry,
    pack_stamp,
    pack_sums_and_count,
    unpack_accumulators,
    unpack_stars,
    unpack_users,
)
from embedding_service.store import (
    ActiveRelease,
    Change,
    FoldedIn,
    NewReview,
    Outcome,
    Snapshot,
    Space,
    StoredUsers,
    WholeUser,
)
from twotower.errors import StoreUnavailable
from twotower.features import MAX_REVIEWS_PER_USER

_RETRIES: Final = 2


def connect(url: str, *, timeout_s: float, connections: int, tls: Mapping[str, str] | None = None) -> Redis:
    """A client of a pool of bounded size that fails within a bounded time.

    A connection that was lost is opened again at once and the command sent again: every write is idempotent. A command that timed out is
    not, so that a caller never waits longer than `timeout_s` for a Redis that hangs.
    """
    retry = Retry(EqualJitterBackoff(cap=0.1, base=0.02), _RETRIES, supported_errors=(RedisConnectionError,))
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=retry,
        # Replies of the form that every Redis since 2.6 gives.
        protocol=2,
        **(tls or {}),
    )
    return Redis(connection_pool=pool)


@dataclass
class _Script:
    """A Lua script of this package, with the shared part in front where it writes state."""

    name: str
    shared: bool = True
    source: str = field(init=False)
    sha: str = ""

    def __post_init__(self) -> None:
        folder = resources.files("embedding_service") / "lua"
        parts = (["state.lua"] if self.shared else []) + [f"{self.name}.lua"]
        self.source = "\n".join((folder / part).read_text(encoding="utf-8") for part in parts)


@dataclass(frozen=True)
class _Call:
    keys: Sequence[str]
    arguments: Sequence[bytes | str | int]


class RedisStore:
    """A :class:`~embedding_service.store.UserStore` in Redis 6.2 or later.

    Args:
        redis: client, owned by the store from now on.
        clock: seconds since 1970.
        max_reviews_per_user: a review beyond it is answered FULL.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.time, max_reviews_per_user: int = MAX_REVIEWS_PER_USER) -> None:
        self._redis = redis
        self._clock = clock
        self._max_reviews = max_reviews_per_user
        self._record = _Script("record_review")
        self._retract = _Script("retract_review")
        self._import = _Script("import_user")
        self._put_als = _Script("put_als", shared=False)
        self._snapshot = _Script("snapshot", shared=False)

    async def active_release(self) -> ActiveRelease:
        """See the protocol."""
        async with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.set(SCHEMA_KEY, SCHEMA_VERSION, nx=True)
            pipeline.get(SCHEMA_KEY)
            pipeline.hmget(ACTIVE_KEY, ["release_id", "previous_id"])
            _, schema, (release_id, previous_id) = await pipeline.execute()
        if schema != str(SCHEMA_VERSION).encode():
            raise StoreUnavailable(f"the store has schema version {schema.decode()}, this version reads {SCHEMA_VERSION}")
        return ActiveRelease((release_id or b"").decode(), (previous_id or b"").decode())

    async def activate(self, active: ActiveRelease) -> None:
        """See the protocol."""
        async with _translated():
            await _reply(self._redis.hset(ACTIVE_KEY, mapping={"release_id": active.release_id, "previous_id": active.previous_id}))

    async def register_space(self, space: Space) -> None:
        """See the protocol."""
        async with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.sadd(ENCODER_IDS_KEY, space.encoder_id)
            pipeline.sadd(ALS_IDS_KEY, space.als_id)
            await pipeline.execute()

    async def read(self, space: Space, user_ids: Sequence[str]) -> StoredUsers:
        """See the protocol."""
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in user_ids:
            keys = UserKeys(user_id)
            pipeline.mget(keys.accumulator(space.encoder_id), keys.als(space.als_id))
            pipeline.hkeys(keys.seen(space.encoder_id))
        async with _translated():
            replies = await pipeline.execute()
        vectors, products = replies[::2], replies[1::2]
        return unpack_users([acc for acc, _ in vectors], [als for _, als in vectors], products)

    async def snapshots(self, encoder_id: str, user_ids: Sequence[str]) -> list[Snapshot]:
        """See the protocol."""
        calls = [_Call([keys.accumulator(encoder_id), keys.seen(encoder_id)], []) for keys in map(UserKeys, user_ids)]
        replies = await self._evaluate(self._snapshot, calls)
        sums, counts, changed_us = unpack_accumulators([accumulator for accumulator, _ in replies])
        columns = zip(sums, counts.tolist(), changed_us.tolist(), replies, strict=True)
        return [Snapshot(row, count, changed, unpack_stars(seen)) for row, count, changed, (_, seen) in columns]

    async def record(self, encoder_id: str, reviews: Sequence[NewReview]) -> list[Change]:
        """See the protocol."""
        now_us = self._now_us()
        calls = []
        for review in reviews:
            keys = UserKeys(review.user_id)
            names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id)]
            calls.append(_Call(names, [review.review_id, _entry(review, now_us), now_us, self._max_reviews]))
        return [
            Change(Outcome(outcome), count, changed_us, unpack_stars(seen) if outcome in (Outcome.RECORDED, Outcome.REPLACED) else None)
            for outcome, count, changed_us, seen in await self._evaluate(self._record, calls)
        ]

    async def keep_als(self, space: Space, vectors: Sequence[FoldedIn]) -> None:
        """See the protocol."""
        calls = []
        for item in vectors:
            keys = UserKeys(item.user_id)
            record = pack_als_record(item.vector, item.changed_us, item.origin)
            calls.append(_Call([keys.accumulator(space.encoder_id), keys.als(space.als_id)], [pack_stamp(item.changed_us), record]))
        await self._evaluate(self._put_als, calls)

    async def retract(self, space: Space, user_id: str, review_id: str) -> Change | None:
        """See the protocol."""
        keys, encoder_id = UserKeys(user_id), space.encoder_id
        names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id), keys.als(space.als_id)]
        [(found, count, changed_us, seen)] = await self._evaluate(self._retract, [_Call(names, [review_id, self._now_us()])])
        if not found:
            return None
        return Change(Outcome.REPLACED, count, changed_us, unpack_stars(seen))

    async def delete(self, user_id: str) -> bool:
        """See the protocol."""
        async with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.smembers(ENCODER_IDS_KEY)
            pipeline.smembers(ALS_IDS_KEY)
            encoder_ids, als_ids = ([value.decode() for value in values] for values in await pipeline.execute())
            names = UserKeys(user_id).all(encoder_ids, als_ids)
            return bool(names and await _reply(self._redis.delete(*names)))

    async def replace(self, space: Space, users: Sequence[WholeUser]) -> None:
        """See the protocol."""
        now_us = self._now_us()
        calls = []
        for user in users:
            keys, encoder_id = UserKeys(user.user_id), space.encoder_id
            names = [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id), keys.als(space.als_id)]
            state: list[bytes | str | int] = [
                pack_sums_and_count(user.sums, len(user.reviews)),
                pack_als(user.als),
                bytes([user.origin]),
                now_us,
            ]
            for review in user.reviews:
                state += [review.review_id, _entry(review, 0)]
            calls.append(_Call(names, state))
        await self._evaluate(self._import, calls)

    async def close(self) -> None:
        """See the protocol."""
        await self._redis.aclose(close_connection_pool=True)

    async def _evaluate(self, script: _Script, calls: Sequence[_Call]) -> list[Any]:
        """Run a script for each call, all in one round trip; a Redis that does not know the script is told and asked again."""
        if not calls:
            return []
        async with _translated():
            if not script.sha:
                script.sha = await _reply(self._redis.script_load(script.source))
            replies = await self._pipeline(script.sha, calls)
            unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if unknown:
                await _reply(self._redis.script_load(script.source))
                again = await self._pipeline(script.sha, [calls[i] for i in unknown])
                for i, reply in zip(unknown, again, strict=True):
                    replies[i] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def _pipeline(self, sha: str, calls: Sequence[_Call]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(sha, len(call.keys), *call.keys, *call.arguments)  # type: ignore[no-untyped-call, unused-ignore]
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    def _now_us(self) -> int:
        return round(self._clock() * 1e6)


def _entry(review: NewReview, arrival_us: int) -> bytes:
    given = review.time_us is not None
    time_us = review.time_us if review.time_us is not None else arrival_us
    return pack_entry(review.product_id, review.rating, review.fixed_point, time_us, time_given=given, digest=review.digest)


async def _reply(command: Any) -> Any:
    """redis-py types every command as maybe synchronous."""
    return await command


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError) as error:
        raise StoreUnavailable("Redis does not answer; nothing was half done") from error
    except RedisError as error:
        # Out of memory, read-only replica, loading, no permission: nothing that the caller could mend.
        raise StoreUnavailable("Redis refused; nothing was half done") from error
