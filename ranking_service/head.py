"""The network under XLA: user rows in, scores of the whole catalogue out.

The user tower and the split fusion head are compiled once for each of a few batch sizes; a batch is padded to the next one.
"""

import contextlib
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import numpy as np

from ranking_service.graph import BUCKETS, arrays, build, signature
from twotower.features import USER_DIM, Float32
from twotower.model import TwoTowerWeights

_LOG = logging.getLogger(__name__)
PartT = TypeVar("PartT")

MAX_BATCH: Final = BUCKETS[-1]
PAIRS_AT_ONCE: Final = 4_000_000
"""(user, product) pairs whose scores are in memory at once, 16 MB: a large catalogue is scored for fewer users at a time."""

_SLICED: Final = 20_000
"""Products above which one user is scored by several lanes."""
_LEAST_PART: Final = 4
"""Users below which a batch is not cut into lanes: one user and two take almost the same time."""


def import_tensorflow() -> None:
    """Import TensorFlow, quietly, without looking for a GPU, and with one thread an operation: the lanes use the other cores.

    Takes seconds, so call it off the event loop.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # it already runs: that of the first import holds
        tf.config.threading.set_intra_op_parallelism_threads(1)


class Lanes:
    """Threads that score parts of a batch side by side, one a core.

    Each runs a whole part by itself. That costs less than TensorFlow's own threads, which meet after every operation.

    Args:
        count: cores to use; all that the process may run on if None.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="lane") if self.count > 1 else None

    def map(self, function: Callable[[PartT], Float32], parts: Sequence[PartT]) -> list[Float32]:
        """Apply to every part; one part alone runs in the caller's thread."""
        if self._threads is None or len(parts) == 1:
            return [function(part) for part in parts]
        return list(self._threads.map(function, parts))

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()


class Head:
    """Scores users against every product of one release. Thread-safe.

    Args:
        weights: the network.
        product_fusion: (products, units) float32, the product's half of the first fusion layer.
        lanes: threads to score in; the caller's own if None.
    """

    def __init__(self, weights: TwoTowerWeights, product_fusion: Float32, lanes: Lanes | None = None) -> None:
        self._lanes = lanes or Lanes(1)
        self.product_count = len(product_fusion)
        share = min(MAX_BATCH // self._lanes.count, max(1, PAIRS_AT_ONCE // self.product_count))
        self._largest = max(size for size in BUCKETS if size <= max(1, share))
        self._graph, self._variables = build(weights, product_fusion)
        self._compiled: dict[int, Any] = {}

    def load(self, weights: TwoTowerWeights, product_fusion: Float32) -> None:
        """Take other weights of the same :func:`signature`, without compiling anew; nobody may be scoring."""
        for variable, array in zip(self._variables, arrays(weights, product_fusion), strict=True):
            variable.assign(array)

    def warm_up(self) -> None:
        """Compile every bucket and run it once; takes seconds."""
        for bucket in BUCKETS[: BUCKETS.index(self._largest) + 1]:
            start = time.perf_counter()
            self._bucket(bucket)(_zeros(bucket))
            _LOG.info("compiled %d users × %d products in %.2f s", bucket, self.product_count, time.perf_counter() - start)

    def __call__(self, user_rows: Float32) -> Float32:
        """Score users.

        Args:
            user_rows: (users, 449) float32, any number of users; the caller keeps to :func:`batch_users`.

        Returns:
            (users, products) float32: the network's output. A user's scores in two different batches differ by
            rounding only, less than 1e-5.
        """
        size = min(max(-(-len(user_rows) // self._lanes.count), _LEAST_PART), self._largest)
        parts = self._lanes.map(self._padded, [user_rows[start : start + size] for start in range(0, len(user_rows), size)])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _padded(self, rows: Float32) -> Float32:
        import tensorflow as tf

        count = len(rows)
        bucket = next(size for size in BUCKETS if size >= count)
        if count < bucket:
            rows = np.concatenate([rows, np.zeros((bucket - count, USER_DIM), np.float32)])
        scores: Float32 = self._bucket(bucket)(tf.constant(rows)).numpy()
        return scores[:count]

    def _bucket(self, bucket: int) -> Any:
        if bucket not in self._compiled:
            import tensorflow as tf

            function = tf.function(self._graph, jit_compile=True, autograph=False)
            # A concrete function skips a tenth of a millisecond of signature matching a call.
            self._compiled[bucket] = function.get_concrete_function(tf.TensorSpec([bucket, USER_DIM], tf.float32))
        return self._compiled[bucket]


def _zeros(bucket: int) -> Any:
    import tensorflow as tf

    return tf.zeros([bucket, USER_DIM])


class SlicedHead:
    """The head of a large catalogue: each lane scores its slice of the products, so that one user has all cores.

    Args:
        weights, product_fusion, lanes: as :class:`Head`.
    """

    def __init__(self, weights: TwoTowerWeights, product_fusion: Float32, lanes: Lanes) -> None:
        self._lanes = lanes
        self._heads = [Head(weights, part) for part in np.array_split(product_fusion, lanes.count)]

    def load(self, weights: TwoTowerWeights, product_fusion: Float32) -> None:
        """As :meth:`Head.load`."""
        for head, part in zip(self._heads, np.array_split(product_fusion, len(self._heads)), strict=True):
            head.load(weights, part)

    def warm_up(self) -> None:
        """As :meth:`Head.warm_up`."""
        for head in self._heads:
            head.warm_up()

    def __call__(self, user_rows: Float32) -> Float32:
        """As :meth:`Head.__call__`."""
        return np.concatenate(self._lanes.map(lambda head: head(user_rows), self._heads), axis=1)


def batch_users(product_count: int) -> int:
    """Users to score at once for a catalogue of this size, 1 to 128."""
    return max(1, min(MAX_BATCH, PAIRS_AT_ONCE // max(product_count, 1)))


class HeadPool:
    """Compiled heads to be used again by the next release of the same shape.

    XLA keeps a compiled program for the life of the process, and compiling one takes the cores for seconds. So the head of a release that
    is no longer served takes the weights of the next one.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._free: dict[tuple[object, ...], list[Head | SlicedHead]] = {}

    def open(self, weights: TwoTowerWeights, product_fusion: Float32) -> "PooledHead":
        """A head with these weights; it comes back to the pool when the last reference to it is gone."""
        kind = signature(weights, product_fusion)
        self._free = {kind: self._free.get(kind, [])}
        free = self._free[kind]
        if free:
            head = free.pop()
            head.load(weights, product_fusion)
        else:
            sliced = len(product_fusion) > _SLICED and self._lanes.count > 1
            head = (SlicedHead if sliced else Head)(weights, product_fusion, self._lanes)
        pooled = PooledHead(head)
        weakref.finalize(pooled, free.append, head).atexit = False
        return pooled


class PooledHead:
    """A head of a pool."""

    def __init__(self, head: Head | SlicedHead) -> None:
        self._head = head

    def warm_up(self) -> None:
        """As :meth:`Head.warm_up`."""
        self._head.warm_up()

    def __call__(self, user_rows: Float32) -> Float32:
        """As :meth:`Head.__call__`."""
        return self._head(user_rows)
