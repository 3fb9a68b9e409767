"""Removes the state of users who were idle for too long: by SCAN, each user in one atomic script, in the background.

Not by keys with a TTL: those would vanish without a word, and the reviews of a user whom an import brings back would
count in live popularity a second time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from redis.exceptions import NoPermissionError

from embedding_service.redis_store.background import repeat
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import ACCUMULATOR_PATTERN, UserKeys, unpack_key
from embedding_service.redis_store.layouts import STAMP_RANGE, pack_stamp
from embedding_service.redis_store.outboxes import Outboxes
from embedding_service.redis_store.retired_spaces import known_ids
from twotower.errors import StoreUnavailable
from twotower.scoring import US_PER_DAY

_LOG = logging.getLogger(__name__)
_LONGEST_PERIOD_S: Final = 3600.0
_SWEEPS_PER_TTL: Final = 10
_PAUSE_S: Final = 0.02
_MAX_CLOCK_ERROR_S: Final = 600.0
_FREE_REMOVALS: Final = 100
_MAX_REMOVED_SHARE: Final = 0.1


class IdleUsers:
    """Finds users whose state has not changed for long, and removes it.

    Services that do this at the same time on one store do no harm: the script removes only what has not changed
    since it was looked at.

    Args:
        client: of Redis.
        outboxes: take the users' reviews out of live popularity.
        ttl_days: how long a state may go without a change; a look-up is no change.
        clock: seconds since 1970.
    """

    def __init__(
        self, client: RedisClient, outboxes: Outboxes, ttl_days: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._outboxes = outboxes
        self._ttl_us = ttl_days * US_PER_DAY
        self._clock = clock
        self._expire = Script("expire_user", effect="frees")

    async def run(self) -> None:
        """Look ten times per TTL, at least every hour, until cancelled."""
        period_s = min(self._ttl_us / 1e6 / _SWEEPS_PER_TTL, _LONGEST_PERIOD_S)
        began, began_at_s = time.monotonic(), self._clock()

        async def sweep_if_clock_is_right() -> None:
            off_redis_s = await self._seconds_ahead()
            jumped_s = self._clock() - began_at_s - (time.monotonic() - began)
            if max(abs(off_redis_s), abs(jumped_s)) > _MAX_CLOCK_ERROR_S:
                _LOG.warning(
                    "idle users are not removed, because the clock can't be trusted: it is %.0f s ahead of Redis', and "
                    "has jumped by %.0f s since the service started; set it right, or start the service again if it is",
                    *(off_redis_s, jumped_s),
                )
                return
            await self.sweep()

        await repeat("removing idle users", sweep_if_clock_is_right, period_s=period_s)

    async def _seconds_ahead(self) -> float:
        """How far the clock is ahead of Redis'; 0 if that can't be asked."""
        if self._client.is_cluster:
            return 0.0
        try:
            seconds, _ = await self._client.one("TIME")
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError):
                return 0.0
            raise
        return self._clock() - int(seconds)

    async def sweep(self) -> int:
        """Remove users who are idle now, at most a tenth of all, or a hundred: a wrong clock must not remove everybody.

        Returns:
            States removed, one per user and encoder.

        Raises:
            StoreUnavailable.
        """
        looked_at = removed = 0
        async for keys in self._client.scan(ACCUMULATOR_PATTERN):
            stamps = await self._client.send([("GETRANGE", key, *STAMP_RANGE) for key in keys])
            # Compared as bytes, big-endian; an accumulator that is gone meanwhile has none.
            idle_since = pack_stamp(max(0, round(self._clock() * 1e6 - self._ttl_us)))
            idle = [(key, stamp) for key, stamp in zip(keys, stamps, strict=True) if stamp and stamp < idle_since]
            looked_at += len(keys)
            left = _FREE_REMOVALS + int(_MAX_REMOVED_SHARE * looked_at) - removed
            if idle[:left]:
                removed += await self._remove(idle[:left])
            if len(idle) > left:
                _LOG.warning(
                    "more than a tenth of the users are idle; the others of them are left to the next sweep: is the "
                    "clock right, and --user-ttl-days?"
                )
                break
            await asyncio.sleep(_PAUSE_S)
        if removed:
            _LOG.info("removed %d users who were idle for too long", removed)
        return removed

    async def _remove(self, idle: Sequence[tuple[bytes, bytes]]) -> int:
        _, als_ids = await known_ids(self._client)
        calls = []
        for key, stamp in idle:
            user_id, _, encoder_id = unpack_key(key)
            user = UserKeys(user_id)
            outbox = user.outbox(encoder_id, is_cluster=self._client.is_cluster)
            derived = [user.accumulator(encoder_id), user.seen(encoder_id), *map(user.als, als_ids)]
            calls.append(ScriptCall([user.log(encoder_id), outbox, *derived], [stamp]))
        return sum(await self._outboxes.evaluate(self._expire, calls))
