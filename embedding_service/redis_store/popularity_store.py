"""Live popularity in Redis: the outboxes' counters, read back."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from embedding_service.ports import HourlyCounts
from embedding_service.redis_store.client import RedisClient
from embedding_service.redis_store.keys import PopularityKeys
from embedding_service.redis_store.layouts import FIELD_HOUR, FIELD_PRODUCT, unpack_counter
from embedding_service.redis_store.outboxes import Changes, Outboxes
from twotower.scoring import US_PER_DAY


class RedisPopularityStore:
    """A :class:`~embedding_service.ports.PopularityStore`."""

    def __init__(self, client: RedisClient, outboxes: Outboxes) -> None:
        self._client = client
        self._outboxes = outboxes

    async def settle(self) -> None:
        """See the protocol."""
        await self._outboxes.drain()

    async def hourly_counts(self, encoder_id: str, now_us: int, horizon_days: float) -> HourlyCounts:
        """See the protocol."""
        keys = PopularityKeys(encoder_id)
        today = now_us // US_PER_DAY
        newest = await self._client.one("ZREVRANGEBYSCORE", keys.days, today, "-inf", "LIMIT", 0, 1)
        if not newest:
            return HourlyCounts([], *np.zeros((3, 0), np.int64))
        days = [
            int(day) for day in await self._client.one("ZRANGEBYSCORE", keys.days, int(newest[0]) - horizon_days, today)
        ]
        return await self.hours_of_days(encoder_id, days)

    async def all_days(self, encoder_id: str) -> list[int]:
        """Days since 1970 that have counters."""
        return [int(day) for day in await self._client.one("ZRANGE", PopularityKeys(encoder_id).days, 0, -1)]

    async def hours_of_days(self, encoder_id: str, days: list[int]) -> HourlyCounts:
        """The counters of days, named and anonymous reviews together."""
        products: list[str] = []
        rows: list[tuple[int, int, int]] = []
        for day, fields in (await self.fields_of_days(encoder_id, days)).items():
            for field, packed in fields.items():
                products.append(field[FIELD_PRODUCT].decode())
                rows.append((24 * day + int(field[FIELD_HOUR]), *unpack_counter(packed)))
        columns = np.array(rows, np.int64).reshape(-1, 3).T
        return HourlyCounts(products, columns[0], columns[1], columns[2])

    async def fields_of_days(self, encoder_id: str, days: list[int]) -> Changes:
        """The hashes of days as they are."""
        keys = PopularityKeys(encoder_id)
        replies = await self._client.send([("HGETALL", keys.day(day)) for day in days])
        return {
            day: {field: int(packed) for field, packed in _pairs(fields)}
            for day, fields in zip(days, replies, strict=True)
        }


def _pairs(reply: Mapping[bytes, bytes] | Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Fields and values of HGETALL: flat as Redis sends them, or a mapping as redis-py's cluster client makes it."""
    return reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
