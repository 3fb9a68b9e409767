"""The use case: users in, their best products or their predicted ratings out."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Final, Protocol

import numpy as np

from ranking_service.network.head import PAIRS_AT_ONCE, batch_users
from ranking_service.ranking.jobs import Job, PredictJob, RankJob, ScoredProducts
from ranking_service.ranking.score import score_jobs
from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.feature_lookup import FeatureLookup
from ranking_service.upstream.user_batch import Known, UserBatch
from twotower.batcher import Batcher, Done
from twotower.errors import Overloaded
from twotower.features import Float32

_QUICK_PAIRS: Final = 2_400
"""(user, product) pairs that are scored in the event loop, 0.3 ms."""
_LOOKUP_USERS: Final = 512
"""Users that are looked up at once; they are scored 128 at a time, whose scores fit the cache."""
_MIN_OVERLAPPED_USERS: Final = 16
"""A batch that is looked up while another is scored has at least these."""
_LINGER_S: Final = 0.004
"""About as long as 16 callers need to get their answers and come back."""


@dataclass(frozen=True)
class Durations:
    """Where the time of a request went, in seconds."""

    queue_s: float
    feature_lookup_s: float
    compute_s: float


@dataclass(frozen=True)
class Ranking:
    """The answer to one request: its users, in order, in one or more parts."""

    parts: list[ScoredProducts]
    durations: Durations


@dataclass(frozen=True)
class _JobAnswer:
    scored: ScoredProducts
    waited_s: float
    feature_lookup_s: float
    compute_s: float


class Popularity(Protocol):
    """What scores hold now; :class:`ranking_service.upstream.live_popularity.LivePopularity` is one."""

    def snapshot(self, served: ServedRelease) -> Snapshot:
        """The latest popularity."""


class Ranker:
    """Batches users, asks for their features and scores them.

    Args:
        features: where features come from.
        popularity: what the scores hold.
        executor: in whose threads batches are scored, so that the event loop stays free.
        max_queue_users: users that may wait for a place in a batch.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        features: FeatureLookup,
        popularity: Popularity,
        executor: Executor,
        *,
        max_queue_users: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._features = features
        self._popularity = popularity
        self._executor = executor
        self._clock = clock
        self._batcher: Batcher[ServedRelease, Job, _JobAnswer] = Batcher(
            self._process,
            weight=attrgetter("user_count"),
            max_batch_weight=_lookup_users,
            max_queued_weight=max_queue_users,
            overloaded=lambda users, wait_s: Overloaded(
                f"{users} users are waiting, the limit is {max_queue_users}", wait_s
            ),
            max_in_flight=2,
            min_overlapped_weight=_MIN_OVERLAPPED_USERS,
            linger_s=_LINGER_S,
            inline=True,
            clock=clock,
        )

    async def rank(self, served: ServedRelease, job: RankJob, timeout_s: float | None = None) -> Ranking:
        """The best k products of each user, any number of users.

        Args:
            served: the release to answer with.
            job: what is wanted.
            timeout_s: time left.

        Raises:
            Overloaded, SpaceMismatch.
        """
        users = job.user_ids
        size = batch_users(len(served.catalogue))
        if len(users) <= size:
            return await self._submit(served, [job], timeout_s)
        parts = (users[start : start + size] for start in range(0, len(users), size))
        return await self._submit(served, [job.of(part) for part in parts], timeout_s)

    async def predict(self, served: ServedRelease, job: PredictJob, timeout_s: float | None = None) -> Ranking:
        """Scores and predicted ratings of given catalogue rows for one user, in the order given.

        Raises:
            Overloaded, SpaceMismatch.
        """
        return await self._submit(served, [job], timeout_s)

    async def scores(self, served: ServedRelease, user_ids: Sequence[str]) -> Float32:
        """Scores (users, products) outside the queue, for comparisons; at most 128 users.

        Raises:
            SpaceMismatch.
        """
        batch = await self._features.get(served, user_ids)
        log_popularity = self._popularity.snapshot(served).log_popularity
        score = partial(_scores, served, batch.rows, log_popularity)
        return await asyncio.get_running_loop().run_in_executor(self._executor, score)

    async def _submit(self, served: ServedRelease, jobs: Sequence[Job], timeout_s: float | None) -> Ranking:
        done: list[Done[_JobAnswer]] = await self._batcher.submit(served, jobs, timeout_s)
        durations = Durations(
            queue_s=max(part.queue_s + part.answer.waited_s for part in done),
            feature_lookup_s=sum(part.answer.feature_lookup_s for part in done),
            compute_s=sum(part.answer.compute_s for part in done),
        )
        return Ranking([part.answer.scored for part in done], durations)

    async def _process(self, served: ServedRelease, jobs: Sequence[Job]) -> Sequence[_JobAnswer]:
        start = self._clock()
        batch = await self._look_up(served, jobs)
        looked_up = self._clock()
        popularity = self._popularity.snapshot(served)

        def compute() -> Sequence[_JobAnswer]:
            begin = self._clock()
            parts = _parts(jobs, batch_users(len(served.catalogue)))
            answers = [
                answer for part, users in parts for answer in score_jobs(served, part, batch.part(users), popularity)
            ]
            compute_s = self._clock() - begin
            return [_JobAnswer(scored, begin - looked_up, looked_up - start, compute_s) for scored in answers]

        if _is_quick(served, jobs):
            return compute()
        return await asyncio.get_running_loop().run_in_executor(self._executor, compute)

    async def _look_up(self, served: ServedRelease, jobs: Sequence[Job]) -> UserBatch:
        """Features of all users in one look-up; those who go on from a page bring theirs along."""
        asking = [job for job in jobs if not (isinstance(job, RankJob) and job.page)]
        user_ids = [user_id for job in asking for user_id in job.user_ids]
        staleness = (
            [job.max_staleness_s for job in asking for _ in job.user_ids]
            if any(job.max_staleness_s for job in asking)
            else []
        )
        batch = await self._features.get(served, user_ids, staleness) if asking else UserBatch.empty()
        return batch if len(asking) == len(jobs) else _with_pages(jobs, batch)


def _lookup_users(served: ServedRelease) -> int:
    """Users of one batch: as many as the scores of several scored parts may take memory, for a look-up costs the less
    the larger it is.
    """
    return max(1, min(_LOOKUP_USERS, PAIRS_AT_ONCE // max(1, len(served.catalogue))))


def _parts(jobs: Sequence[Job], most_users: int) -> Iterator[tuple[Sequence[Job], slice]]:
    """The jobs of a batch in parts to be scored at once, each with its users' places in the batch."""
    first = user = start = size = 0
    for place, job in enumerate(jobs):
        if size and size + job.user_count > most_users:
            yield jobs[first:place], slice(start, user)
            first, start, size = place, user, 0
        size += job.user_count
        user += len(job.user_ids)
    yield jobs[first:], slice(start, user)


def _is_quick(served: ServedRelease, jobs: Sequence[Job]) -> bool:
    """Whether the event loop may score the jobs itself: a thread would take longer to wake up."""
    users = sum(job.user_count for job in jobs)
    return users * len(served.catalogue) <= _QUICK_PAIRS and all(
        isinstance(job, PredictJob) or job.plain for job in jobs
    )


def _scores(served: ServedRelease, rows: Float32, log_popularity: Float32 | None) -> Float32:
    return served.scoring.scores(served.scorer(rows), log_popularity)


def _with_pages(jobs: Sequence[Job], batch: UserBatch) -> UserBatch:
    """The looked-up users, with those who go on from a page in their places."""
    rows: list[Float32] = []
    seen: list[list[int]] = []
    known: list[Known] = []
    start = 0
    for job in jobs:
        if isinstance(job, RankJob) and job.page:
            rows.append(job.page.row[np.newaxis])
            seen.append(job.page.seen)
            known.append(job.page.known)
        else:
            part = slice(start, start + len(job.user_ids))
            start = part.stop
            rows.append(batch.rows[part])
            seen += batch.seen[part]
            known += batch.known[part]
    return UserBatch(np.concatenate(rows), seen, known)
