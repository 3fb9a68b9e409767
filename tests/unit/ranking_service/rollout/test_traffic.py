"""A canary that is worse goes by itself; a shadow is compared."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ranking_service.ranking.jobs import RankJob
from ranking_service.ranking.ranker import Ranker
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.registry import FolderRegistry
from ranking_service.release.served import open_served
from ranking_service.rollout.traffic import Outcomes, Traffic, compare, why_worse
from ranking_service.upstream.feature_lookup import FeatureLookup
from tests.support.fake_embedding import to_columns, warm_user
from tests.support.ranking import releases_of
from tests.support.releases import ReferenceScorer, random_user_rows, write_random_release
from tests.support.spaces import any_space
from twotower.errors import SpaceMismatch
from twotower.model import score_catalogue
from twotower.v1 import embedding_service_pb2, types_pb2


def outcomes(requests: int, failures: int, seconds: float = 0.002) -> Outcomes:
    made = Outcomes()
    for index in range(requests):
        made.record(index < failures, seconds)
    return made


@pytest.mark.parametrize(
    ("canary", "stable", "reason"),
    [
        (outcomes(99, 99), outcomes(500, 0), None),  # too few to say
        (outcomes(100, 100), outcomes(0, 0), "100.0% of its requests fail or are degraded"),
        (outcomes(200, 20), outcomes(1000, 0), "10.0%"),
        (outcomes(200, 20), outcomes(1000, 100), None),  # both equally bad
        (outcomes(200, 1), outcomes(1000, 0), None),  # chance
        (outcomes(200, 0, 0.012), outcomes(1000, 0, 0.004), "12.00 ms"),
        (outcomes(200, 0, 0.005), outcomes(1000, 0, 0.004), None),
        (outcomes(200, 0, 0.5), outcomes(10, 0, 0.004), None),
    ],
)
def test_what_is_worse(canary: Outcomes, stable: Outcomes, reason: str | None) -> None:
    found = why_worse(canary, stable)
    assert (found is None) if reason is None else (found is not None and reason in found)


class Source:
    """Warm users; refuses one space if told to."""

    def __init__(self) -> None:
        self.refused = ""

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        if space.als_id == self.refused:
            raise SpaceMismatch("not this one")
        return to_columns(
            [warm_user(row, []) for row in random_user_rows(np.random.default_rng(0), len(user_ids))], space
        )


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    root = tmp_path_factory.mktemp("releases")
    a, b = (write_random_release(root, products=30, seed=seed).release_id for seed in range(2))
    return root, a, b


async def test_a_failing_canary_is_rolled_back(ids: tuple[Path, str, str], caplog: pytest.LogCaptureFixture) -> None:
    root, a, b = ids
    source = Source()
    with ThreadPoolExecutor(1) as loading, ThreadPoolExecutor(1) as scoring:
        releases = releases_of(FolderRegistry(root), loading)
        traffic = Traffic(
            releases,
            Ranker(
                FeatureLookup(source, any_space().mismatched),
                lambda _: PopularitySnapshot(),
                scoring,
                max_queue_users=100,
            ),
        )
        await releases.load(a)
        await releases.set_canary(b, 0.5)
        assert releases.canary
        source.refused = releases.canary.space.als_id
        failed = 0
        with caplog.at_level(logging.ERROR):
            for i in range(1_000):
                ranking = await traffic.rank(releases.for_user(f"user {i}"), RankJob((f"user {i}",), 3, False))
                failed += ranking.parts[0].contexts[0].degraded
                if not releases.canary:
                    break
                if traffic._dropping:
                    await traffic._dropping
        assert releases.labels.canary == ""
        assert failed == 100
        assert "rolled back: 100.0% of its requests fail or are degraded" in caplog.text


async def test_a_canary_that_is_set_again_is_judged_anew(ids: tuple[Path, str, str]) -> None:
    root, a, b = ids
    source = Source()
    with ThreadPoolExecutor(1) as loading, ThreadPoolExecutor(1) as scoring:
        releases = releases_of(FolderRegistry(root), loading)
        ranker = Ranker(
            FeatureLookup(source, any_space().mismatched), lambda _: PopularitySnapshot(), scoring, max_queue_users=100
        )
        traffic = Traffic(releases, ranker)
        await releases.load(a)

        async def ask(requests: int) -> None:
            for i in range(requests):
                await traffic.rank(releases.for_user(f"user {i}"), RankJob((f"user {i}",), 3, False))

        await releases.set_canary(b, 1.0)
        assert releases.canary
        source.refused = releases.canary.space.als_id
        await ask(99)  # one less than it is judged by
        await releases.clear(b)
        await ask(1)
        source.refused = ""
        await releases.set_canary(b, 1.0)
        await ask(99)
        assert (releases.labels.canary, traffic._dropping) == (b, None)


async def test_a_shadow_is_compared_and_never_answers(ids: tuple[Path, str, str]) -> None:
    root, a, b = ids
    with ThreadPoolExecutor(1) as loading, ThreadPoolExecutor(1) as scoring:
        releases = releases_of(FolderRegistry(root), loading)
        ranker = Ranker(
            FeatureLookup(Source(), any_space().mismatched),
            lambda _: PopularitySnapshot(),
            scoring,
            max_queue_users=100,
        )
        traffic = Traffic(releases, ranker)
        await releases.load(a)
        await releases.set_shadow(b)
        assert releases.shadow
        ranking = await traffic.rank(releases.for_user("ann"), RankJob(("ann", "bob"), 5, False))
        while traffic._comparing:
            await asyncio.shield(traffic._comparing)
        done = traffic.comparison
        rows = random_user_rows(np.random.default_rng(0), 2)
        both = [
            score_catalogue(s.weights, rows, s.scorer._release.product_fusion)  # type: ignore[attr-defined]
            for s in (releases.current, releases.shadow)
        ]
        best = [np.argsort(-scores, axis=1)[:, :10] for scores in both]
        overlap = np.mean([len({*x} & {*y}) / 10 for x, y in zip(*map(np.ndarray.tolist, best), strict=True)])
        difference = np.abs(np.take_along_axis(both[0] - both[1], best[0], 1)).mean()
        assert (done.shadow_id, done.user_count) == (b, 2)
        assert done.mean_overlap == pytest.approx(overlap)
        assert done.mean_score_difference == pytest.approx(difference, rel=1e-4)
        assert ranking.parts[0].products[0].tolist() == best[0][0, :5].tolist()
        await releases.clear(b)
        assert traffic.comparison.user_count == 0


def test_a_release_agrees_with_itself(ids: tuple[Path, str, str]) -> None:
    served = open_served(ids[0] / ids[1], ReferenceScorer)
    scores = np.random.default_rng(1).normal(size=(3, 30)).astype(np.float32)
    assert compare(served.catalogue, served.catalogue, scores, scores) == (3.0, 0.0)
