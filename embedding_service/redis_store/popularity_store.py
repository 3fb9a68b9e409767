"""Live popularity in Redis: the outboxes' counters, read back."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from embedding_service.ports import HourlyCounts
from embedding_service.redis_store.client import RedisClient, Script, ScriptCall
from embedding_service.redis_store.keys import PopularityKeys
from embedding_service.redis_store.layouts import FIELD_HOUR, FIELD_PRODUCT, unpack_change
from embedding_service.redis_store.outboxes import Changes, Outboxes

_PAGE: Final = 2000


class RedisPopularityStore:
    """A :class:`~embedding_service.ports.PopularityStore`."""

    def __init__(self, client: RedisClient, outboxes: Outboxes) -> None:
        self._client = client
        self._outboxes = outboxes
        self._read_days = Script("read_days", prelude=False, effect="none")
        self._read_changes = Script("read_changes", prelude=False, effect="none")
        self._prune = Script("prune_popularity", prelude=False, effect="frees")

    async def settle(self) -> None:
        """See the protocol."""
        await self._outboxes.drain()

    async def days(self, encoder_id: str) -> tuple[int, list[int]]:
        """See the protocol."""
        keys = PopularityKeys(encoder_id)
        [(position, days)] = await self._client.evaluate(self._read_days, [ScriptCall([keys.positions, keys.days])])
        return position, [int(day) for day in days]

    async def day(self, encoder_id: str, day: int) -> tuple[int, HourlyCounts]:
        """See the protocol."""
        position, fields = await self._day(encoder_id, day)
        return position, _columns((day, *field) for field in fields.items())

    async def changes(self, encoder_id: str, position: int) -> HourlyCounts | None:
        """See the protocol."""
        keys = PopularityKeys(encoder_id)
        call = ScriptCall([keys.positions, keys.changes], [position, _PAGE])
        [page] = await self._client.evaluate(self._read_changes, [call])
        if page is None:
            return None
        parts = (raw.split(b":", 2) for raw in page)
        return _columns((int(day), field, int(change)) for day, change, field in parts)

    async def prune(self, encoder_id: str, before_day: int) -> None:
        """See the protocol."""
        keys = PopularityKeys(encoder_id)
        days = [day for day in await self.all_days(encoder_id) if day < before_day]
        call = ScriptCall([keys.days, keys.floor, *map(keys.day, days)], [before_day])
        await self._client.evaluate(self._prune, [call])

    async def floor(self, encoder_id: str) -> int | None:
        """The first day that is counted; None if no day was pruned."""
        floor = await self._client.one("GET", PopularityKeys(encoder_id).floor)
        return None if floor is None else int(floor)

    async def all_days(self, encoder_id: str) -> list[int]:
        """Days since 1970 that have counters."""
        return (await self.days(encoder_id))[1]

    async def hours_of_days(self, encoder_id: str, days: list[int]) -> HourlyCounts:
        """The counters of days, named and anonymous reviews together."""
        counters = await self.fields_of_days(encoder_id, days)
        return _columns((day, *field) for day, fields in counters.items() for field in fields.items())

    async def fields_of_days(self, encoder_id: str, days: list[int]) -> Changes:
        """The hashes of days as they are, read one at a time."""
        return {day: (await self._day(encoder_id, day))[1] for day in days}

    async def _day(self, encoder_id: str, day: int) -> tuple[int, dict[bytes, int]]:
        keys = PopularityKeys(encoder_id)
        call = ScriptCall([keys.positions, keys.days, keys.day(day)])
        [(position, pairs)] = await self._client.evaluate(self._read_days, [call])
        return position, {field: int(packed) for field, packed in zip(pairs[::2], pairs[1::2], strict=True)}


def _columns(counters: Iterable[tuple[int, bytes, int]]) -> HourlyCounts:
    """Days, fields and packed counts or changes as columns."""
    products: list[str] = []
    rows: list[Sequence[int]] = []
    for day, field, packed in counters:
        products.append(field[FIELD_PRODUCT].decode())
        rows.append((24 * day + int(field[FIELD_HOUR]), *unpack_change(packed)))
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return HourlyCounts(products, columns[0], columns[1], columns[2])
