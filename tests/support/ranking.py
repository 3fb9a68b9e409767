"""What unit tests of the ranking service share: a clock, features, scores, and releases that the test chooses."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ranking_service.ranking.jobs import RankJob, ScoredProducts
from ranking_service.ranking.score import score_jobs
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.registry import Registry
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.rollout.releases import Releases
from ranking_service.upstream.user_batch import UserBatch, UserContext
from ranking_service.upstream.user_spaces import UserSpaces
from tests.support.fake_embedding import to_columns, warm_user
from tests.support.releases import ReferenceScorer, product_id, random_product, random_user_rows
from tests.support.spaces import any_space
from twotower.features import ALS_DIM, USER_DIM, Float32
from twotower.scoring import RatingScoring
from twotower.v1 import embedding_service_pb2, types_pb2


@dataclass
class Clock:
    """A clock that the test moves, in seconds."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeFeatures:
    """A source of features of warm users, different at each call, that fails when told to, and remembers its calls."""

    failure: BaseException | None = None
    calls: list[list[str]] = field(default_factory=list)

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        """Answer with users who have reviewed the product whose number is the length of their id."""
        self.calls.append(list(user_ids))
        if self.failure:
            raise self.failure
        rows = random_user_rows(np.random.default_rng(len(self.calls)), len(user_ids))
        users = [warm_user(row, [product_id(len(user_id))]) for user_id, row in zip(user_ids, rows, strict=True)]
        return to_columns(users, space)


@dataclass
class TableScorer:
    """A scorer that answers with given scores; a user's first feature is the row to answer with.

    With a `cold_row`, that is the row of those who have the mean embedding of a release.
    """

    scores: Float32
    cold_row: int | None = None

    def __call__(self, user_rows: Float32) -> Float32:
        rows = user_rows[:, 0].astype(int)
        if self.cold_row is not None:
            rows[user_rows[:, ALS_DIM:].any(axis=1)] = self.cold_row
        return self.scores[rows]


def with_scores(served: ServedRelease, scores: Float32) -> ServedRelease:
    """A release whose network gives these scores, (rows, products), to a catalogue of that size."""
    rng = np.random.default_rng(1)
    towers = rng.normal(size=(scores.shape[1], 64)).astype(np.float32)
    catalogue = Catalogue([random_product(rng, i) for i in range(scores.shape[1])], towers, "r")
    return replace(served, catalogue=catalogue, scorer=TableScorer(scores), scoring=RatingScoring())


def user_batch(rows: Float32, seen: Sequence[list[int]]) -> UserBatch:
    """Warm users; the i-th has i reviews."""
    contexts = [UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_NONE, i) for i in range(len(rows))]
    return UserBatch(rows, list(seen), contexts)


def answer(
    served: ServedRelease,
    job: RankJob,
    seen: list[int],
    row: Float32 | None = None,
    live: PopularitySnapshot | None = None,
) -> ScoredProducts:
    """The answer to one user's job."""
    rows = np.zeros((1, USER_DIM), np.float32) if row is None else row[np.newaxis]
    return score_jobs(served, [job], user_batch(rows, [seen]), live or PopularitySnapshot())[0]


def products_of(answer: ScoredProducts) -> list[int]:
    """The catalogue rows that the one user is answered with."""
    rows: list[int] = answer.products[0, : answer.counts[0]].tolist()
    return rows


def releases_of(registry: Registry, executor: Executor, spaces: UserSpaces | None = None) -> Releases:
    """The releases of a registry, scored by the numpy network."""

    async def nothing() -> None:
        pass

    return Releases(
        registry, partial(open_served, build_scorer=ReferenceScorer), executor, nothing, spaces or any_space()
    )
