"""Scoring a batch: order, ties, seen products, mixed jobs; and features that must not be used."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.ranking.jobs import PredictJob, RankJob
from ranking_service.ranking.ranker import Ranker
from ranking_service.ranking.score import score_jobs
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import ServedRelease, open_served
from ranking_service.upstream.feature_lookup import FeatureLookup, cold_start, from_columns
from ranking_service.upstream.user_batch import UserBatch, UserContext
from tests.support.embedding import to_columns
from tests.support.releases import product_id, random_product, unit_vectors, write_random_release
from twotower.errors import EmbeddingUnavailable, NotFound, SpaceMismatch
from twotower.features import ALS_DIM, BERT_DIM, USER_DIM
from twotower.model import score_catalogue
from twotower.release import Release
from twotower.scoring import RatingScoring
from twotower.v1 import embedding_service_pb2, types_pb2
from twotower.wire import to_vector

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
class Table:
    """A scorer that answers with given scores; a user's first feature is the row to answer with."""

    scores: np.ndarray

    def warm_up(self) -> None:
        pass

    def __call__(self, user_rows: np.ndarray) -> np.ndarray:
        return self.scores[user_rows[:, 0].astype(int)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedRelease:
    release = write_random_release(tmp_path_factory.mktemp("releases"), products=PRODUCTS)
    return open_served(release.path, Reference)


def with_scores(served: ServedRelease, scores: np.ndarray) -> ServedRelease:
    rng = np.random.default_rng(0)
    catalogue = Catalogue(
        [random_product(rng, i) for i in range(scores.shape[1])], np.zeros((scores.shape[1], 64), np.float32), "r"
    )
    return replace(served, catalogue=catalogue, scorer=Table(scores), scoring=RatingScoring())


@given(data=st.data(), users=st.integers(1, 6), products=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_every_job_is_answered_as_if_alone(
    served: ServedRelease, data: st.DataObject, users: int, products: int
) -> None:
    """Few distinct scores, so ties are everywhere; the expectation is a plain sort by (−score, index)."""
    values = data.draw(
        st.lists(st.sampled_from([0.0, 1.0, 2.5, 6.0]), min_size=users * products, max_size=users * products)
    )
    scores = np.array(values, np.float32).reshape(users, products)
    seen = [sorted(data.draw(st.sets(st.integers(0, products - 1)))) for _ in range(users)]
    jobs: list[RankJob | PredictJob] = []
    for user in range(users):
        if data.draw(st.booleans()):
            jobs.append(RankJob((str(user),), data.draw(st.integers(1, products)), data.draw(st.booleans())))
        else:
            chosen = data.draw(st.lists(st.integers(0, products - 1), min_size=1, max_size=8))
            jobs.append(PredictJob((str(user),), np.array(chosen)))
    rows = np.zeros((users, USER_DIM), np.float32)
    rows[:, 0] = np.arange(users)
    contexts = [UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_TRAINED, user) for user in range(users)]

    for user, (job, answer) in enumerate(
        zip(jobs, score_jobs(with_scores(served, scores), jobs, UserBatch(rows, seen, contexts)), strict=True)
    ):
        if isinstance(job, PredictJob):
            expected = job.products.tolist()
        else:
            allowed = [p for p in range(products) if job.include_seen or p not in seen[user]]
            expected = sorted(allowed, key=lambda p: (-scores[user, p], p))[: job.k]
        (count,) = answer.counts
        assert answer.products[0, :count].tolist() == expected
        assert answer.scores[0, :count].tolist() == [scores[user, p] for p in expected]
        assert answer.ratings[0, :count].tolist() == [min(scores[user, p], 5.0) for p in expected]
        assert [of.review_count for of in answer.contexts] == [user]


def features_of(user_id: str, **changes: object) -> types_pb2.UserFeatures:
    rng = np.random.default_rng(len(user_id))
    features = types_pb2.UserFeatures(
        user_id=user_id,
        kind=types_pb2.USER_KIND_WARM,
        bert_mean=to_vector(unit_vectors(rng, 1)[0]),
        als=to_vector(rng.normal(size=ALS_DIM).astype(np.float32)),
        als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
        review_count=2,
        seen_product_ids=[product_id(3), "gone"],
    )
    features.age.seconds = 60
    features.MergeFrom(types_pb2.UserFeatures(**changes))  # type: ignore[arg-type]
    return features


def test_features_become_rows_in_the_order_of_the_user_tower(served: ServedRelease) -> None:
    warm = features_of("warm")
    anonymous = features_of("anonymous", kind=types_pb2.USER_KIND_ANONYMOUS)
    batch = from_columns(to_columns([warm, anonymous], served.space), served)
    assert batch.rows.shape == (2, USER_DIM)
    assert batch.rows[0].tobytes() == warm.als.values + warm.bert_mean.values + np.float32(0).tobytes()
    assert batch.rows[1, -1] == 1
    assert batch.seen == [[3], [3]]
    assert batch.contexts == [
        UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_FOLDED_IN, 2, 60_000_000),
        UserContext(types_pb2.USER_KIND_ANONYMOUS, types_pb2.ALS_ORIGIN_FOLDED_IN, 2, 60_000_000),
    ]


def test_features_of_another_space_are_refused(served: ServedRelease) -> None:
    other = types_pb2.EmbeddingSpace(encoder_id=served.space.encoder_id, als_id="another")
    with pytest.raises(SpaceMismatch, match="another"):
        from_columns(to_columns([features_of("a"), features_of("b")], other), served)


@pytest.mark.parametrize(
    "broken",
    [
        {"als": b"\0" * 4 * (ALS_DIM - 1)},
        {"bert_means": np.full(BERT_DIM, np.nan, "<f4").tobytes()},
        {"review_counts": [1, 2]},
        {"als_origins": []},
        {"ages_us": []},
        {"seen_counts": [3]},
        {"seen_product_ids": []},
    ],
)
def test_unusable_columns_are_as_good_as_none(served: ServedRelease, broken: dict[str, object]) -> None:
    columns = to_columns([features_of("a")], served.space)
    for name in broken:
        columns.ClearField(name)
    columns.MergeFrom(embedding_service_pb2.UserFeatureColumns(**broken))  # type: ignore[arg-type]
    with pytest.raises(EmbeddingUnavailable):
        from_columns(columns, served)


def test_cold_start_knows_anonymous_names(served: ServedRelease) -> None:
    batch = cold_start(["ann", " byamazon CUSTOMER "], served)
    assert batch.rows[:, -1].tolist() == [0, 1]
    assert not batch.rows[:, :ALS_DIM].any()
    np.testing.assert_array_equal(batch.rows[:, ALS_DIM:-1], [served.global_mean] * 2)
    kinds = types_pb2.USER_KIND_COLD, types_pb2.USER_KIND_ANONYMOUS
    assert batch.contexts == [UserContext(kind, types_pb2.ALS_ORIGIN_NONE, degraded=True) for kind in kinds]


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
        return to_columns([features_of(user_id) for user_id in user_ids], space)


async def test_users_are_looked_up_together_and_scored_in_parts(served: ServedRelease) -> None:
    source = Source(served)
    with ThreadPoolExecutor(1) as executor:
        ranker = Ranker(FeatureLookup(source), lambda _: PopularitySnapshot(), executor, max_queue_users=2000)
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


def test_neighbours_are_the_largest_cosines() -> None:
    rng = np.random.default_rng(4)
    towers = rng.normal(size=(9, 64)).astype(np.float32)
    towers[5] = 0
    towers[7] = 3 * towers[2]
    catalogue = Catalogue([random_product(rng, i) for i in range(9)], towers, "r")
    rows, cosines = catalogue.similar(2, 9)
    assert rows[0] == 7
    assert cosines[0] == pytest.approx(1)
    assert sorted(rows.tolist()) == [0, 1, 3, 4, 5, 6, 7, 8]
    expected = [towers[2] @ towers[r] / max(np.linalg.norm(towers[2]) * np.linalg.norm(towers[r]), 1e-9) for r in rows]
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    assert (np.diff(cosines) <= 0).all()
    with pytest.raises(NotFound, match="nothing"):
        catalogue.find("nothing")
