"""The use case: users in, their best products or predicted ratings out."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
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
MAX_USERS: Final = 1_024
"""Users of one request."""
_LOOKUP_USERS: Final = 512
"""Users that are looked up at once: the more, the less a look-up costs per user."""
_SCORED_USERS: Final = 128
"""Users that are scored at once: their scores fit the cache."""
_MIN_OVERLAPPED_USERS: Final = 16
"""A batch that is looked up while another is scored has at least these."""
_SPECIAL_WORK: Final = 400
"""Units of work, about 4 ms, of requests beyond the plain best k that are done at once: others wait no longer."""
_QUEUED_WORK_PER_USER: Final = 10
"""Units of such work that may wait, per plain user that may."""
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
        # Filters, diversity, pages and explanations have a queue of their own, measured by what they cost: they run in
        # short batches beside the plain ones, never in front of them.
        most_work = _QUEUED_WORK_PER_USER * max_queue_users
        self._special: Batcher[ServedRelease, RankJob, _JobAnswer] = Batcher(
            self._process,
            weight=_work,
            max_batch_weight=lambda _: _SPECIAL_WORK,
            max_queued_weight=most_work,
            overloaded=lambda work, wait_s: Overloaded(
                f"{work} units of work beyond plain rankings are waiting, the limit is {most_work}", wait_s
            ),
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
        users, products = job.user_ids, len(served.catalogue)
        if not job.plain:
            job = replace(job, product_count=products)
            size = max(1, min(_SCORED_USERS, _SPECIAL_WORK // job.work_per_user))
            return await self._in_turns(served, job, size, size, timeout_s)
        size = users_at_once(products, _SCORED_USERS)
        if len(users) <= size:
            return await self._submit(served, [job], timeout_s)
        return await self._in_turns(served, job, size, users_at_once(products, MAX_USERS), timeout_s)

    async def _in_turns(
        self, served: ServedRelease, job: RankJob, size: int, most_queued: int, timeout_s: float | None
    ) -> Ranking:
        """Rank `size` users at a time, of whom at most `most_queued` wait at once: so requests take turns."""
        parts = [job.for_users(job.user_ids[start : start + size]) for start in range(0, len(job.user_ids), size)]
        at_once = max(1, most_queued // size)
        deadline = None if timeout_s is None else self._clock() + timeout_s
        rankings = []
        for start in range(0, len(parts), at_once):
            left_s = None if deadline is None else deadline - self._clock()
            rankings.append(await self._submit(served, parts[start : start + at_once], left_s))
        return rankings[0] if len(rankings) == 1 else _joined(rankings)

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
        first = jobs[0]
        done: list[Done[_JobAnswer]]
        if isinstance(first, RankJob) and not first.plain:
            done = await self._special.submit(served, [first], timeout_s)
        else:
            done = await self._batcher.submit(served, jobs, timeout_s)
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


def _work(job: RankJob) -> int:
    return len(job.user_ids) * job.work_per_user


def _joined(rankings: Sequence[Ranking]) -> Ranking:
    durations = [ranking.durations for ranking in rankings]
    return Ranking(
        [part for ranking in rankings for part in ranking.parts],
        Durations(
            sum(one.queue_s for one in durations),
            sum(one.feature_lookup_s for one in durations),
            sum(one.compute_s for one in durations),
        ),
    )


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
