"""Users' state as a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedding_service.operations.verify import UserLog, Verifier
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
                if states:
                    columns = await _columns(store, space, states)
                    arrays = [pa.array(columns[name], kind) for name, kind in fields.items()]
                    writer.write_table(pa.table(arrays, schema=schema))
                    rows += len(states)
                    on_progress(len(states))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


async def _columns(store: RedisUserStore, space: Space, states: Sequence[UserLog]) -> dict[str, Any]:
    user_ids = [state.user_id for state in states]
    sums, counts, changed_us = unpack_accumulators([state.accumulator for state in states])
    stored = await store.read(space, user_ids)
    is_fresh = ((stored.changed_us == changed_us) & (stored.als_origins > 0)).tolist()
    return {
        "user_id": user_ids,
        "review_count": counts,
        "changed_us": changed_us,
        "bert_mean": list(running_mean(sums, np.maximum(counts, 1))),
        "als": [vector if fresh else None for vector, fresh in zip(stored.als, is_fresh, strict=True)],
        "seen_product_ids": [sorted(state.seen) for state in states],
    }
