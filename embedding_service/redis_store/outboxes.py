"""Outboxes: what reviews change in live popularity, from the user's slot to the counters, exactly once.

A product's counters can't be in the slots of all users, so a user's script can't change them. It pushes the change to a
list in its own slot instead, in the same atomic step as the review (docs/adr/0011-popularity-by-outbox.md). Entries are
applied by position: the counters remember how far each outbox is applied, so that a crash between applying and
removing, or two services at it, count nothing twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from typing import Final

from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import (
    ENCODER_IDS_KEY,
    PopularityKeys,
    UserKeys,
    all_outbox_keys,
    encoder_of_outbox,
    outbox_key,
    outbox_position_key,
)
from embedding_service.redis_store.layouts import OutboxEntry, pack_change, popularity_field, unpack_outbox_entry
from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
_PAGE: Final = 2000
_SWEEP_S: Final = 30.0
_CLUSTER_SWEEP_S: Final = 300.0
_PAUSE_S: Final = 0.1
_PAGE_DAYS: Final = 64
Changes = dict[int, dict[bytes, int]]
"""Day since 1970 → field of its hash → packed change."""


class Outboxes:
    """Names outboxes, and empties them into the counters.

    On one server there is one outbox an encoder; in a cluster one for each slot that was written to.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._dirty: set[str] = set()
        self._woken = asyncio.Event()
        self._draining = asyncio.Lock()
        self._peek = Script("peek_outbox", prelude=False)
        self._apply = Script("apply_popularity", prelude=False)
        self._trim = Script("trim_outbox", prelude=False)

    def of(self, keys: UserKeys, encoder_id: str) -> str:
        """The outbox of a user."""
        return outbox_key(keys, encoder_id, is_cluster=self._client.is_cluster)

    def wake(self, outboxes: Iterable[str]) -> None:
        """These may have new entries."""
        self._dirty.update(outboxes)
        self._woken.set()

    async def run(self) -> None:
        """Empty outboxes as they fill, and now and then all of them, for a service that died may have left some; until
        cancelled.
        """
        loop = asyncio.get_running_loop()
        swept = -1e9
        period_s = _CLUSTER_SWEEP_S if self._client.is_cluster else _SWEEP_S
        while True:
            try:
                if loop.time() - swept > period_s:
                    await self.sweep()
                    swept = loop.time()
                await self.drain()
            except StoreUnavailable as error:
                _LOG.debug("outboxes wait: %s", error)
            except Exception:
                _LOG.exception("unexpected error while emptying outboxes")
            await asyncio.sleep(_PAUSE_S)
            # Not wait_for, which in Python 3.11 may swallow a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self._woken.wait()

    async def sweep(self) -> None:
        """Look for entries in every outbox that may exist."""
        self._dirty.update(name for name, (_, entries) in (await self.positions()).items() if entries)

    async def positions(self) -> dict[str, tuple[int, int]]:
        """For every outbox that was ever used: entries taken out so far, entries in it."""
        encoder_ids = sorted(value.decode() for value in await self._client.one("SMEMBERS", ENCODER_IDS_KEY))
        names = all_outbox_keys(encoder_ids, is_cluster=self._client.is_cluster)
        replies = await self._client.send(
            [command for name in names for command in (("GET", outbox_position_key(name)), ("LLEN", name))]
        )
        pairs = zip(names, replies[::2], replies[1::2], strict=True)
        return {name: (int(taken or 0), entries) for name, taken, entries in pairs if taken or entries}

    async def drain(self) -> None:
        """Empty the outboxes that this process knows to have entries."""
        async with self._draining:
            self._woken.clear()
            names, self._dirty = self._dirty, set()
            try:
                for name in list(names):
                    await self._drain_one(name)
                    names.remove(name)
            finally:
                self._dirty |= names

    async def add(self, encoder_id: str, source: str, changes: Changes) -> None:
        """Add changes that come from no outbox: a repair; `source` has a position of its own."""
        first = int(await self._client.one("HGET", PopularityKeys(encoder_id).positions, source) or 0)
        days = sorted(changes)
        for start in range(0, len(days), _PAGE_DAYS):
            page = {day: changes[day] for day in days[start : start + _PAGE_DAYS]}
            first = await self._apply_page(encoder_id, source, first, 1, page)

    async def _drain_one(self, name: str) -> None:
        encoder_id = encoder_of_outbox(name)
        while True:
            [(first, raw)] = await self._client.evaluate(
                self._peek, [ScriptCall([name, outbox_position_key(name)], [_PAGE])]
            )
            if not raw:
                return
            applied = await self._apply_page(
                encoder_id, name, first, len(raw), changes_of(map(unpack_outbox_entry, raw))
            )
            # Another service may have applied another number of them.
            await self._client.evaluate(
                self._trim,
                [ScriptCall([name, outbox_position_key(name)], [first, min(max(applied - first, 0), len(raw))])],
            )

    async def _apply_page(self, encoder_id: str, source: str, first: int, entries: int, changes: Changes) -> int:
        keys = PopularityKeys(encoder_id)
        arguments: list[bytes | str | int] = [source, first, entries]
        for day, fields in changes.items():
            arguments += [day, len(fields)]
            for field, change in fields.items():
                arguments += [field, change]
        call = ScriptCall([keys.days, keys.positions, *map(keys.day, changes)], arguments)
        [applied] = await self._client.evaluate(self._apply, [call])
        return int(applied)


def changes_of(entries: Iterable[OutboxEntry]) -> Changes:
    """What entries add up to."""
    changes: Changes = {}
    for entry in entries:
        day, field = popularity_field(entry.kind, entry.time_us, entry.product)
        fields = changes.setdefault(day, {})
        fields[field] = fields.get(field, 0) + entry.sign * pack_change(entry.time_us)
    return changes
