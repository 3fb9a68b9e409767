"""A user's features straight from Redis, in numpy: a reader of docs/formats/redis.md, schema version 3.

Copy it or import it. It needs numpy and a `redis.Redis` of the caller's, and it never writes.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class StoredFeatures(NamedTuple):
    """A user's features; the ALS vector is None until the service folds in again.

    Attributes:
        review_count: reviews of the user.
        bert_mean: (384,) float32 running mean of the review embeddings.
        als: (64,) float32.
        seen_product_ids: products that the user has reviewed, in the order of their first reviews.
    """

    review_count: int
    bert_mean: NDArray[np.float32]
    als: NDArray[np.float32] | None
    seen_product_ids: list[str]


def read_user(redis: Any, user_id: str, encoder_id: str, als_id: str) -> StoredFeatures | None:
    """Read a user's features in the space of a release; None for a user without reviews.

    Raises:
        ValueError: the keys have another schema version.
    """
    if redis.get("tt:schema") != b"3":
        raise ValueError("this reader knows schema version 3 of the embedding service's keys")
    escaped = user_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    tag = f"tt:{{u:{escaped}}}:"
    # One command, so both are of one moment.
    accumulator, record = redis.mget(f"{tag}acc:{encoder_id}", f"{tag}als:{als_id}")
    if accumulator is None:
        return None
    count = int.from_bytes(accumulator[1536:1540], "big")
    mean = (np.frombuffer(accumulator, ">i4", count=384) / (count * 32767.0)).astype(np.float32)
    seen: dict[bytes, None] = {}
    for word in accumulator[1552:].split(b"\0"):
        if word.startswith(b"\xff"):  # reviewed no longer
            seen.pop(word[1:], None)
        else:
            seen[word] = None
    is_fresh = record is not None and record[256:264] == accumulator[1540:1548]  # else made from an older state
    als = np.frombuffer(record, "<f4", count=64) if is_fresh else None
    return StoredFeatures(count, mean, als, [product.decode() for product in seen])
