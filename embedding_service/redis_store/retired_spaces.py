"""Drops the keys of retired spaces when their time is over: by SCAN and UNLINK, a page at a time, in the background."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from embedding_service.ports import Space
from embedding_service.redis_store.background import repeat
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import (
    ALS_IDS_KEY,
    DROP_LOCK_KEY,
    ENCODER_IDS_KEY,
    IMPORTED_USERS_KEY,
    RETIRED_ALS_IDS_KEY,
    RETIRED_ENCODER_IDS_KEY,
    RETIRED_SINCE_KEY,
    is_in_space,
    space_pattern,
)

_LOG = logging.getLogger(__name__)
_LOCK_MS: Final = 10_000
"""Far longer than a page takes: whoever finds no lock may be sure that no page is under way."""
_PERIOD_S: Final = 60.0
_PAUSE_S: Final = 0.02
_SETS: Final = ((ENCODER_IDS_KEY, RETIRED_ENCODER_IDS_KEY), (ALS_IDS_KEY, RETIRED_ALS_IDS_KEY))


async def known_ids(client: RedisClient) -> tuple[list[str], list[str]]:
    """Encoder ids and ALS ids under which users may have keys, the retired ones included."""
    replies = await client.send([("SMEMBERS", name) for names in _SETS for name in names])
    used_encoders, retired_encoders, used_als, retired_als = ({value.decode() for value in ids} for ids in replies)
    return sorted(used_encoders | retired_encoders), sorted(used_als | retired_als)


class RetiredSpaces:
    """Retires spaces and drops their keys.

    A retired id waits in a set of its own, so that a service that dies leaves the rest to the next one. An import that
    wants a retired space back takes its id out of the set and then waits until nobody drops; whoever drops looks at
    the set before every page.

    Args:
        client: of Redis.
        keep_logs_s: how long users' state in an encoder's space stays after it was retired; logs are nowhere else.
        keep_als_s: how long ALS vectors stay, which are folded in again where they are missing.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        client: RedisClient,
        *,
        keep_logs_s: float = 0.0,
        keep_als_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._kept_s = {RETIRED_ENCODER_IDS_KEY: keep_logs_s, RETIRED_ALS_IDS_KEY: keep_als_s}
        self._clock = clock
        self._woken = asyncio.Event()
        self._owner = secrets.token_hex(8)
        # They are for what makes the store smaller.
        self._lock = Script("lock", prelude=False, effect="frees")
        self._unlock = Script("unlock", prelude=False, effect="frees")

    async def register(self, space: Space) -> None:
        """Users may have keys in this space from now on; nobody drops them, also if it was retired before."""
        commands = [
            command
            for (used, retired), space_id in zip(_SETS, (space.encoder_id, space.als_id), strict=True)
            for command in (("SADD", used, space_id), ("SREM", retired, space_id))
        ]
        was_retired = any((await self._client.send(commands))[1::2])
        if was_retired:
            _LOG.info("the space %s is in use again", space)
        while was_retired and await self._client.one("EXISTS", DROP_LOCK_KEY):  # noqa: ASYNC110 - another process may hold it
            await asyncio.sleep(0.1)

    async def encoder_ids(self) -> frozenset[str]:
        """Encoders whose users' state is there: in use, or retired and not due yet."""
        used = {value.decode() for value in await self._client.one("SMEMBERS", ENCODER_IDS_KEY)}
        retired = {value.decode() for value in await self._client.one("SMEMBERS", RETIRED_ENCODER_IDS_KEY)}
        return frozenset(used | (retired - await self._due(RETIRED_ENCODER_IDS_KEY)))

    async def retire(self, kept: Sequence[Space]) -> tuple[list[str], list[str]]:
        """Let every other space go, and drop it when its time is over.

        Returns:
            Encoder ids and ALS ids that are retired and not dropped yet.
        """
        kept_ids = ({space.encoder_id for space in kept}, {space.als_id for space in kept})
        for (used, retired), ids in zip(_SETS, kept_ids, strict=True):
            unused = sorted({value.decode() for value in await self._client.one("SMEMBERS", used)} - ids)
            if unused:
                now_us = round(self._clock() * 1e6)
                await self._client.one("HSET", RETIRED_SINCE_KEY, *(word for name in unused for word in (name, now_us)))
                # In this order: an id that is in both sets is dropped and registered again by the next import; one in
                # neither would stay.
                await self._client.one("SADD", retired, *unused)
                await self._client.one("SREM", used, *unused)
                _LOG.info("retired, to be dropped in %.1f h: %s", self._kept_s[retired] / 3600, ", ".join(unused))
        self._woken.set()
        encoder_ids, als_ids = [await self._client.one("SMEMBERS", retired) for _, retired in _SETS]
        return sorted(value.decode() for value in encoder_ids), sorted(value.decode() for value in als_ids)

    async def run(self) -> None:
        """Drop what was retired, until cancelled."""
        await repeat("dropping retired spaces", self.drop, period_s=_PERIOD_S, woken=self._woken)

    async def drop(self) -> int:
        """Drop the keys of all retired spaces that are due, unless another service is at it.

        Returns:
            Keys dropped.
        """
        dropped = 0
        for _, retired in _SETS:
            for space_id in sorted(await self._due(retired)):
                if not await self._has_lock():
                    return dropped
                try:
                    dropped += await self._drop_space(retired, space_id)
                finally:
                    await self._client.evaluate(self._unlock, [ScriptCall([DROP_LOCK_KEY], [self._owner])])
        return dropped

    async def _has_lock(self) -> bool:
        """Take the lock, or keep it for longer; false if another service has it."""
        [has] = await self._client.evaluate(self._lock, [ScriptCall([DROP_LOCK_KEY], [self._owner, _LOCK_MS])])
        return bool(has)

    async def _due(self, retired: str) -> set[str]:
        """The ids in a set of retired ones whose time is over; those of earlier versions, which noted no time, too."""
        ids = sorted(value.decode() for value in await self._client.one("SMEMBERS", retired))
        if not ids:
            return set()
        since_us = await self._client.one("HMGET", RETIRED_SINCE_KEY, *ids)
        due_us = (self._clock() - self._kept_s[retired]) * 1e6
        return {name for name, time_us in zip(ids, since_us, strict=True) if int(time_us or 0) <= due_us}

    async def _drop_space(self, retired: str, space_id: str) -> int:
        dropped = 0
        async for keys in self._client.scan(space_pattern(space_id)):
            if not (await self._has_lock() and await self._client.one("SISMEMBER", retired, space_id)):
                return dropped
            dropped += sum(await self._client.send([("UNLINK", key) for key in keys if is_in_space(key, space_id)]))
            await asyncio.sleep(_PAUSE_S)
        await self._client.send([("SREM", retired, space_id), ("HDEL", RETIRED_SINCE_KEY, space_id)])
        await self._client.one("HDEL", IMPORTED_USERS_KEY, space_id)
        _LOG.info("dropped %d keys of the space %s", dropped, space_id)
        return dropped
