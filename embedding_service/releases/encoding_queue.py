"""The encoding queue: texts of many callers, encoded a batch at a time off the event loop."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import Final, Protocol

import numpy as np

from twotower.batcher import Batcher
from twotower.encoder import Encoded
from twotower.errors import Overloaded
from twotower.features import Int16

_RETRY_AFTER_S: Final = 0.5
_CHARACTERS: Final = 512
"""Of a text that counts as one; a longer one counts as more, because it takes longer."""
_MOST_CHARACTERS: Final = 8192


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

    Callers take turns: of each, two batches at most are in front of the encoder, and the rest waits in a line of its
    own, so that nobody waits for all that another has sent. One caller has half of the places at most.

    Args:
        encoder: embeds a batch in a thread.
        max_queued_texts: texts of 512 characters, waiting or in hand, beyond which a request is refused.
        batch_texts: a batch takes as many such texts; small, so that a request waits for few others.
    """

    def __init__(self, encoder: Encoder, *, max_queued_texts: int, batch_texts: int) -> None:
        self._encoder = encoder
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._batcher: Batcher[None, Sequence[str], Encoded] = Batcher(
            self._encode_batch,
            weight=_cost,
            max_batch_weight=lambda _: batch_texts,
            max_queued_weight=max_queued_texts,
            overloaded=lambda texts, _: Overloaded(f"the encoder's queue is full ({texts} texts wait)", _RETRY_AFTER_S),
        )
        self._most, self._batch = max_queued_texts, batch_texts
        self._admitted = 0
        self._lines: dict[str, _Line] = {}

    @property
    def encoder_id(self) -> str:
        """The encoder's content id."""
        return self._encoder.encoder_id

    @property
    def queued_texts(self) -> int:
        """Texts waiting, those being encoded not counted."""
        return self._batcher.queued_weight

    async def encode(self, texts: Sequence[str], caller: str = "") -> Encoded:
        """Embed texts, in order.

        Args:
            texts: at least one.
            caller: whose share of the queue they take; "" is the service itself, which may have all of it.

        Raises:
            Overloaded: the queue is full, or the caller's share of it.
        """
        cost = _cost(texts)
        line = self._lines.get(caller) or _Line(2 * self._batch)
        if self._admitted and self._admitted + cost > self._most:
            raise Overloaded(f"the encoder's queue is full: {_waits(self._admitted)}", _RETRY_AFTER_S)
        if caller and line.admitted and line.admitted + cost > self._most // 2:
            raise Overloaded(f"your share of the encoder's queue is full: {_waits(line.admitted)}", _RETRY_AFTER_S)
        self._lines[caller] = line
        self._admitted += cost
        line.admitted += cost
        try:
            if cost <= self._batch:
                return await self._in_turn(line, texts)
            parts = [asyncio.ensure_future(self._in_turn(line, part)) for part in _parts(texts, self._batch)]
            try:
                return _joined([await part for part in parts])
            finally:
                for part in parts:
                    part.cancel()
        finally:
            self._admitted -= cost
            line.admitted -= cost
            if not line.admitted and self._lines.get(caller) is line:
                del self._lines[caller]

    async def _in_turn(self, line: "_Line", texts: Sequence[str]) -> Encoded:
        cost = _cost(texts)
        await line.enter(cost)
        try:
            [done] = await self._batcher.submit(None, [texts])
        finally:
            line.leave(cost)
        return done.answer

    async def close(self) -> None:
        """End the batch in hand and stop; callers still waiting are told to come again."""
        await self._batcher.close(Overloaded("the encoder was replaced", _RETRY_AFTER_S))
        self._executor.shutdown()

    async def _encode_batch(self, _: None, requests: Sequence[Sequence[str]]) -> list[Encoded]:
        texts = [text for request in requests for text in request]
        encoded = await asyncio.get_running_loop().run_in_executor(self._executor, self._encoder.encode, texts)
        return [_rows(encoded, start, end) for start, end in pairwise(accumulate(map(len, requests), initial=0))]


class _Line:
    """One caller's texts: those in front of the encoder, and those that wait behind them, in order.

    Args:
        most: texts in front of the encoder.
    """

    def __init__(self, most: int) -> None:
        self.admitted = 0
        self._most = most
        self._inside = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, cost: int) -> None:
        """Return when there is room; whoever enters leaves."""
        if not self._waiting and self._has_room(cost):
            self._inside += cost
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((cost, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(cost)
            raise

    def leave(self, cost: int) -> None:
        """Make room for those who wait."""
        self._inside -= cost
        while self._waiting:
            cost, turn = self._waiting[0]
            if not turn.done():
                if not self._has_room(cost):
                    return
                self._inside += cost
                turn.set_result(None)
            self._waiting.popleft()

    def _has_room(self, cost: int) -> bool:
        return not self._inside or self._inside + cost <= self._most


def _cost(texts: Sequence[str]) -> int:
    return sum(1 + min(len(text), _MOST_CHARACTERS) // _CHARACTERS for text in texts)


def _waits(cost: int) -> str:
    return f"what waits costs as much as {cost:,} short texts"


def _parts(texts: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Cut texts into parts of at most `most`, or one text."""
    start = cost = 0
    for end, text in enumerate(texts):
        own = _cost([text])
        if end > start and cost + own > most:
            yield texts[start:end]
            start, cost = end, 0
        cost += own
    yield texts[start:]


def _joined(parts: Sequence[Encoded]) -> Encoded:
    return Encoded(
        np.concatenate([part.fixed_point for part in parts]),
        tuple(count for part in parts for count in part.token_counts),
        tuple(cut for part in parts for cut in part.truncated),
    )


def _rows(encoded: Encoded, start: int, end: int) -> Encoded:
    return Encoded(encoded.fixed_point[start:end], encoded.token_counts[start:end], encoded.truncated[start:end])


def worst_difference(found: Int16, expected: Int16) -> int:
    """Largest difference of two fixed-point arrays, in units of 1/32767."""
    return int(np.abs(found.astype(np.int32) - expected).max(initial=0))
