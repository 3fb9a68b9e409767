"""Drops the keys of spaces that no loaded release has any more: by SCAN and UNLINK, a page at a time, in the
background.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from typing import Final

from embedding_service.ports import Space
from embedding_service.redis_store.client import RedisLink
from embedding_service.redis_store.keys import (
    ALS_IDS_KEY,
    DROPPING_ALS_IDS_KEY,
    DROPPING_ENCODER_IDS_KEY,
    DROPPING_LOCK_KEY,
    ENCODER_IDS_KEY,
    is_in_space,
    space_pattern,
)
from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
_LOCK_MS: Final = 10_000
"""Far longer than a page takes: whoever finds the lock gone may be sure that no page is under way."""
_PERIOD_S: Final = 60.0
_PAUSE_S: Final = 0.02
_SETS: Final = ((ENCODER_IDS_KEY, DROPPING_ENCODER_IDS_KEY), (ALS_IDS_KEY, DROPPING_ALS_IDS_KEY))


async def known_ids(link: RedisLink) -> tuple[list[str], list[str]]:
    """Encoder ids and ALS ids under which users may have keys, those being dropped included."""
    replies = await link.send([("SMEMBERS", name) for names in _SETS for name in names])
    found = [{value.decode() for value in values} for values in replies]
    return sorted(found[0] | found[1]), sorted(found[2] | found[3])


class Dropping:
    """Retires spaces and drops their keys.

    A retired id waits in a set of its own, so that a service that dies leaves the rest to the next one. An import that
    wants a retired space back takes its id out of the set and then waits until nobody drops; the dropper looks at the
    set before every page.

    Args:
        link: to Redis.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._woken = asyncio.Event()

    async def register(self, space: Space) -> None:
        """Users may have keys in this space from now on; nobody drops them."""
        ids = (space.encoder_id, space.als_id)
        commands = [
            command
            for (used, dropping), of in zip(_SETS, ids, strict=True)
            for command in (("SADD", used, of), ("SREM", dropping, of))
        ]
        replies = await self._link.send(commands)
        while any(replies[1::2]) and await self._link.one("EXISTS", DROPPING_LOCK_KEY):  # noqa: ASYNC110 - another process may hold it
            await asyncio.sleep(0.1)

    async def retire(self, kept: Sequence[Space]) -> None:
        """Drop every other space, sometime soon."""
        keep = ({space.encoder_id for space in kept}, {space.als_id for space in kept})
        for (used, dropping), ids in zip(_SETS, keep, strict=True):
            retired = sorted({value.decode() for value in await self._link.one("SMEMBERS", used)} - ids)
            if retired:
                # In this order: an id that is in both sets is dropped and registered again by the next import; one in
                # neither would stay.
                await self._link.one("SADD", dropping, *retired)
                await self._link.one("SREM", used, *retired)
        self._woken.set()

    async def run(self) -> None:
        """Drop what was retired, until cancelled."""
        while True:
            try:
                await self.drop()
            except StoreUnavailable as error:
                _LOG.debug("dropping waits: %s", error)
            except Exception:
                _LOG.exception("unexpected error while dropping old spaces")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._woken.wait()
            self._woken.clear()

    async def drop(self) -> int:
        """Drop the keys of all retired spaces, unless another service is at it.

        Returns:
            Keys dropped.
        """
        token = secrets.token_hex(8)
        dropped = 0
        for _, dropping in _SETS:
            for of in sorted(value.decode() for value in await self._link.one("SMEMBERS", dropping)):
                if not await self._link.one("SET", DROPPING_LOCK_KEY, token, "NX", "PX", _LOCK_MS):
                    return dropped
                try:
                    dropped += await self._drop_space(dropping, of)
                finally:
                    await self._link.one("DEL", DROPPING_LOCK_KEY)
        return dropped

    async def _drop_space(self, dropping: str, of: str) -> int:
        dropped = 0
        async for keys in self._link.scan(space_pattern(of)):
            _, still = await self._link.send([("PEXPIRE", DROPPING_LOCK_KEY, _LOCK_MS), ("SISMEMBER", dropping, of)])
            if not still:
                return dropped
            dropped += sum(await self._link.send([("UNLINK", key) for key in keys if is_in_space(key, of)]))
            await asyncio.sleep(_PAUSE_S)
        await self._link.one("SREM", dropping, of)
        _LOG.info("dropped %d keys of the space %s", dropped, of)
        return dropped
