"""The network under XLA: user rows in, scores of the whole catalogue out.

The user tower and the split fusion head are compiled once for each of a few batch sizes, and a batch is padded to the
next one (docs/adr/0008-xla-head.md).
"""

import logging
import time
import weakref
from typing import Any, Final

import numpy as np

from ranking_service.network.graph import (
    BUCKETS,
    COMPILER_OPTIONS,
    Activations,
    Parameters,
    activations,
    build,
    import_jax,
    parameters,
)
from ranking_service.network.lanes import Lanes
from ranking_service.release.served import users_at_once
from twotower.features import USER_DIM, Float32
from twotower.model import TwoTowerWeights

_LOG = logging.getLogger(__name__)

_SLICED_ABOVE: Final = 9_600
"""Products above which one user is scored by several lanes."""
_MIN_PART: Final = 4
"""Users below which a batch is not cut into lanes: handing a part over costs as much as scoring a user."""


class Program:
    """The compiled function for one kind of network and one number of products; the weights are its arguments.

    Args:
        names: activations of all layers.
    """

    def __init__(self, names: Activations) -> None:
        self._function = build(names)
        self._compiled: dict[int, Any] = {}

    def compile(self, bucket: int, params: Parameters) -> None:
        """Compile for a batch of this size, unless that was done."""
        if bucket in self._compiled:
            return
        jax = import_jax()
        start = time.perf_counter()
        rows = jax.ShapeDtypeStruct((bucket, USER_DIM), np.float32)
        compiled = jax.jit(self._function).lower(rows, params).compile(COMPILER_OPTIONS)
        memory = compiled.memory_analysis()
        used_bytes = memory.temp_size_in_bytes + memory.output_size_in_bytes + memory.generated_code_size_in_bytes
        _LOG.info(
            "compiled %d users × %d products in %.2f s; a call takes %.0f kB",
            bucket,
            len(params.products),
            time.perf_counter() - start,
            used_bytes / 1024,
        )
        self._compiled[bucket] = compiled

    def __call__(self, rows: Float32, params: Parameters) -> Float32:
        """Score users, (users, 449) → (users, products); a number of users that is no bucket is padded."""
        count = len(rows)
        bucket = next(size for size in BUCKETS if size >= count)
        self.compile(bucket, params)
        if count < bucket:
            rows = np.concatenate([rows, np.zeros((bucket - count, USER_DIM), np.float32)])
        return np.asarray(self._compiled[bucket](rows, params))[:count]


class Programs:
    """The programs in use, shared by all releases of one shape, so that a swap between such releases compiles nothing.

    A program goes with the last head that runs it (docs/adr/0013-heads-are-used-again.md).
    """

    def __init__(self) -> None:
        self._in_use: weakref.WeakValueDictionary[tuple[object, ...], Program] = weakref.WeakValueDictionary()

    def get(self, names: Activations, params: Parameters) -> Program:
        """Return the program for these activations and for arrays of these shapes."""
        shapes = tuple(kernel.shape for kernel, _ in (*params.user_tower, *params.rest))
        key = (names, shapes, params.products.shape, params.table is None)
        program = self._in_use.get(key)
        if program is None:
            program = self._in_use[key] = Program(names)
        return program


class Head:
    """Scores users against every product of one release. Thread-safe.

    Args:
        weights: the network.
        product_fusion: (products, units) float32, the product's half of the first fusion layer.
        lanes: threads to score in; the caller's own if None.
        programs: where to find a program that is compiled already.
    """

    def __init__(
        self,
        weights: TwoTowerWeights,
        product_fusion: Float32,
        lanes: Lanes | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._lanes = lanes or Lanes(1)
        self._buckets = buckets(len(product_fusion))
        self._products = len(product_fusion)
        self._parameters = parameters(weights, product_fusion)
        self._program = (programs or Programs()).get(activations(weights), self._parameters)

    def warm_up(self) -> None:
        """Compile every bucket; takes a second or two the first time."""
        for bucket in self._buckets:
            self._program.compile(bucket, self._parameters)

    def __call__(self, user_rows: Float32) -> Float32:
        """Score users.

        Args:
            user_rows: (users, 449) float32, any number of users; the caller keeps to
                :func:`ranking_service.release.served.users_at_once`.

        Returns:
            (users, products) float32: the network's output, not to be written to. A user's scores in two different
            batches differ by rounding only, less than 1e-5.
        """
        size = min(max(-(-len(user_rows) // self._lanes.count), _MIN_PART), self._buckets[-1])
        if len(user_rows) <= size:
            return self._program(user_rows, self._parameters)
        scores = np.empty((len(user_rows), self._products), np.float32)

        def score(start: int) -> None:
            part = slice(start, start + size)
            scores[part] = self._program(user_rows[part], self._parameters)

        self._lanes.each(score, range(0, len(user_rows), size))
        return scores


class SlicedHead:
    """The head of a large catalogue: each lane scores its slice of the products, so that one user has all cores.

    Args:
        weights, product_fusion, lanes, programs: as :class:`Head`.
    """

    def __init__(self, weights: TwoTowerWeights, product_fusion: Float32, lanes: Lanes, programs: Programs) -> None:
        self._lanes = lanes
        parts = np.array_split(product_fusion, lanes.count)
        self._heads = [Head(weights, part, programs=programs) for part in parts]
        self._ends = np.cumsum([len(part) for part in parts]).tolist()

    def warm_up(self) -> None:
        """Compile every bucket of every slice."""
        for head in self._heads:
            head.warm_up()

    def __call__(self, user_rows: Float32) -> Float32:
        """Score users, as :meth:`Head.__call__`."""
        scores = np.empty((len(user_rows), self._ends[-1]), np.float32)

        def score(part: tuple[Head, int, int]) -> None:
            head, start, end = part
            scores[:, start:end] = head(user_rows)

        self._lanes.each(score, list(zip(self._heads, [0, *self._ends], self._ends, strict=False)))
        return scores


def buckets(product_count: int) -> tuple[int, ...]:
    """Return the batch sizes, in users, that are compiled for a catalogue of this size."""
    return tuple(size for size in BUCKETS if size <= users_at_once(product_count, BUCKETS[-1]))


def open_head(weights: TwoTowerWeights, product_fusion: Float32, lanes: Lanes, programs: Programs) -> Head | SlicedHead:
    """Open the head that suits a catalogue of this size."""
    sliced = len(product_fusion) > _SLICED_ABOVE and lanes.count > 1
    return (SlicedHead if sliced else Head)(weights, product_fusion, lanes, programs)
