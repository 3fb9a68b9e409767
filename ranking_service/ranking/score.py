"""Scores one batch and answers each of its jobs."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ranking_service.ranking.explain import ablated_rows, explain
from ranking_service.ranking.jobs import Job, Page, PredictJob, RankJob, ScoredProducts
from ranking_service.ranking.rerank import choose, eligible
from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.release.served import Proposer, ServedRelease
from ranking_service.upstream.user_batch import UserBatch
from twotower.features import Float32, Int64
from twotower.model import top_k

_OWN = Snapshot()


def score_jobs(
    served: ServedRelease, jobs: Sequence[Job], batch: UserBatch, popularity: Snapshot = _OWN
) -> list[ScoredProducts]:
    """Score one batch and answer each of its jobs.

    Args:
        served: the release.
        jobs: whose users are, one after the other, the rows of `batch`.
        batch: the users.
        popularity: what the scores are to hold; a job that goes on from a page keeps that page's.

    Returns:
        One answer a job.
    """
    slices = list(_slices(jobs))
    explained = [rows.start for job, rows in zip(jobs, slices, strict=True) if isinstance(job, RankJob) and job.explain]
    rows = batch.rows
    if explained:
        rows = np.concatenate([rows, *(ablated_rows(rows[row], served.global_mean) for row in explained)])
    if served.proposer is None:
        network = served.scorer(rows)
    else:
        network = _proposed(
            served, served.proposer, rows, _few_wanted(served.proposer, jobs, slices, batch, len(rows)), popularity
        )
    users = len(batch.rows)
    ablated = dict(zip(explained, np.split(network[users:], len(explained)), strict=True)) if explained else {}
    network = network[:users]
    scores = served.scoring.scores(network, popularity.log_popularity)
    if scores is network:
        scores = network.copy()  # it is not ours to mark
    order = _order(jobs, slices, scores, batch)
    places = order + np.arange(0, scores.size, scores.shape[1])[:, np.newaxis]
    best_scores, best_ratings = scores.take(places), served.scoring.ratings(network.take(places), order)
    answers = []
    for job, part in zip(jobs, slices, strict=True):
        known = batch.known[part]
        if isinstance(job, PredictJob):
            chosen = job.products[np.newaxis]
            ratings = served.scoring.ratings(network[part, job.products], chosen)
            answers.append(
                ScoredProducts(chosen, scores[part, job.products], ratings, [job.products.size], known, popularity)
            )
        elif job.plain:
            counts = [min(job.k, scores.shape[1] - (0 if job.include_seen else len(seen))) for seen in batch.seen[part]]
            k = slice(job.k)
            answers.append(
                ScoredProducts(order[part, k], best_scores[part, k], best_ratings[part, k], counts, known, popularity)
            )
        else:
            answers.append(
                _selected(
                    served, job, batch.part(part), network[part], ablated=ablated.get(part.start), popularity=popularity
                )
            )
    return answers


def _few_wanted(
    proposer: Proposer, jobs: Sequence[Job], slices: Sequence[slice], batch: UserBatch, rows: int
) -> NDArray[np.bool_]:
    """(rows,): the user wants the best few of all products, and so can be answered from candidates."""
    few = np.zeros(rows, bool)
    for job, part in zip(jobs, slices, strict=True):
        if isinstance(job, RankJob) and job.plain and job.k <= proposer.largest_k:
            few[part] = [job.include_seen or len(seen) <= proposer.most_hidden for seen in batch.seen[part]]
    return few


def _proposed(
    served: ServedRelease, proposer: Proposer, rows: Float32, few: NDArray[np.bool_], popularity: Snapshot
) -> Float32:
    """The network's output for every row: of candidates only where that will do."""
    if not few.any():
        return served.scorer(rows)
    if few.all():
        return proposer(rows, popularity)
    network = np.empty((len(rows), len(served.catalogue)), np.float32)
    network[few], network[~few] = proposer(rows[few], popularity), served.scorer(rows[~few])
    return network


def _selected(
    served: ServedRelease,
    job: RankJob,
    users: UserBatch,
    network: Float32,
    *,
    ablated: Float32 | None,
    popularity: Snapshot,
) -> ScoredProducts:
    """A job that asks for more than the best k: one user after the other."""
    popularity = job.page.popularity if job.page else popularity
    scores, ratings = served.scoring.scores(network, popularity.log_popularity), served.scoring.ratings(network)
    shown = job.page.shown if job.page else []
    rule = eligible(served.catalogue, job.selection)
    chosen = []
    for user, seen in enumerate(users.seen):
        allowed = rule & (ratings[user] >= np.float32(job.selection.min_rating))
        if not job.include_seen:
            allowed[seen] = False
        # One more than asked for tells whether there is another page.
        chosen.append(choose(served.catalogue, job.selection, scores[user], allowed, job.k + job.paginate, shown=shown))
    counts = [min(len(found), job.k) for found in chosen]
    products = np.zeros((len(chosen), max(counts, default=0)), np.int64)
    for user, found in enumerate(chosen):
        products[user, : counts[user]] = found[: job.k]
    page = None
    if job.paginate and len(chosen[0]) > job.k:
        page = Page(users.rows[0], users.seen[0], [*shown, *chosen[0][: job.k]], users.known[0], popularity)
    explanations = None
    if ablated is not None:
        every, chosen_products = np.concatenate([network, ablated]), products[0, : counts[0]]
        explanations = explain(
            served.catalogue, served.scoring, every, products=chosen_products, seen=users.seen[0], popularity=popularity
        )
    picked_scores, picked_ratings = np.take_along_axis(scores, products, 1), np.take_along_axis(ratings, products, 1)
    return ScoredProducts(products, picked_scores, picked_ratings, counts, users.known, popularity, explanations, page)


def _slices(jobs: Sequence[Job]) -> Iterator[slice]:
    """Each job's rows of the batch."""
    start = 0
    for job in jobs:
        yield slice(start, start + len(job.user_ids))
        start += len(job.user_ids)


def _order(jobs: Sequence[Job], slices: Sequence[slice], scores: Float32, batch: UserBatch) -> Int64:
    """The K best products of every row, K being the largest k of the plain jobs: the k best are the first k of them.

    The scores of products that must not come back become -inf.
    """
    plain = [(job, rows) for job, rows in zip(jobs, slices, strict=True) if isinstance(job, RankJob) and job.plain]
    if not plain:
        return np.zeros((len(scores), 0), np.int64)
    width = scores.shape[1]
    hidden = [
        row * width + product
        for job, rows in plain
        if not job.include_seen
        for row in range(rows.start, rows.stop)
        for product in batch.seen[row]
    ]
    if hidden:
        scores.put(hidden, -np.inf)
    return top_k(scores, max(job.k for job, _ in plain))
