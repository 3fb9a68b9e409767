"""Compares what is derived with the logs, and mends it on request: accumulators, seen products and popularity."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedding_service.redis_store.client import Script, ScriptCall
from embedding_service.redis_store.keys import (
    ACCUMULATOR_PATTERN,
    ALS_PATTERN,
    ENCODER_IDS_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    STATE_KINDS,
    USER_PATTERN,
    UserKeys,
    unpack_key,
)
from embedding_service.redis_store.layouts import (
    KEPT_LIST_BYTES,
    NAMED,
    LogEntry,
    OutboxEntry,
    popularity_field,
    reviews_of_change,
    unpack_accumulators,
    unpack_entry,
    unpack_products,
    unpack_seen_counts,
)
from embedding_service.redis_store.outboxes import Changes, changes_of
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from twotower.errors import StoreUnavailable
from twotower.scoring import US_PER_DAY


@dataclass(frozen=True)
class UserLog:
    """A user's state in one encoder's space, of one moment."""

    user_id: str
    encoder_id: str
    accumulator: bytes | None
    seen: dict[str, tuple[int, int]]
    reviews: dict[str, LogEntry]

    def counted(self) -> list[OutboxEntry]:
        """What its reviews add to the popularity counters: the earliest of each product and day (UTC)."""
        earliest: dict[tuple[str, int], int] = {}
        for entry in self.reviews.values():
            if entry.counted:
                product_and_day = entry.product_id, entry.time_us // US_PER_DAY
                earliest[product_and_day] = min(entry.time_us, earliest.get(product_and_day, entry.time_us))
        return [OutboxEntry(1, NAMED, time_us, product.encode()) for (product, _), time_us in earliest.items()]

    def problems(self) -> list[str]:
        """What differs from the log."""
        problems = []
        [sums], [count], _ = unpack_accumulators([self.accumulator])
        vectors = [entry.fixed_point for entry in self.reviews.values()]
        if not np.array_equal(sums, np.sum(vectors, axis=0, dtype=np.int64) if vectors else np.zeros_like(sums)):
            problems.append("the sum is not that of the log")
        if count != len(self.reviews):
            problems.append(f"the count is {count}, the log has {len(self.reviews)} reviews")
        if bool(self.accumulator) != bool(self.reviews):
            problems.append("an accumulator without a log" if self.accumulator else "a log without an accumulator")
        expected: dict[str, tuple[int, int]] = {}
        for entry in self.reviews.values():
            reviews, micro_stars = expected.get(entry.product_id, (0, 0))
            expected[entry.product_id] = (reviews + 1, micro_stars + entry.micro_stars)
        if self.seen != expected:
            problems.append("the products seen are not those of the log")
        listed = set(unpack_products(self.accumulator or b""))
        # Of a long list only the newest are kept.
        is_cut = sum(len(product.encode()) + 1 for product in expected) > KEPT_LIST_BYTES
        if not (listed == expected.keys() or (is_cut and listed and listed < expected.keys())):
            problems.append("the list of products is not that of the log")
        return problems


@dataclass
class Verified:
    """What :meth:`Verifier.verify` found.

    Attributes:
        users: states looked at, one per user and encoder.
        reviews: in their logs.
        problems: user, encoder id and what is wrong.
        popularity: encoder id → reviews that the counters have too many or too few; None if they differ and reviews
            were written meanwhile.
        repaired: everything that was found is mended.
    """

    users: int = 0
    reviews: int = 0
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    popularity: dict[str, int | None] = field(default_factory=dict)
    repaired: bool = False

    @property
    def clean(self) -> bool:
        """Nothing differs."""
        return not self.problems and not any(self.popularity.values())


class Verifier:
    """Verifies and mends a store, by SCAN; may run beside a service.

    Args:
        store: users' state.
        clock: seconds since 1970.
    """

    def __init__(self, store: RedisUserStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._client = store.client
        self._popularity = RedisPopularityStore(store.client, store.outboxes)
        self._clock = clock
        self._read = Script("read_user", prelude=False, effect="none")
        self._repair = Script("repair_user", effect="frees")
        self._migrate_user = Script("migrate_user")
        self._migrate_als = Script("migrate_als", prelude=False)

    async def logs(self) -> AsyncIterator[list[UserLog]]:
        """Every user's state, some at a time, each once."""
        done: set[tuple[str, str]] = set()
        async for keys in self._client.scan(USER_PATTERN):
            states = {(user_id, space) for user_id, kind, space in map(unpack_key, keys) if kind in STATE_KINDS} - done
            done |= states
            yield await self._logs_of(sorted(states))

    async def verify(self, *, repair: bool = False, on_progress: Callable[[int], None] = lambda _: None) -> Verified:
        """Recompute everything from the logs and compare bit for bit.

        Popularity is compared only if no review was written meanwhile, because counters and logs are not of one moment.

        Args:
            repair: mend what differs from the logs.
            on_progress: called with the number of users looked at since the last call.

        Raises:
            StoreUnavailable.
        """
        verified = Verified()
        expected: dict[str, list[OutboxEntry]] = {}
        await self._settle()
        before = await self._written()
        async for logs in self.logs():
            for log in logs:
                verified.users += 1
                verified.reviews += len(log.reviews)
                verified.problems += [(log.user_id, log.encoder_id, problem) for problem in log.problems()]
                expected.setdefault(log.encoder_id, []).extend(log.counted())
            on_progress(len(logs))
        await self._settle()
        quiet = before == await self._written()
        known_encoders = {value.decode() for value in await self._client.one("SMEMBERS", ENCODER_IDS_KEY)}
        for encoder_id in sorted(known_encoders | expected.keys()):
            floor = await self._popularity.floor(encoder_id)
            counted = [
                entry
                for entry in expected.get(encoder_id, [])
                if floor is None or popularity_field(entry.kind, entry.time_us, entry.product)[0] >= floor
            ]
            differences = await self._differences(encoder_id, changes_of(counted))
            wrong = sum(reviews_of_change(change) for fields in differences.values() for change in fields.values())
            verified.popularity[encoder_id] = wrong if quiet or not differences else None
            if repair and quiet and differences:
                await self._store.outboxes.add(encoder_id, "repair", differences)
        if repair:
            await self._repair_users({(user_id, encoder_id) for user_id, encoder_id, _ in verified.problems})
            verified.repaired = quiet or not any(count is None for count in verified.popularity.values())
        return verified

    async def migrate(self, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Bring a store of an earlier schema version to this one while no service runs on it.

        It may be interrupted and run again. Version 2 brought popularity, which is counted from the logs; ALS vectors
        of version 1 are removed, and the next look-up folds in anew. Version 3 brought the list of products into the
        accumulators, from the ALS records.

        Returns:
            The version that was found.

        Raises:
            StoreUnavailable: the store is of a later version, or changed meanwhile.
        """
        version = int(await self._client.one("GET", SCHEMA_KEY) or SCHEMA_VERSION)
        if version == SCHEMA_VERSION:
            return version
        if version not in (1, 2):
            raise StoreUnavailable(f"the store has schema version {version}, which this version can't migrate")
        async for keys in self._client.scan(ALS_PATTERN):
            if version == 1:
                await self._client.send([("UNLINK", key) for key in keys])
            else:
                await self._client.evaluate(self._migrate_als, [ScriptCall([key.decode()]) for key in keys])
        async for keys in self._client.scan(ACCUMULATOR_PATTERN):
            states = [(user_id, encoder_id) for user_id, _, encoder_id in map(unpack_key, keys)]
            calls = [ScriptCall([accumulator, seen]) for accumulator, _, seen in (_state_keys(*it) for it in states)]
            await self._client.evaluate(self._migrate_user, calls)
        verified = await self.verify(repair=True, on_progress=on_progress)
        if not verified.repaired:
            raise StoreUnavailable("reviews were written meanwhile: stop every embedding service first")
        await self._client.one("SET", SCHEMA_KEY, SCHEMA_VERSION)
        return version

    async def _logs_of(self, states: Sequence[tuple[str, str]]) -> list[UserLog]:
        replies = await self._client.evaluate(self._read, [ScriptCall(_state_keys(*state)) for state in states])
        logs = []
        for (user_id, encoder_id), (accumulator, log, seen) in zip(states, replies, strict=True):
            reviews = {name.decode(): unpack_entry(entry) for name, entry in zip(log[::2], log[1::2], strict=True)}
            logs.append(UserLog(user_id, encoder_id, accumulator, unpack_seen_counts(seen), reviews))
        return logs

    async def _repair_users(self, states: set[tuple[str, str]]) -> None:
        now_us = round(self._clock() * 1e6)
        calls = [ScriptCall(_state_keys(*state), [now_us]) for state in sorted(states)]
        await self._client.evaluate(self._repair, calls, durable=True)

    async def _settle(self) -> None:
        await self._store.outboxes.sweep()
        await self._store.outboxes.drain()

    async def _written(self) -> dict[str, int]:
        return {name: taken + waiting for name, (taken, waiting) in (await self._store.outboxes.positions()).items()}

    async def _differences(self, encoder_id: str, expected: Changes) -> Changes:
        """What would turn the counters of named reviews into `expected`."""
        counters = await self._popularity.fields_of_days(encoder_id, await self._popularity.all_days(encoder_id))
        differences: Changes = {}
        for day in sorted({*counters, *expected}):
            stored = {name: n for name, n in counters.get(day, {}).items() if name.startswith(NAMED.encode())}
            wanted = expected.get(day, {})
            for name in sorted({*stored, *wanted}):
                if change := wanted.get(name, 0) - stored.get(name, 0):
                    differences.setdefault(day, {})[name] = change
        return differences


def _state_keys(user_id: str, encoder_id: str) -> list[str]:
    keys = UserKeys(user_id)
    return [keys.accumulator(encoder_id), keys.log(encoder_id), keys.seen(encoder_id)]
