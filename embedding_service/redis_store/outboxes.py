"""Outboxes: what reviews change in live popularity, from the user's slot to the counters, exactly once.

A product's counters can't be in the slots of all users, so a user's script can't change them. It pushes the change to a
list in its own slot instead, in the same atomic step as the review (docs/adr/0011-popularity-by-outbox.md). Entries are
applied by position: the counters remember how far each outbox is applied, so that a crash between applying and
removing, or two services at it, count nothing twice.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from embedding_service.redis_store.background import repeat
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import (
    ENCODER_IDS_KEY,
    PopularityKeys,
    all_outbox_keys,
    encoder_of_outbox,
    outbox_position_key,
)
from embedding_service.redis_store.layouts import OutboxEntry, pack_change, popularity_field, unpack_outbox_entry

_PAGE: Final = 2000
_SWEEP_S: Final = 30.0
_CLUSTER_SWEEP_S: Final = 300.0
_PAUSE_S: Final = 0.1
_PAGE_FIELDS: Final = 2000
_CHANGES: Final = 20_000
"""Changes of counters that are remembered for readers: of some seconds of an import, otherwise of hours."""
Changes = dict[int, dict[bytes, int]]
"""Day since 1970 → field of its hash → packed change."""


class Outboxes:
    """Empties outboxes into the counters.

    On one server there is one outbox per encoder; in a cluster one for each slot that was written to.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._dirty: set[str] = set()
        self._woken = asyncio.Event()
        self._draining = asyncio.Lock()
        self._peek = Script("peek_outbox", prelude=False, effect="none")
        self._apply = Script("apply_popularity", prelude=False, effect="frees")
        self._trim = Script("trim_outbox", prelude=False, effect="frees")

    async def evaluate(self, script: Script, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script that pushes to outboxes: each call's second key, which is emptied soon."""
        try:
            return await self._client.evaluate(script, calls, durable=True)
        finally:
            self.wake(call.keys[1] for call in calls)

    def wake(self, outboxes: Iterable[str]) -> None:
        """These may have new entries."""
        self._dirty.update(outboxes)
        self._woken.set()

    async def run(self) -> None:
        """Empty outboxes as they fill, until cancelled.

        Now and then all of them are looked at, for a service that died may have left some full.
        """
        period_s = _CLUSTER_SWEEP_S if self._client.is_cluster else _SWEEP_S
        next_sweep = 0.0

        async def sweep_and_drain() -> None:
            nonlocal next_sweep
            if (now := time.monotonic()) > next_sweep:
                await self.sweep()
                next_sweep = now + period_s
            await self.drain()

        await repeat("emptying outboxes", sweep_and_drain, period_s=period_s, woken=self._woken, pause_s=_PAUSE_S)

    async def sweep(self) -> None:
        """Look for entries in every outbox that may exist."""
        self._dirty.update(name for name, (_, entries) in (await self.positions()).items() if entries)

    async def positions(self) -> dict[str, tuple[int, int]]:
        """Entries taken out so far, and entries in it, of every outbox that was ever used."""
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
        for day in sorted(changes):
            fields = list(changes[day].items())
            for start in range(0, len(fields), _PAGE_FIELDS):
                page = {day: dict(fields[start : start + _PAGE_FIELDS])}
                first = await self._apply_page(encoder_id, source, first, 1, page)

    async def _drain_one(self, name: str) -> None:
        encoder_id, keys = encoder_of_outbox(name), [name, outbox_position_key(name)]
        while True:
            [(first, page)] = await self._client.evaluate(self._peek, [ScriptCall(keys, [_PAGE])])
            if not page:
                return
            changes = changes_of(map(unpack_outbox_entry, page))
            applied = await self._apply_page(encoder_id, name, first, len(page), changes)
            # Another service may have applied another number of them.
            removed = min(max(applied - first, 0), len(page))
            await self._client.evaluate(self._trim, [ScriptCall(keys, [first, removed])])

    async def _apply_page(self, encoder_id: str, source: str, first: int, entries: int, changes: Changes) -> int:
        keys = PopularityKeys(encoder_id)
        arguments: list[bytes | str | int] = [source, first, entries, _CHANGES]
        for day, fields in changes.items():
            arguments += [day, len(fields)]
            for field, change in fields.items():
                arguments += [field, change]
        call = ScriptCall([keys.days, keys.positions, keys.changes, keys.floor, *map(keys.day, changes)], arguments)
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
