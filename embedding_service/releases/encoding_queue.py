"""The encoding queue: texts of many callers, encoded a batch at a time off the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import Final, Protocol

import numpy as np

from twotower.batcher import Batcher
from twotower.encoder import Encoded
from twotower.errors import Overloaded
from twotower.features import Int16

_RETRY_AFTER_S: Final = 0.5


class Encoder(Protocol):
    """What the queue needs of :class:`twotower.encoder.TextEncoder`."""

    @property
    def encoder_id(self) -> str:
        """Content id."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts; blocks."""


class EncodingQueue:
    """Coalesces callers' texts into batches for one encoder.

    Nothing waits when the encoder is idle; while it works, the texts that arrive become the next batch, and equal texts
    in it are inferred once. A caller who was cancelled leaves the queue.

    Args:
        encoder: embeds a batch in a thread.
        max_queued_texts: texts waiting beyond which a request is refused.
        batch_texts: a batch takes whole requests until it has this many texts; small, so that a request waits for few
            others.
    """

    def __init__(self, encoder: Encoder, *, max_queued_texts: int, batch_texts: int) -> None:
        self._encoder = encoder
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._batcher: Batcher[None, Sequence[str], Encoded] = Batcher(
            self._encode_batch,
            weight=len,
            max_batch_weight=lambda _: batch_texts,
            max_queued_weight=max_queued_texts,
            overloaded=lambda texts, _: Overloaded(f"the encoder's queue is full ({texts} texts wait)", _RETRY_AFTER_S),
        )

    @property
    def encoder_id(self) -> str:
        """The encoder's content id."""
        return self._encoder.encoder_id

    @property
    def queued_texts(self) -> int:
        """Texts waiting, those being encoded not counted."""
        return self._batcher.queued_weight

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, in order.

        Raises:
            Overloaded: the queue is full.
        """
        [done] = await self._batcher.submit(None, [texts])
        return done.answer

    async def close(self) -> None:
        """End the batch in hand and stop; callers still waiting are told to come again."""
        await self._batcher.close(Overloaded("the encoder was replaced", _RETRY_AFTER_S))
        self._executor.shutdown()

    async def _encode_batch(self, _: None, requests: Sequence[Sequence[str]]) -> list[Encoded]:
        texts = [text for request in requests for text in request]
        encoded = await asyncio.get_running_loop().run_in_executor(self._executor, self._encoder.encode, texts)
        return [_rows(encoded, start, end) for start, end in pairwise(accumulate(map(len, requests), initial=0))]


def _rows(encoded: Encoded, start: int, end: int) -> Encoded:
    return Encoded(encoded.fixed_point[start:end], encoded.token_counts[start:end], encoded.truncated[start:end])


def worst_difference(found: Int16, expected: Int16) -> int:
    """Largest difference of two fixed-point arrays, in units of 1/32767."""
    return int(np.abs(found.astype(np.int32) - expected).max(initial=0))
