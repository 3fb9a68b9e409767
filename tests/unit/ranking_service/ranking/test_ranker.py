"""The use case: users are looked up together and scored in parts."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from ranking_service.ranking.jobs import RankJob
from ranking_service.ranking.ranker import Ranker, Ranking
from ranking_service.ranking.rerank import Selection
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.upstream.feature_lookup import FeatureLookup
from tests.support.fake_embedding import to_columns, warm_user
from tests.support.releases import product_id, random_user_rows, write_random_release
from tests.support.spaces import any_space
from twotower.model import score_catalogue
from twotower.release import Release
from twotower.v1 import embedding_service_pb2, types_pb2

PRODUCTS = 12


@dataclass
class Reference:
    """The numpy network as a scorer."""

    release: Release
    batch_sizes: list[int] = field(default_factory=list)

    def warm_up(self) -> None:
        pass

    def __call__(self, user_rows: np.ndarray) -> np.ndarray:
        self.batch_sizes.append(len(user_rows))
        return score_catalogue(self.release.weights, user_rows, self.release.product_fusion)


@dataclass
class Source:
    """Feature source that counts its calls."""

    served: ServedRelease
    calls: list[int] = field(default_factory=list)

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        assert space == self.served.space
        self.calls.append(len(user_ids))
        await asyncio.sleep(0)
        rows = [
            random_user_rows(np.random.default_rng(int(user_id.removeprefix("user "))), 1)[0] for user_id in user_ids
        ]
        return to_columns([warm_user(row, [product_id(3)]) for row in rows], space)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS)
    return open_served(release.path, Reference)


async def test_users_are_looked_up_together_and_scored_in_parts(served: ServedRelease) -> None:
    source = Source(served)
    with ThreadPoolExecutor(1) as executor:
        ranker = Ranker(
            FeatureLookup(source, any_space().mismatched),
            lambda _: PopularitySnapshot(),
            executor,
            max_queue_users=2000,
        )
        ids = [f"user {i}" for i in range(300)]
        ranking = await ranker.rank(served, RankJob(tuple(ids), 4, False))
        assert [part.products.shape for part in ranking.parts] == [(128, 4), (128, 4), (44, 4)]
        assert source.calls == [300]
        assert isinstance(served.scorer, Reference)
        assert served.scorer.batch_sizes[-3:] == [128, 128, 44]
        assert not any(3 in part.products for part in ranking.parts)
        source.calls.clear()
        singles = await asyncio.gather(*(ranker.rank(served, RankJob((user_id,), 4, False)) for user_id in ids[:20]))
        assert source.calls == [1, 16, 3]
        for index, single in enumerate(singles):
            np.testing.assert_array_equal(single.parts[0].products[0], ranking.parts[0].products[index])
        durations = ranking.durations
        assert min(durations.queue_s, durations.feature_lookup_s, durations.compute_s) >= 0


async def test_a_long_special_request_takes_turns_and_is_answered_whole(served: ServedRelease) -> None:
    """It waits in the queue with one part at a time, so that another one is answered in between."""
    finished: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        lookup = FeatureLookup(Source(served), any_space().mismatched)
        ranker = Ranker(lookup, lambda _: PopularitySnapshot(), executor, max_queue_users=2000)
        job = RankJob(tuple(f"user {i}" for i in range(300)), 12, False, Selection(diversity=0.5))

        async def rank(name: str, job: RankJob) -> Ranking:
            ranking = await ranker.rank(served, job)
            finished.append(name)
            return ranking

        long, short = await asyncio.gather(rank("long", job), rank("short", job.for_users(["user 299"])))
    assert finished == ["short", "long"]
    assert sum(len(part.products) for part in long.parts) == 300
    np.testing.assert_array_equal(long.parts[-1].products[-1], short.parts[0].products[0])
