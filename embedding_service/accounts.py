"""What users take in Redis, and their state as a table."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from embedding_service.records import USER_PATTERN, unpack_accumulators, unpack_key
from embedding_service.redis_link import RedisLink
from embedding_service.redis_store import RedisStore
from embedding_service.store import Space
from embedding_service.upkeep import Upkeep
from twotower.features import running_mean

SAMPLE_EVERY: Final = 20


@dataclass
class Usage:
    """Memory by kind of key (``acc``, ``log``, ``seen``, ``als``, ``shared``, ``gone``).

    Attributes:
        users: with any state.
        keys: kind → keys.
        sampled: kind → keys asked.
        sampled_bytes: kind → bytes that Redis says they take, key and bookkeeping included.
    """

    users: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    sampled: Counter[str] = field(default_factory=Counter)
    sampled_bytes: Counter[str] = field(default_factory=Counter)

    def bytes_of(self, kind: str) -> float:
        """Estimate for all keys of a kind."""
        return self.keys[kind] * self.sampled_bytes[kind] / max(self.sampled[kind], 1)


async def usage(link: RedisLink) -> Usage:
    """Ask Redis for the memory of every twentieth key, and of the first ones of each kind.

    Raises:
        StoreUnavailable.
    """
    found = Usage()
    users: set[str] = set()
    async for keys in link.scan(USER_PATTERN):
        asked = []
        for key in keys:
            user, kind, _ = unpack_key(key)
            if kind == "acc":
                users.add(user)
            if found.keys[kind] % SAMPLE_EVERY == 0 or found.keys[kind] < SAMPLE_EVERY:
                asked.append((kind, key))
            found.keys[kind] += 1
        replies = await link.send([("MEMORY USAGE", key) for _, key in asked])
        for (kind, _), size in zip(asked, replies, strict=True):
            found.sampled[kind] += 1
            found.sampled_bytes[kind] += size or 0
    found.users = len(users)
    return found


async def export_users(store: RedisStore, space: Space, path: Path, on_progress: Callable[[int], None] = lambda _: None) -> int:
    """Write the state of every user in a space as Parquet, a row a user, complete or not at all.

    Columns: ``user_id``, ``review_count``, ``changed_us`` (µs since 1970), ``bert_mean`` (384 × float32), ``als`` (64 × float32; null where
    none is fresh), ``seen_product_ids``.

    Returns:
        Users written.

    Raises:
        StoreUnavailable.
    """
    import pyarrow as pa
    from pyarrow import parquet

    fields = {
        "user_id": pa.string(),
        "review_count": pa.int64(),
        "changed_us": pa.int64(),
        "bert_mean": pa.list_(pa.float32(), 384),
        "als": pa.list_(pa.float32(), 64),
        "seen_product_ids": pa.list_(pa.string()),
    }
    schema = pa.schema(list(fields.items()), metadata={"encoder_id": space.encoder_id, "als_id": space.als_id})
    temporary = path.with_name(f".writing-{path.name}")
    rows = 0
    try:
        with parquet.ParquetWriter(temporary, schema) as writer:
            async for logs in Upkeep(store).logs():
                states = [log for log in logs if log.encoder_id == space.encoder_id and log.accumulator]
                if not states:
                    continue
                sums, counts, changed = unpack_accumulators([log.accumulator for log in states])
                stored = await store.read(space, [log.user_id for log in states])
                fresh = (stored.changed_us == changed) & (stored.als_origins > 0)
                columns = {
                    "user_id": [log.user_id for log in states],
                    "review_count": counts,
                    "changed_us": changed,
                    "bert_mean": list(running_mean(sums, np.maximum(counts, 1))),
                    "als": [row if valid else None for row, valid in zip(stored.als, fresh.tolist(), strict=True)],
                    "seen_product_ids": [sorted(log.seen) for log in states],
                }
                writer.write_table(pa.table([pa.array(columns[name], kind) for name, kind in fields.items()], schema=schema))
                rows += len(states)
                on_progress(len(states))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows
