"""A user's features straight from Redis, in numpy: a reader of the contract in docs/formats/redis.md, schema version 2.

Copy it, or import it: it needs redis-py (a `redis.Redis` of the caller's) and numpy, and never writes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class StoredFeatures(NamedTuple):
    """Mean embedding (384,) float32, ALS vector (64,) float32 and products seen; the last two are None until the
    service folds in again.
    """

    review_count: int
    bert_mean: NDArray[np.float32]
    als: NDArray[np.float32] | None
    seen_product_ids: list[str] | None


def read_user(redis: Any, user_id: str, encoder_id: str, als_id: str) -> StoredFeatures | None:
    """Features of a user in a release's space; None for one without reviews."""
    if redis.get("tt:schema") != b"2":
        raise ValueError("this reader knows schema version 2 of the embedding service's keys")
    escaped = user_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    tag = f"tt:{{u:{escaped}}}:"
    accumulator, record = redis.mget(
        f"{tag}acc:{encoder_id}", f"{tag}als:{als_id}"
    )  # one command, so both are of one moment
    if accumulator is None:
        return None
    count = int.from_bytes(accumulator[1536:1540], "big")
    mean = (np.frombuffer(accumulator, ">i4", count=384) / (count * 32767.0)).astype(np.float32)
    if record is None or record[256:264] != accumulator[1540:1548]:  # made from an older state
        return StoredFeatures(count, mean, None, None)
    return StoredFeatures(count, mean, np.frombuffer(record, "<f4", count=64), record[265:].decode().split("\0"))
