"""The use case: users in, their best products or predicted ratings out."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import numpy as np

from ranking_service.ranking.jobs import Job, PredictJob, RankJob, ScoredProducts
from ranking_service.ranking.score import score_jobs
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease, users_at_once
from ranking_service.upstream.feature_lookup import FeatureLookup
from ranking_service.upstream.user_batch import UserBatch, UserContext
from twotower.batcher import Batcher, Done
from twotower.errors import Overloaded
from twotower.features import Float32

# docs/adr/0017-what-runs-beside-what.md has the figures behind these.
_INLINE_PAIRS: Final = 2_400
"""(user, product) pairs that are scored in the event loop, 0.3 ms."""
_LOOKUP_USERS: Final = 512
"""Users that are looked up at once: the more, the less a look-up costs per user."""
_SCORED_USERS: Final = 128
"""Users that are scored at once: their scores fit the cache."""
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
    executor_wait_s: float
    feature_lookup_s: float
    compute_s: float


class Ranker:
    """Batches users, asks for their features and scores them.

    Args:
        features: where features come from.
        popularity: what the scores of a release are to hold now.
        executor: the threads that score batches, so that the event loop stays free.
        max_queue_users: users that may wait for a place in a batch.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        features: FeatureLookup,
        popularity: Callable[[ServedRelease], PopularitySnapshot],
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
            max_batch_weight=lambda served: users_at_once(len(served.catalogue), _LOOKUP_USERS),
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
        """Rank the best k products of each user, for any number of users.

        Args:
            served: the release to answer with.
            job: what is wanted.
            timeout_s: how long the caller will wait.

        Raises:
            Overloaded.
        """
        users = job.user_ids
        size = users_at_once(len(served.catalogue), _SCORED_USERS)
        if len(users) <= size:
            return await self._submit(served, [job], timeout_s)
        parts = (users[start : start + size] for start in range(0, len(users), size))
        return await self._submit(served, [job.for_users(part) for part in parts], timeout_s)

    async def predict(self, served: ServedRelease, job: PredictJob, timeout_s: float | None = None) -> Ranking:
        """Score given products for one user, in the order given.

        Raises:
            Overloaded.
        """
        return await self._submit(served, [job], timeout_s)

    async def scores(self, served: ServedRelease, user_ids: Sequence[str]) -> Float32:
        """Score at most 128 users outside the queue, (users, products) float32, for comparisons."""
        batch = await self._features.get(served, user_ids)
        log_popularity = self._popularity(served).log_popularity

        def compute() -> Float32:
            return served.scoring.scores(served.scorer(batch.rows), log_popularity)

        return await asyncio.get_running_loop().run_in_executor(self._executor, compute)

    async def _submit(self, served: ServedRelease, jobs: Sequence[Job], timeout_s: float | None) -> Ranking:
        done: list[Done[_JobAnswer]] = await self._batcher.submit(served, jobs, timeout_s)
        durations = Durations(
            queue_s=max(part.queue_s + part.answer.executor_wait_s for part in done),
            feature_lookup_s=sum(part.answer.feature_lookup_s for part in done),
            compute_s=sum(part.answer.compute_s for part in done),
        )
        return Ranking([part.answer.scored for part in done], durations)

    async def _process(self, served: ServedRelease, jobs: Sequence[Job]) -> Sequence[_JobAnswer]:
        start = self._clock()
        batch = await self._look_up(served, jobs)
        looked_up = self._clock()
        popularity = self._popularity(served)

        def compute() -> Sequence[_JobAnswer]:
            begin = self._clock()
            parts = _parts(jobs, users_at_once(len(served.catalogue), _SCORED_USERS))
            answers = [
                answer for part, users in parts for answer in score_jobs(served, part, batch.part(users), popularity)
            ]
            compute_s = self._clock() - begin
            return [_JobAnswer(scored, begin - looked_up, looked_up - start, compute_s) for scored in answers]

        if _is_scored_inline(served, jobs):
            return compute()
        return await asyncio.get_running_loop().run_in_executor(self._executor, compute)

    async def _look_up(self, served: ServedRelease, jobs: Sequence[Job]) -> UserBatch:
        """Look all users up at once; those who go on from a page bring their features along."""
        first_pages = [job for job in jobs if not (isinstance(job, RankJob) and job.page)]
        user_ids = [user_id for job in first_pages for user_id in job.user_ids]
        staleness = (
            [job.max_staleness_s for job in first_pages for _ in job.user_ids]
            if any(job.max_staleness_s for job in first_pages)
            else []
        )
        batch = await self._features.get(served, user_ids, staleness) if first_pages else UserBatch.empty()
        return batch if len(first_pages) == len(jobs) else _with_pages(jobs, batch)


def _parts(jobs: Sequence[Job], most_users: int) -> Iterator[tuple[Sequence[Job], slice]]:
    """Yield the jobs of a batch in parts to be scored at once, each with its users' places in the batch."""
    first = user = start = size = 0
    for index, job in enumerate(jobs):
        if size and size + job.user_count > most_users:
            yield jobs[first:index], slice(start, user)
            first, start, size = index, user, 0
        size += job.user_count
        user += len(job.user_ids)
    yield jobs[first:], slice(start, user)


def _is_scored_inline(served: ServedRelease, jobs: Sequence[Job]) -> bool:
    """Whether the event loop may score the jobs itself: a thread would take longer to wake up."""
    users = sum(job.user_count for job in jobs)
    return users * len(served.catalogue) <= _INLINE_PAIRS and all(
        isinstance(job, PredictJob) or job.plain for job in jobs
    )


def _with_pages(jobs: Sequence[Job], batch: UserBatch) -> UserBatch:
    """Put those who go on from a page between the looked-up users, in the order of the jobs."""
    rows: list[Float32] = []
    seen: list[list[int]] = []
    contexts: list[UserContext] = []
    start = 0
    for job in jobs:
        if isinstance(job, RankJob) and job.page:
            rows.append(job.page.row[np.newaxis])
            seen.append(job.page.seen)
            contexts.append(job.page.context)
        else:
            part = slice(start, start + len(job.user_ids))
            start = part.stop
            rows.append(batch.rows[part])
            seen += batch.seen[part]
            contexts += batch.contexts[part]
    return UserBatch(np.concatenate(rows), seen, contexts)
