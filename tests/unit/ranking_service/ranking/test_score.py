"""Scoring a batch: order, ties, seen products, mixed jobs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking_service.ranking.jobs import PredictJob, RankJob
from ranking_service.ranking.rerank import Selection
from ranking_service.ranking.score import score_jobs
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.user_batch import UserBatch, UserContext
from tests.support.ranking import user_batch, with_scores
from twotower.features import USER_DIM
from twotower.v1 import types_pb2


@given(data=st.data(), users=st.integers(1, 6), products=st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_every_job_is_answered_as_if_alone(lift: ServedRelease, data: st.DataObject, users: int, products: int) -> None:
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
        zip(jobs, score_jobs(with_scores(lift, scores), jobs, UserBatch(rows, seen, contexts)), strict=True)
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
        assert [context.review_count for context in answer.contexts] == [user]


def test_special_and_plain_jobs_of_one_batch_keep_their_own_answers(lift: ServedRelease) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 0.3, (5, USER_DIM)).astype(np.float32)
    seen = [[1], [2, 3], [], [4], [5]]
    jobs = [
        RankJob(("a",), 3, False),
        RankJob(("b",), 5, False, explain=True),
        RankJob(("c", "d"), 4, False, Selection(max_per_brand=1)),
        RankJob(("e",), 2, True, paginate=True, explain=True),
    ]
    together = score_jobs(lift, jobs, user_batch(rows, seen))
    start = 0
    for job, whole in zip(jobs, together, strict=True):
        part = slice(start, start + len(job.user_ids))
        (alone,) = score_jobs(lift, [job], user_batch(rows[part], seen[part]))
        assert (whole.products.tolist(), whole.counts) == (alone.products.tolist(), alone.counts)
        np.testing.assert_allclose(whole.scores, alone.scores, atol=1e-5)
        if alone.explanations:
            assert whole.explanations
            np.testing.assert_allclose(whole.explanations.without_als, alone.explanations.without_als, atol=1e-5)
        start = part.stop


def _jobs(kind: str, user: int) -> RankJob | PredictJob:
    user_ids = (str(user),)
    jobs: dict[str, RankJob | PredictJob] = {
        "plain": RankJob(user_ids, 3, False),
        "all": RankJob(user_ids, 12, True),
        "diverse": RankJob(user_ids, 3, False, Selection(diversity=0.5)),
        "explained": RankJob(user_ids, 3, False, explain=True),
        "paged": RankJob(user_ids, 3, False, paginate=True),
        "predicted": PredictJob(user_ids, np.array([4, 0, 11])),
    }
    return jobs[kind]


@given(
    st.lists(st.sampled_from(["plain", "all", "diverse", "explained", "paged", "predicted"]), min_size=2, max_size=7),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_what_is_no_number_touches_nobody_else(lift: ServedRelease, kinds: list[str], data: st.DataObject) -> None:
    """The others are answered as without the bad users, who are answered as cold ones."""
    users = len(kinds)
    rng = np.random.default_rng(users)
    scores = rng.normal(size=(users + 1, 12)).astype(np.float32)  # the last row is a cold user's
    bad = sorted(data.draw(st.sets(st.integers(0, users - 1), min_size=1)))
    for user in bad:
        kind = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        scores[user] = kind
    rows = np.zeros((users, USER_DIM), np.float32)
    rows[:, 0] = np.arange(users)
    seen = [[user % 12] for user in range(users)]
    jobs = [_jobs(kind, user) for user, kind in enumerate(kinds)]
    served = with_scores(lift, scores)
    served.scorer.cold_row = users  # type: ignore[attr-defined]
    together = score_jobs(served, jobs, user_batch(rows, seen))
    for user, (job, answer) in enumerate(zip(jobs, together, strict=True)):
        assert answer.contexts[0].degraded == (user in bad)
        row = rows[user].copy()
        if user in bad:
            row[0] = users
        (alone,) = score_jobs(served, [job], user_batch(row[np.newaxis], [seen[user]]))
        assert (answer.products.tolist(), answer.counts) == (alone.products.tolist(), alone.counts)
        count = answer.counts[0]
        np.testing.assert_array_equal(answer.scores[:, :count], alone.scores[:, :count])
        assert np.isfinite(answer.scores[:, :count]).all()
