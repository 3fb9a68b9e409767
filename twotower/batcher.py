"""Puts concurrent requests together into batches: bounded, without waiting when idle, unharmed by callers who leave."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twotower.errors import Overloaded

KeyT = TypeVar("KeyT")
JobT = TypeVar("JobT")
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Done(Generic[AnswerT]):
    """An answer, and how long its job waited for a place in a batch."""

    answer: AnswerT
    queue_s: float


@dataclass
class _Waiting(Generic[KeyT, JobT, AnswerT]):
    key: KeyT
    job: JobT
    weight: int
    deadline: float | None
    since: float
    first: bool
    future: "asyncio.Future[Done[AnswerT]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[KeyT, JobT, AnswerT]):
    """A queue of jobs in front of `process`; a job has a weight, such as its users or its texts.

    A batch is dispatched at once while none runs; otherwise jobs wait, and the next batch takes all that came in the
    meantime, up to `max_batch_weight`. A batch does not wait for the one before it if `min_overlapped_weight` is there:
    smaller ones cost more than they gain. A job that is cancelled or past its deadline leaves the queue and frees its
    place; if its batch already runs, only its own answer is dropped.

    Callers whom a batch has answered come back soon after (docs/adr/0025-callers-come-back-together.md). With a
    `linger_s`, the batch after one of n > 1 callers therefore waits until a weight of n is there again, but no longer
    than that. Otherwise the first to come back would be a batch by itself, the others would wait for it, and under load
    small batches would follow each other for ever.

    Args:
        process: answers the jobs of one batch, in order. If it raises, every job of the batch fails with that error.
        weight: of a job.
        max_batch_weight: a batch of this key has at most this weight, or one job.
        max_queued_weight: jobs beyond this weight are refused; an empty queue takes any.
        overloaded: the error of a refusal, from the weight that is waiting and the seconds until it will be done.
        max_in_flight: batches that run at the same time; with 2, one may wait for another service while one computes.
        min_overlapped_weight: must be waiting for a batch to be dispatched beside another.
        linger_s: longest that a job waits, while no batch runs, for as many callers as were answered last.
        inline: a caller who is alone runs the batch in its own task, which saves a hop to another one; if that caller
            is cancelled, so is `process`. Otherwise a batch runs in a task of its own, which outlives its callers, and
            takes all who come in the same turn of the event loop.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        process: Callable[[KeyT, Sequence[JobT]], Awaitable[Sequence[AnswerT]]],
        *,
        weight: Callable[[JobT], int],
        max_batch_weight: Callable[[KeyT], int],
        max_queued_weight: int,
        overloaded: Callable[[int, float], Overloaded],
        max_in_flight: int = 1,
        min_overlapped_weight: int = 1,
        linger_s: float = 0.0,
        inline: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._process = process
        self._weight = weight
        self._max_batch_weight = max_batch_weight
        self._max_queued_weight = max_queued_weight
        self._overloaded = overloaded
        self._max_in_flight = max_in_flight
        self._min_overlapped_weight = min_overlapped_weight
        self._linger_s = linger_s
        self._inline = inline
        self._clock = clock
        self._expected = 0
        self._lingering: asyncio.TimerHandle | None = None
        self._queue: dict[int, _Waiting[KeyT, JobT, AnswerT]] = {}
        self._tickets = itertools.count()
        self._queued_weight = 0
        self._seconds_per_weight = 1e-4
        self._in_flight = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def queued_weight(self) -> int:
        """What is waiting now; batches that run are not counted."""
        return self._queued_weight

    async def submit(self, key: KeyT, jobs: Sequence[JobT], timeout_s: float | None = None) -> list[Done[AnswerT]]:
        """Queue jobs, all or none, and wait for all of them.

        Args:
            key: jobs of different keys are never put into one batch.
            jobs: at least one.
            timeout_s: jobs that have not been dispatched by then are dropped.

        Returns:
            One answer per job, in order.

        Raises:
            Overloaded: the queue has no room for all of them.
            asyncio.CancelledError: the time was over.
        """
        weights = [self._weight(job) for job in jobs]
        if self._queue and self._queued_weight + sum(weights) > self._max_queued_weight:
            wait_s = min(max(self._queued_weight * self._seconds_per_weight, 0.01), 5.0)
            raise self._overloaded(self._queued_weight, wait_s)
        if self._inline and not self._in_flight and not self._expected and len(jobs) == 1:
            self._in_flight += 1
            [answer] = await self._answers(key, jobs, weights[0], callers=1)
            return [Done(answer, 0.0)]
        now = self._clock()
        deadline = None if timeout_s is None else now + timeout_s
        tickets = [
            self._enqueue(_Waiting(key, job, weight, deadline, now, index == 0))
            for index, (job, weight) in enumerate(zip(jobs, weights, strict=True))
        ]
        futures = [self._queue[ticket].future for ticket in tickets]
        if self._inline:
            self._dispatch()
        else:
            asyncio.get_running_loop().call_soon(self._dispatch)
        try:
            return [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)
        finally:
            for ticket, future in zip(tickets, futures, strict=True):
                future.cancel()  # those still waiting when a sibling failed; a finished one ignores it
                self._leave(ticket)

    async def close(self, error: Exception) -> None:
        """Fail the jobs that wait with `error`, and let the batches that run end."""
        for ticket, waiting in list(self._queue.items()):
            if not waiting.future.done():
                waiting.future.set_exception(error)
            self._leave(ticket)
        if self._running:
            await asyncio.wait(self._running)

    def _enqueue(self, waiting: _Waiting[KeyT, JobT, AnswerT]) -> int:
        ticket = next(self._tickets)
        self._queue[ticket] = waiting
        self._queued_weight += waiting.weight
        return ticket

    def _leave(self, ticket: int) -> None:
        waiting = self._queue.pop(ticket, None)
        if waiting:
            self._queued_weight -= waiting.weight

    def _dispatch(self) -> None:
        while self._in_flight < self._max_in_flight:
            if self._queued_weight < (self._min_overlapped_weight if self._in_flight else self._expected):
                return
            batch = self._take()
            if not batch:
                return
            self._in_flight += 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take(self) -> list[_Waiting[KeyT, JobT, AnswerT]]:
        """Take the next batch from the queue: the oldest job that is still wanted, and those behind it that fit."""
        now = self._clock()
        batch: list[_Waiting[KeyT, JobT, AnswerT]] = []
        taken: list[int] = []
        weight = 0
        for ticket, waiting in self._queue.items():
            if waiting.deadline is not None and waiting.deadline <= now:
                waiting.future.cancel()
            if waiting.future.done():
                taken.append(ticket)
                continue
            if batch and waiting.key != batch[0].key:
                continue
            if batch and weight + waiting.weight > self._max_batch_weight(batch[0].key):
                break
            batch.append(waiting)
            taken.append(ticket)
            weight += waiting.weight
            if weight >= self._max_batch_weight(batch[0].key):
                break
        for ticket in taken:
            self._leave(ticket)
        return batch

    async def _run(self, batch: list[_Waiting[KeyT, JobT, AnswerT]]) -> None:
        start = self._clock()
        weight, callers = sum(waiting.weight for waiting in batch), sum(waiting.first for waiting in batch)
        try:
            answers = await self._answers(batch[0].key, [waiting.job for waiting in batch], weight, callers)
        except Exception as error:
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        except BaseException:
            for waiting in batch:
                waiting.future.cancel()
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(Done(answer, start - waiting.since))

    async def _answers(self, key: KeyT, jobs: Sequence[JobT], weight: int, callers: int) -> Sequence[AnswerT]:
        """Process a batch that was counted as in flight; then it is the next one's turn."""
        start = self._clock()
        try:
            return await self._process(key, jobs)
        finally:
            self._seconds_per_weight += 0.1 * ((self._clock() - start) / max(weight, 1) - self._seconds_per_weight)
            self._in_flight -= 1
            self._expect(callers)
            self._dispatch()

    def _expect(self, callers: int) -> None:
        """Wait for as many callers as have just been answered, for a while."""
        if self._lingering:
            self._lingering.cancel()
        self._expected = callers if callers > 1 and self._linger_s else 0
        self._lingering = (
            asyncio.get_running_loop().call_later(self._linger_s, self._stop_lingering) if self._expected else None
        )

    def _stop_lingering(self) -> None:
        self._expected, self._lingering = 0, None
        self._dispatch()
