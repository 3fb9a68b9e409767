"""Puts concurrent requests together into batches: bounded, without waiting when idle, and without harm from those who
leave.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from twotower.errors import Overloaded


class Job(Protocol):
    """What the batcher needs to know of a job."""

    @property
    def user_count(self) -> int:
        """Users in the job, at least 1."""


JobT = TypeVar("JobT", bound=Job)
KeyT = TypeVar("KeyT")
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
    deadline: float | None
    since: float
    first: bool
    future: "asyncio.Future[Done[AnswerT]]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[KeyT, JobT, AnswerT]):
    """A queue of jobs in front of `process`.

    A job is dispatched at once while no batch runs; otherwise it waits, and the next batch takes all that came in the
    meantime, up to `max_batch_users`. A batch does not wait for the one before if it has `worthwhile_users`: smaller
    ones cost more than they gain. A job that is cancelled or past its deadline leaves the queue and frees its place; if
    its batch already runs, only its own answer is dropped.

    Those whom a batch has answered come back soon after: so after a batch of several callers the next waits until as
    many users are there again, at most `patience_s`. Otherwise the first to come back would be a batch by itself, the
    others would wait for it, and under load small batches would follow each other for ever.

    Args:
        process: answers the jobs of one batch, in order. If it raises, every job of the batch fails with that error.
        max_batch_users: a batch of a key has at most this many users, or one job.
        max_queue_users: users that may wait.
        max_in_flight: batches that run at the same time; with 2, one asks for features while the other computes.
        worthwhile_users: that must wait for a batch to be dispatched beside another.
        patience_s: longest that a job waits, while no batch runs, for as many as were answered last.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        process: Callable[[KeyT, Sequence[JobT]], Awaitable[Sequence[AnswerT]]],
        *,
        max_batch_users: Callable[[KeyT], int],
        max_queue_users: int,
        max_in_flight: int = 2,
        worthwhile_users: int = 1,
        patience_s: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._process = process
        self._max_batch_users = max_batch_users
        self._max_queue_users = max_queue_users
        self._max_in_flight = max_in_flight
        self._worthwhile_users = worthwhile_users
        self._patience_s = patience_s
        self._expected = 0
        self._patience: asyncio.TimerHandle | None = None
        self._clock = clock
        self._queue: dict[int, _Waiting[KeyT, JobT, AnswerT]] = {}
        self._tickets = itertools.count()
        self._queued_users = 0
        self._seconds_per_user = 1e-4
        self._in_flight = 0
        self._running: set[asyncio.Task[None]] = set()

    @property
    def queued_users(self) -> int:
        """Users waiting now."""
        return self._queued_users

    async def submit(self, key: KeyT, jobs: Sequence[JobT], timeout_s: float | None = None) -> list[Done[AnswerT]]:
        """Queue jobs, all or none, and wait for all of them.

        Args:
            key: jobs of different keys are never put into one batch.
            jobs: at least one.
            timeout_s: jobs that have not been dispatched by then are dropped.

        Returns:
            One a job, in order.

        Raises:
            Overloaded: the queue has no room for all of them.
            asyncio.CancelledError: the time was over.
        """
        users = sum(job.user_count for job in jobs)
        if self._queued_users + users > self._max_queue_users:
            wait_s = min(max(self._queued_users * self._seconds_per_user, 0.01), 5.0)
            raise Overloaded(f"{self._queued_users} users are waiting, the limit is {self._max_queue_users}", wait_s)
        if not self._in_flight and not self._expected and len(jobs) == 1:
            return [await self._alone(key, jobs[0])]
        now = self._clock()
        deadline = None if timeout_s is None else now + timeout_s
        tickets = [self._enqueue(_Waiting(key, job, deadline, now, place == 0)) for place, job in enumerate(jobs)]
        futures = [self._queue[ticket].future for ticket in tickets]
        self._dispatch()
        try:
            return [await futures[0]] if len(futures) == 1 else await asyncio.gather(*futures)
        finally:
            for ticket, future in zip(tickets, futures, strict=True):
                future.cancel()  # those still waiting when a sibling failed; a finished one ignores it
                self._leave(ticket)

    async def _alone(self, key: KeyT, job: JobT) -> Done[AnswerT]:
        """Nobody else is there: the caller's own task does the work, and a hop to another one is saved."""
        self._in_flight += 1
        [answer] = await self._answers(key, [job], callers=1)
        return Done(answer, 0.0)

    def _enqueue(self, waiting: _Waiting[KeyT, JobT, AnswerT]) -> int:
        ticket = next(self._tickets)
        self._queue[ticket] = waiting
        self._queued_users += waiting.job.user_count
        return ticket

    def _leave(self, ticket: int) -> None:
        waiting = self._queue.pop(ticket, None)
        if waiting:
            self._queued_users -= waiting.job.user_count

    def _dispatch(self) -> None:
        while self._in_flight < self._max_in_flight:
            if self._queued_users < (self._worthwhile_users if self._in_flight else self._expected):
                return
            batch = self._take()
            if not batch:
                return
            self._in_flight += 1
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _take(self) -> list[_Waiting[KeyT, JobT, AnswerT]]:
        """The next batch: the oldest job that is still wanted, and those behind it that fit."""
        now = self._clock()
        batch: list[_Waiting[KeyT, JobT, AnswerT]] = []
        taken: list[int] = []
        users = 0
        for ticket, waiting in self._queue.items():
            if waiting.deadline is not None and waiting.deadline <= now:
                waiting.future.cancel()
            if waiting.future.done():
                taken.append(ticket)
                continue
            if batch and waiting.key != batch[0].key:
                continue
            if batch and users + waiting.job.user_count > self._max_batch_users(batch[0].key):
                break
            batch.append(waiting)
            taken.append(ticket)
            users += waiting.job.user_count
            if users >= self._max_batch_users(batch[0].key):
                break
        for ticket in taken:
            self._leave(ticket)
        return batch

    async def _run(self, batch: list[_Waiting[KeyT, JobT, AnswerT]]) -> None:
        start = self._clock()
        try:
            callers = sum(waiting.first for waiting in batch)
            answers = await self._answers(batch[0].key, [waiting.job for waiting in batch], callers)
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

    async def _answers(self, key: KeyT, jobs: Sequence[JobT], callers: int) -> Sequence[AnswerT]:
        """Process a batch that was counted as in flight; then it is the next one's turn."""
        start = self._clock()
        try:
            return await self._process(key, jobs)
        finally:
            users = sum(job.user_count for job in jobs)
            self._seconds_per_user += 0.1 * ((self._clock() - start) / users - self._seconds_per_user)
            self._in_flight -= 1
            self._expect(callers)
            self._dispatch()

    def _expect(self, callers: int) -> None:
        """Wait for as many callers as have just been answered, for a while."""
        if self._patience:
            self._patience.cancel()
        self._expected = callers if callers > 1 and self._patience_s else 0
        self._patience = (
            asyncio.get_running_loop().call_later(self._patience_s, self._lose_patience) if self._expected else None
        )

    def _lose_patience(self) -> None:
        self._expected, self._patience = 0, None
        self._dispatch()
