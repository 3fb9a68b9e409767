"""Holds what is derived against the logs: accumulators, seen products, ALS records and popularity; mends them on
request.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from embedding_service.redis_store.client import Script, ScriptCall
from embedding_service.redis_store.keys import (
    ALS_PATTERN,
    ENCODER_IDS_KEY,
    SCHEMA_KEY,
    SCHEMA_VERSION,
    USER_PATTERN,
    UserKeys,
    unpack_key,
)
from embedding_service.redis_store.layouts import (
    NAMED,
    LogEntry,
    OutboxEntry,
    unpack_accumulators,
    unpack_counter,
    unpack_entry,
    unpack_seen_counts,
)
from embedding_service.redis_store.outboxes import Changes, changes_of
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from twotower.errors import StoreUnavailable

_STATE: Final = frozenset({"acc", "log", "seen"})


@dataclass(frozen=True)
class UserLog:
    """A user's state in one encoder's space, of one moment."""

    user_id: str
    encoder_id: str
    accumulator: bytes | None
    seen: dict[str, tuple[int, int]]
    reviews: dict[str, LogEntry]

    def counted(self) -> list[OutboxEntry]:
        """What its reviews are in the popularity counters."""
        return [
            OutboxEntry(1, NAMED, entry.time_us, entry.product_id.encode())
            for entry in self.reviews.values()
            if entry.counted
        ]

    def problems(self) -> list[str]:
        """What differs from the log."""
        found = []
        sums, counts, _ = unpack_accumulators([self.accumulator])
        vectors = [entry.fixed_point for entry in self.reviews.values()]
        if not np.array_equal(sums[0], np.sum(vectors, axis=0, dtype=np.int64) if vectors else np.zeros_like(sums[0])):
            found.append("the sum is not that of the log")
        if counts[0] != len(self.reviews):
            found.append(f"the count is {counts[0]}, the log has {len(self.reviews)} reviews")
        if bool(self.accumulator) != bool(self.reviews):
            found.append("an accumulator without a log" if self.accumulator else "a log without an accumulator")
        expected: dict[str, tuple[int, int]] = {}
        for entry in self.reviews.values():
            reviews, micro_stars = expected.get(entry.product_id, (0, 0))
            expected[entry.product_id] = (reviews + 1, micro_stars + entry.micro_stars)
        if self.seen != expected:
            found.append("the products seen are not those of the log")
        return found


@dataclass
class Verified:
    """What :meth:`Verifier.verify` found.

    Attributes:
        users: states looked at, one an encoder's space.
        reviews: in their logs.
        problems: user, encoder id and what is wrong.
        popularity: encoder id → reviews that the counters have too many or too few of; None where writes went on
            meanwhile.
        repaired: everything found was mended.
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
        self._read = Script("read_user", prelude=False)
        self._repair = Script("repair_user")

    async def logs(self) -> AsyncIterator[list[UserLog]]:
        """Every user's state, some at a time, each once."""
        done: set[tuple[str, str]] = set()
        async for keys in self._client.scan(USER_PATTERN):
            states = {(user, of) for user, kind, of in map(unpack_key, keys) if kind in _STATE} - done
            done |= states
            yield await self._logs_of(sorted(states))

    async def verify(self, *, repair: bool = False, on_progress: Callable[[int], None] = lambda _: None) -> Verified:
        """Recompute everything from the logs and compare bit for bit.

        Popularity is compared only if no review was written meanwhile, because counters and logs are not of one moment.

        Args:
            repair: make what differs what the logs say.
            on_progress: called with the number of users looked at since the last call.

        Raises:
            StoreUnavailable.
        """
        found = Verified()
        expected: dict[str, list[OutboxEntry]] = {}
        await self._settle()
        before = await self._written()
        async for logs in self.logs():
            for log in logs:
                found.users += 1
                found.reviews += len(log.reviews)
                found.problems += [(log.user_id, log.encoder_id, problem) for problem in log.problems()]
                expected.setdefault(log.encoder_id, []).extend(log.counted())
            on_progress(len(logs))
        await self._settle()
        quiet = before == await self._written()
        encoder_ids = {
            value.decode() for value in await self._client.one("SMEMBERS", ENCODER_IDS_KEY)
        } | expected.keys()
        for encoder_id in sorted(encoder_ids):
            differences = await self._differences(encoder_id, changes_of(expected.get(encoder_id, [])))
            wrong = sum(abs(unpack_counter(change)[0]) for fields in differences.values() for change in fields.values())
            found.popularity[encoder_id] = wrong if quiet or not differences else None
            if repair and quiet and differences:
                await self._store.outboxes.add(encoder_id, "repair", differences)
        if repair:
            await self._repair_users({(user, of) for user, of, _ in found.problems})
            found.repaired = quiet or not any(count is None for count in found.popularity.values())
        return found

    async def migrate(self, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Bring a store of schema version 1 to 2, while no service runs on it; doing it again, also half done, changes
        nothing more.

        Version 2 has popularity, which is counted from the logs, and the products seen in ALS records: old records are
        removed, and the next look-up folds in anew.

        Returns:
            The version that was found.

        Raises:
            StoreUnavailable: the store is of a later version, or changed meanwhile.
        """
        version = int(await self._client.one("GET", SCHEMA_KEY) or SCHEMA_VERSION)
        if version == SCHEMA_VERSION:
            return version
        if version != 1:
            raise StoreUnavailable(f"the store has schema version {version}, which this version can't migrate")
        async for keys in self._client.scan(ALS_PATTERN):
            await self._client.send([("UNLINK", key) for key in keys])
        found = await self.verify(repair=True, on_progress=on_progress)
        if not found.repaired:
            raise StoreUnavailable("reviews were written meanwhile: stop every embedding service first")
        await self._client.one("SET", SCHEMA_KEY, SCHEMA_VERSION)
        return version

    async def _logs_of(self, states: Sequence[tuple[str, str]]) -> list[UserLog]:
        calls = [
            ScriptCall([keys.accumulator(of), keys.log(of), keys.seen(of)])
            for keys, of in ((UserKeys(user), of) for user, of in states)
        ]
        logs = []
        for (user, of), (accumulator, log, seen) in zip(
            states, await self._client.evaluate(self._read, calls), strict=True
        ):
            reviews = {name.decode(): unpack_entry(entry) for name, entry in zip(log[::2], log[1::2], strict=True)}
            logs.append(UserLog(user, of, accumulator, unpack_seen_counts(seen), reviews))
        return logs

    async def _repair_users(self, states: set[tuple[str, str]]) -> None:
        now_us = round(self._clock() * 1e6)
        keys = [(UserKeys(user), of) for user, of in sorted(states)]
        calls = [ScriptCall([user.accumulator(of), user.log(of), user.seen(of)], [now_us]) for user, of in keys]
        await self._client.evaluate(self._repair, calls, durable=True)

    async def _settle(self) -> None:
        await self._store.outboxes.sweep()
        await self._store.outboxes.drain()

    async def _written(self) -> dict[str, int]:
        return {name: taken + waiting for name, (taken, waiting) in (await self._store.outboxes.positions()).items()}

    async def _differences(self, encoder_id: str, expected: Changes) -> Changes:
        """What would turn the counters of named reviews into `expected`."""
        days = await self._popularity.all_days(encoder_id)
        found = await self._popularity.fields_of_days(encoder_id, days)
        differences: Changes = {}
        for day in sorted({*days, *expected}):
            there = {field: packed for field, packed in found.get(day, {}).items() if field.startswith(NAMED.encode())}
            wanted = expected.get(day, {})
            for name in sorted({*there, *wanted}):
                change = wanted.get(name, 0) - there.get(name, 0)
                if change:
                    differences.setdefault(day, {})[name] = change
        return differences
