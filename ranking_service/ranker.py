"""The use case: users in, their best products or their predicted ratings out."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from clients.features import FeaturesUnavailable
from ranking_service.batcher import Batcher, Done
from ranking_service.features import FeatureSource, UserBatch, cold_start, from_features
from ranking_service.head import MAX_BATCH
from ranking_service.releases import ServedRelease
from twotower.features import Float32, Int64
from twotower.model import top_k
from twotower.v1 import ranking_service_pb2

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankJob:
    """Rank the catalogue for up to 128 users."""

    user_ids: tuple[str, ...]
    k: int
    include_seen: bool

    @property
    def user_count(self) -> int:
        """Users in the job."""
        return len(self.user_ids)


@dataclass(frozen=True)
class PredictJob:
    """Score given products, by catalogue row and in this order, for one user."""

    user_ids: tuple[str]
    products: Int64
    user_count: int = 1


@dataclass(frozen=True)
class ScoredProducts:
    """Products with their numbers for each of some users, in columns, in the order of the answer.

    Attributes:
        products: (users, k) int64 catalogue rows.
        scores: (users, k) float32.
        ratings: (users, k) float32, 0–5.
        counts: for each user, how many of the k are an answer; the rest are products that the user has seen.
        contexts: what is known of each user.
    """

    products: Int64
    scores: Float32
    ratings: Float32
    counts: list[int]
    contexts: list[ranking_service_pb2.UserContext]


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


class Ranker:
    """Batches users, asks for their features and scores them.

    Args:
        features: where features come from.
        executor: of one thread, in which batches are scored; so the event loop stays free and batches don't fight for the cores.
        max_queue_users: users that may wait for a place in a batch.
        clock: seconds, monotonic.
    """

    def __init__(
        self, features: FeatureSource, executor: Executor, *, max_queue_users: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._features = features
        self._executor = executor
        self._clock = clock
        self._batcher: Batcher[ServedRelease, RankJob | PredictJob, _JobAnswer] = Batcher(
            self._process, max_batch_users=MAX_BATCH, max_queue_users=max_queue_users, clock=clock
        )

    async def rank(
        self, served: ServedRelease, user_ids: Sequence[str], *, k: int, include_seen: bool, timeout_s: float | None = None
    ) -> Ranking:
        """The best k products of each user.

        Args:
            served: the release to answer with.
            user_ids: at least one.
            k: 1 to the size of the catalogue; fewer come back for a user who has seen the rest.
            include_seen: also rank what the user has reviewed.
            timeout_s: time left.

        Raises:
            Overloaded, SpaceMismatch.
        """
        parts = (tuple(user_ids[start : start + MAX_BATCH]) for start in range(0, len(user_ids), MAX_BATCH))
        return await self._submit(served, [RankJob(part, k, include_seen) for part in parts], timeout_s)

    async def predict(self, served: ServedRelease, user_id: str, products: Sequence[int], timeout_s: float | None = None) -> Ranking:
        """Scores and predicted ratings of given catalogue rows for one user, in the order given.

        Raises:
            Overloaded, SpaceMismatch.
        """
        return await self._submit(served, [PredictJob((user_id,), np.array(products, np.int64))], timeout_s)

    async def _submit(self, served: ServedRelease, jobs: Sequence[RankJob | PredictJob], timeout_s: float | None) -> Ranking:
        done: list[Done[_JobAnswer]] = await self._batcher.submit(served, jobs, timeout_s)
        durations = Durations(
            queue_s=max(part.queue_s + part.answer.waited_s for part in done),
            feature_lookup_s=sum(part.answer.feature_lookup_s for part in done),
            compute_s=sum(part.answer.compute_s for part in done),
        )
        return Ranking([part.answer.scored for part in done], durations)

    async def _process(self, served: ServedRelease, jobs: Sequence[RankJob | PredictJob]) -> list[_JobAnswer]:
        start = self._clock()
        batch = await self._look_up(served, [user_id for job in jobs for user_id in job.user_ids])
        looked_up = self._clock()

        def compute() -> list[_JobAnswer]:
            begin = self._clock()
            answers = score_jobs(served, jobs, batch)
            compute_s = self._clock() - begin
            return [_JobAnswer(scored, begin - looked_up, looked_up - start, compute_s) for scored in answers]

        return await asyncio.get_running_loop().run_in_executor(self._executor, compute)

    async def _look_up(self, served: ServedRelease, user_ids: Sequence[str]) -> UserBatch:
        try:
            return from_features(await self._features.get(user_ids, served.space), served)
        except FeaturesUnavailable as error:
            _LOG.warning("%d users are answered as cold ones: %s", len(user_ids), error)
            return cold_start(user_ids, served)


def score_jobs(served: ServedRelease, jobs: Sequence[RankJob | PredictJob], batch: UserBatch) -> list[ScoredProducts]:
    """Score one batch and answer each of its jobs.

    Args:
        served: the release.
        jobs: whose users are, one after the other, the rows of `batch`.
        batch: the users.

    Returns:
        One answer a job.
    """
    network = served.scorer(batch.rows)
    scores, ratings = served.scoring.scores(network), served.scoring.ratings(network)
    slices = list(_slices(jobs))
    order = _order(jobs, slices, scores, batch)
    best_scores, best_ratings = np.take_along_axis(scores, order, 1), np.take_along_axis(ratings, order, 1)
    answers = []
    for job, rows in zip(jobs, slices, strict=True):
        contexts = batch.contexts[rows]
        if isinstance(job, PredictJob):
            chosen = job.products
            answers.append(ScoredProducts(chosen[np.newaxis], scores[rows, chosen], ratings[rows, chosen], [len(chosen)], contexts))
        else:
            counts = [job.k if job.include_seen else min(job.k, scores.shape[1] - len(seen)) for seen in batch.seen[rows]]
            k = slice(job.k)
            answers.append(ScoredProducts(order[rows, k], best_scores[rows, k], best_ratings[rows, k], counts, contexts))
    return answers


def _slices(jobs: Sequence[RankJob | PredictJob]) -> Iterator[slice]:
    """Each job's rows of the batch."""
    start = 0
    for job in jobs:
        yield slice(start, start + job.user_count)
        start += job.user_count


def _order(jobs: Sequence[RankJob | PredictJob], slices: Sequence[slice], scores: Float32, batch: UserBatch) -> Int64:
    """The K best products of every row, K being the largest k of the jobs: the k best are the first k of them."""
    largest = max((job.k for job in jobs if isinstance(job, RankJob)), default=0)
    if not largest:
        return np.zeros((len(scores), 0), np.int64)
    hiding = [
        row for job, rows in zip(jobs, slices, strict=True) if isinstance(job, RankJob) and not job.include_seen for row in _rows(rows)
    ]
    masked = scores.copy()
    masked[[row for row in hiding for _ in batch.seen[row]], [product for row in hiding for product in batch.seen[row]]] = -np.inf
    return top_k(masked, largest)


def _rows(rows: slice) -> range:
    return range(rows.start, rows.stop)
