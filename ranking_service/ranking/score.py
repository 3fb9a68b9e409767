"""Scores one batch and answers each of its jobs."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ranking_service.ranking.explain import ablated_rows, explain
from ranking_service.ranking.jobs import Job, Page, PredictJob, RankJob, ScoredProducts
from ranking_service.ranking.rerank import choose, eligible
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import Proposer, ServedRelease
from ranking_service.upstream.user_batch import UserBatch
from twotower.features import Float32, Int64
from twotower.model import top_k

_OWN = PopularitySnapshot()


def score_jobs(
    served: ServedRelease, jobs: Sequence[Job], batch: UserBatch, popularity: PopularitySnapshot = _OWN
) -> list[ScoredProducts]:
    """Score one batch and answer each of its jobs.

    Args:
        served: the release.
        jobs: whose users are, one after the other, the rows of `batch`.
        batch: the users.
        popularity: what the scores are to hold; a job that goes on from a page keeps that page's.

    Returns:
        One answer per job. A user of whose features the network makes what is no number is answered as a cold one,
        marked degraded; the others' answers don't depend on it.
    """
    unusable: list[int] = []
    answers = _answers(served, jobs, batch, popularity, unusable)
    if unusable:
        answers = _answers(served, jobs, batch.with_cold_users(unusable, served.global_mean), popularity)
    return answers


def _answers(
    served: ServedRelease,
    jobs: Sequence[Job],
    batch: UserBatch,
    popularity: PopularitySnapshot,
    unusable: list[int] | None = None,
) -> list[ScoredProducts]:
    """Answer each job of a batch; users whose scores are no numbers are added to `unusable`, if that is given."""
    slices = list(_slices(jobs))
    network, ablated = _network(served, jobs, slices, batch, popularity)
    scores = served.scoring.scores(network, popularity.log_popularity)
    if scores is network:
        scores = network.copy()  # it is not ours to mark
    order = _order(served, jobs, slices, scores, batch)
    flat = order + np.arange(0, scores.size, scores.shape[1])[:, np.newaxis]
    best_scores, best_ratings = scores.take(flat), served.scoring.ratings(network.take(flat), order)
    are_numbers = bool(np.isfinite(best_scores).all())
    answers: list[ScoredProducts] = []
    for job, part in zip(jobs, slices, strict=True):
        contexts = batch.contexts[part]
        is_special = isinstance(job, RankJob) and not job.plain
        if is_special and unusable is not None and not np.isfinite(network[part]).all():
            unusable += (np.flatnonzero(~np.isfinite(network[part]).all(axis=1)) + part.start).tolist()
            continue  # it would pass no filter; all are answered anew
        if isinstance(job, PredictJob):
            products = job.products[np.newaxis]
            ratings = served.scoring.ratings(network[part, job.products], products)
            answer = ScoredProducts(
                products, scores[part, job.products], ratings, [job.products.size], contexts, popularity
            )
        elif job.plain:
            counts = [min(job.k, scores.shape[1] - _hidden_count(served, job, seen)) for seen in batch.seen[part]]
            k = slice(job.k)
            answer = ScoredProducts(
                order[part, k], best_scores[part, k], best_ratings[part, k], counts, contexts, popularity
            )
        else:
            answer = _selected(
                served, job, batch.part(part), network[part], ablated=ablated.get(part.start), popularity=popularity
            )
        answers.append(answer)
        if unusable is not None and not is_special and not (are_numbers and isinstance(job, RankJob)):
            shown = np.arange(answer.scores.shape[1]) < np.array(answer.counts)[:, np.newaxis]
            unusable += (np.flatnonzero((shown & ~np.isfinite(answer.scores)).any(axis=1)) + part.start).tolist()
    return answers


def _network(
    served: ServedRelease,
    jobs: Sequence[Job],
    slices: Sequence[slice],
    batch: UserBatch,
    popularity: PopularitySnapshot,
) -> tuple[Float32, dict[int, Float32]]:
    """Run the network for every user of the batch, and for the ablated rows of those whose answer is explained.

    Returns:
        (users, products) float32, and (2, products) by the place of each explained user.
    """
    explained = [part.start for job, part in zip(jobs, slices, strict=True) if isinstance(job, RankJob) and job.explain]
    rows = batch.rows
    if explained:
        rows = np.concatenate([rows, *(ablated_rows(rows[row], served.global_mean) for row in explained)])
    if served.proposer is None:
        network = served.scorer(rows)
    else:
        network = _proposed(
            served, served.proposer, rows, _want_few(served, served.proposer, jobs, batch, len(rows)), popularity
        )
    users = len(batch.rows)
    ablated = dict(zip(explained, np.split(network[users:], len(explained)), strict=True)) if explained else {}
    return network[:users], ablated


def _hidden_count(served: ServedRelease, job: RankJob, seen: Sequence[int]) -> int:
    """Count the products that a plain answer must not have."""
    withdrawn = served.catalogue.withdrawn
    if not withdrawn:
        return 0 if job.include_seen else len(seen)
    return len(withdrawn if job.include_seen else withdrawn.union(seen))


def _want_few(
    served: ServedRelease, proposer: Proposer, jobs: Sequence[Job], batch: UserBatch, row_count: int
) -> NDArray[np.bool_]:
    """Mark the rows, (rows,) bool, of users who want so few products that candidates will do."""
    few = np.zeros(row_count, bool)
    for job, part in zip(jobs, _slices(jobs), strict=True):
        if isinstance(job, RankJob) and job.plain and job.k <= proposer.max_k:
            few[part] = [_hidden_count(served, job, seen) <= proposer.max_hidden for seen in batch.seen[part]]
    return few


def _proposed(
    served: ServedRelease, proposer: Proposer, rows: Float32, few: NDArray[np.bool_], popularity: PopularitySnapshot
) -> Float32:
    """Run the network for every row, on candidates only where few products are wanted."""
    if not few.any():
        return served.scorer(rows)
    if few.all():
        return proposer.propose(rows, popularity)
    network = np.empty((len(rows), len(served.catalogue)), np.float32)
    network[few], network[~few] = proposer.propose(rows[few], popularity), served.scorer(rows[~few])
    return network


def _selected(
    served: ServedRelease,
    job: RankJob,
    users: UserBatch,
    network: Float32,
    *,
    ablated: Float32 | None,
    popularity: PopularitySnapshot,
) -> ScoredProducts:
    """Answer a job that asks for more than the best k, one user after the other."""
    popularity = job.page.popularity if job.page else popularity
    scores, ratings = served.scoring.scores(network, popularity.log_popularity), served.scoring.ratings(network)
    chosen = _chosen(served.catalogue, job, users.seen, scores, ratings)
    counts = [min(len(rows), job.k) for rows in chosen]
    products = np.zeros((len(chosen), max(counts, default=0)), np.int64)
    for user, rows in enumerate(chosen):
        products[user, : counts[user]] = rows[: job.k]
    page = None
    if job.paginate and len(chosen[0]) > job.k:
        shown = [*(job.page.shown if job.page else ()), *chosen[0][: job.k]]
        page = Page(users.rows[0], users.seen[0], shown, users.contexts[0], popularity)
    explanations = None
    if ablated is not None:
        explanations = explain(
            served.catalogue,
            served.scoring,
            np.concatenate([network, ablated]),
            products=products[0, : counts[0]],
            seen=users.seen[0],
            popularity=popularity,
        )
    picked_scores, picked_ratings = np.take_along_axis(scores, products, 1), np.take_along_axis(ratings, products, 1)
    return ScoredProducts(
        products, picked_scores, picked_ratings, counts, users.contexts, popularity, explanations, page
    )


def _chosen(
    catalogue: Catalogue, job: RankJob, seen: Sequence[list[int]], scores: Float32, ratings: Float32
) -> list[list[int]]:
    """Choose the catalogue rows of each user; one more than asked for tells whether there is another page."""
    candidates = eligible(catalogue, job.selection)
    return [
        choose(
            catalogue,
            job.selection,
            candidates,
            scores=user_scores,
            ratings=user_ratings,
            hidden=[] if job.include_seen else user_seen,
            shown=job.page.shown if job.page else (),
            k=job.k + job.paginate,
        )
        for user_seen, user_scores, user_ratings in zip(seen, scores, ratings, strict=True)
    ]


def _slices(jobs: Sequence[Job]) -> Iterator[slice]:
    """Yield each job's rows of the batch."""
    start = 0
    for job in jobs:
        yield slice(start, start + len(job.user_ids))
        start += len(job.user_ids)


def _order(
    served: ServedRelease, jobs: Sequence[Job], slices: Sequence[slice], scores: Float32, batch: UserBatch
) -> Int64:
    """Order the K best products of every row, K being the largest k of the plain jobs.

    The scores of products that must not come back become −inf.
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
    if withdrawn := list(served.catalogue.withdrawn):
        for _, rows in plain:
            scores[rows, withdrawn] = -np.inf
    return top_k(scores, max(job.k for job, _ in plain))
