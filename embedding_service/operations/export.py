"""Users' state as a table."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from embedding_service.operations.verify import Verifier
from embedding_service.ports import Space
from embedding_service.redis_store.layouts import unpack_accumulators
from embedding_service.redis_store.user_store import RedisUserStore
from twotower.features import running_mean


async def export_users(
    store: RedisUserStore, space: Space, path: Path, on_progress: Callable[[int], None] = lambda _: None
) -> int:
    """Write the state of every user in a space as Parquet, one row per user; complete or not at all.

    Columns: ``user_id``, ``review_count``, ``changed_us`` (µs since 1970), ``bert_mean`` (384 × float32), ``als`` (64 ×
    float32; null where none is fresh), ``seen_product_ids``.

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
            async for logs in Verifier(store).logs():
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
                writer.write_table(
                    pa.table([pa.array(columns[name], kind) for name, kind in fields.items()], schema=schema)
                )
                rows += len(states)
                on_progress(len(states))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows
