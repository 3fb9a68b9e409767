"""All that is kept of one user, read from Redis."""

from collections.abc import Iterator

import numpy as np

from embedding_service.ports import AlsOrigin, KeptAls, KeptReview, KeptState, KeptTombstone, KeptUser
from embedding_service.redis_store.client import RedisClient
from embedding_service.redis_store.keys import UserKeys
from embedding_service.redis_store.layouts import unpack_accumulators, unpack_entry, unpack_products
from embedding_service.redis_store.retired_spaces import known_ids
from twotower.features import ALS_DIM, running_mean

_STAMP_BYTES = 8


async def read_user(client: RedisClient, user_id: str) -> KeptUser:
    """What is kept of a user beside the reviews, in every space, also in those that are retired."""
    encoder_ids, als_ids = await known_ids(client)
    keys = UserKeys(user_id)
    *values, tombstone_ids = await client.send(
        [
            *(("GET", keys.accumulator(encoder_id)) for encoder_id in encoder_ids),
            *(("GET", keys.als(als_id)) for als_id in als_ids),
            ("ZRANGE", keys.tombstones, 0, -1),
        ]
    )
    times_us = await client.one("ZMSCORE", keys.tombstones, *tombstone_ids) if tombstone_ids else []
    accumulators = dict(zip(encoder_ids, values[: len(encoder_ids)], strict=True))
    vectors = dict(zip(als_ids, values[len(encoder_ids) :], strict=True))
    return KeptUser(
        [_state(encoder_id, value) for encoder_id, value in accumulators.items() if value],
        [_als(als_id, value) for als_id, value in vectors.items() if value],
        [
            KeptTombstone(name.decode(), int(float(time_us or 0)))
            for name, time_us in zip(tombstone_ids, times_us, strict=True)
        ],
    )


async def read_reviews(client: RedisClient, user_id: str, after: tuple[str, str], limit: int) -> list[KeptReview]:
    """Up to `limit` of a user's reviews that come after an encoder id and review id, in that order."""
    encoder_ids, _ = await known_ids(client)
    keys, reviews = UserKeys(user_id), list[KeptReview]()
    for encoder_id in encoder_ids:
        ids = sorted(name.decode() for name in await client.one("HKEYS", keys.log(encoder_id)))
        page = [name for name in ids if (encoder_id, name) > after][: limit - len(reviews)]
        if page:
            entries = await client.one("HMGET", keys.log(encoder_id), *page)
            reviews += _reviews(encoder_id, page, entries)
    return reviews


def _reviews(encoder_id: str, ids: list[str], entries: list[bytes | None]) -> Iterator[KeptReview]:
    for review_id, raw in zip(ids, entries, strict=True):
        if raw is not None:  # taken back meanwhile
            entry = unpack_entry(raw)
            time_us = entry.time_us if entry.counted else None
            stars = entry.micro_stars / 1e6
            yield KeptReview(encoder_id, review_id, entry.product_id, stars, time_us, entry.fixed_point)


def _state(encoder_id: str, accumulator: bytes) -> KeptState:
    sums, counts, changed_us = unpack_accumulators([accumulator])
    [mean] = running_mean(sums, np.maximum(counts, 1))
    return KeptState(encoder_id, int(counts[0]), int(changed_us[0]), mean, unpack_products(accumulator))


def _als(als_id: str, record: bytes) -> KeptAls:
    size = 4 * ALS_DIM
    return KeptAls(als_id, AlsOrigin(record[size + _STAMP_BYTES]), np.frombuffer(record[:size], "<f4"))
