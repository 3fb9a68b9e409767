"""The encoding queue: texts of many callers, encoded a batch at a time off the event loop."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

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


@dataclass
class _Job:
    texts: Sequence[str]
    done: asyncio.Future[Encoded]


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
        self._max_queued_texts = max_queued_texts
        self._batch_texts = batch_texts
        self._jobs: deque[_Job] = deque()
        self._queued_texts = 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._worker: asyncio.Task[None] | None = None

    @property
    def encoder_id(self) -> str:
        """The encoder's content id."""
        return self._encoder.encoder_id

    @property
    def queued_texts(self) -> int:
        """Texts waiting, those being encoded not counted."""
        return self._queued_texts

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Embed texts, in order.

        Raises:
            Overloaded: the queue is full.
        """
        if self._jobs and self._queued_texts + len(texts) > self._max_queued_texts:
            raise Overloaded(f"the encoder's queue is full ({self._queued_texts} texts wait)", _RETRY_AFTER_S)
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._queued_texts += len(texts)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        try:
            return await job.done
        except asyncio.CancelledError:
            self._leave(job)
            raise

    async def close(self) -> None:
        """End the batch in hand and stop; callers still waiting are told to come again."""
        for job in self._jobs:
            if not job.done.done():
                job.done.set_exception(Overloaded("the encoder was replaced", _RETRY_AFTER_S))
        self._jobs.clear()
        self._queued_texts = 0
        if self._worker is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        self._executor.shutdown()

    def _leave(self, job: _Job) -> None:
        with contextlib.suppress(ValueError):  # its batch has started
            self._jobs.remove(job)
            self._queued_texts -= len(job.texts)

    async def _drain(self) -> None:
        while self._jobs:
            batch = self._take()
            texts = [text for job in batch for text in job.texts]
            try:
                encoded = await asyncio.get_running_loop().run_in_executor(self._executor, self._encoder.encode, texts)
            except Exception as error:
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(error)
                continue
            start = 0
            for job in batch:
                stop = start + len(job.texts)
                if not job.done.done():
                    job.done.set_result(_rows(encoded, start, stop))
                start = stop

    def _take(self) -> list[_Job]:
        batch: list[_Job] = []
        size = 0
        while self._jobs and (not batch or size + len(self._jobs[0].texts) <= self._batch_texts):
            job = self._jobs.popleft()
            self._queued_texts -= len(job.texts)
            size += len(job.texts)
            batch.append(job)
        return batch


def _rows(encoded: Encoded, start: int, stop: int) -> Encoded:
    return Encoded(encoded.fixed_point[start:stop], encoded.token_counts[start:stop], encoded.truncated[start:stop])


def worst_difference(found: Int16, expected: Int16) -> int:
    """Largest difference of two fixed-point arrays, in units of 1/32767."""
    return int(np.abs(found.astype(np.int32) - expected).max(initial=0))
