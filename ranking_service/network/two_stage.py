"""Two-stage retrieval for very large catalogues: an index proposes candidates, and the exact head scores only these.

The network has no inner product to index. But for one user its scores over the catalogue are very nearly a linear
function of a few numbers per product: 32 carry 98 % of the variance between users, and more of what users have in
common (docs/adr/0022-two-stage-retrieval.md). So

- at opening, the scores that some probe users give every product are reduced to 32 dimensions per product, and these
  are indexed (faiss);
- for a user, a few thousand landmark products are scored exactly, the weights of the 32 dimensions are fitted to these
  scores by least squares, and the index answers with the products of the largest inner product;
- those and the most popular products are scored exactly. All others are out: −inf.

Popularity changes every second, so it is not in the index: what is indexed is the personal part of the score. Beyond
the 10,000 most popular products, log(share + 1e-4) differs by less than 0.7.

The index is used only if it proves itself: at opening, its recall@10 against the exact answer is measured on other
probe users.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from ranking_service.network.graph import activations, parameters
from ranking_service.network.head import Head, Program, Programs, buckets
from ranking_service.network.lanes import Lanes
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.release.served import Proposer, Scorer
from twotower.als import ItemFactors, fold_in
from twotower.features import ALS_DIM, BERT_COLUMNS, USER_DIM, Float32, Int64, user_rows
from twotower.model import TwoTowerWeights, top_k
from twotower.release import Release
from twotower.scoring import LiftScoring, Scoring

_LOG = logging.getLogger(__name__)

_DIMENSIONS: Final = 32
_ANCHORS: Final = 64
_JUDGES: Final = 32
_LANDMARKS: Final = 2048
_SAMPLE: Final = 20_000
_POPULAR: Final = 10_000
_RETRIEVED: Final = 2_000
_MIN_RECALL: Final = 0.98
_RECALL_AT: Final = 10
_MAX_K: Final = 100
_MAX_HIDDEN: Final = 1_000


class RecallTooLow(Exception):
    """The index does not find what the exact answer holds."""


def open_two_stage(release: Release, exact: Scorer, lanes: Lanes, programs: Programs) -> Proposer | None:
    """Open two-stage retrieval, ready for batches of every size.

    Returns:
        None, and a warning is logged, if the release has to be scored exactly.
    """
    probes = probe_users(release.golden.user_rows, release.item_factors)
    try:
        two_stage = TwoStage(
            exact,
            release.weights,
            release.product_fusion,
            scoring=release.scoring,
            probe_users=probes,
            lanes=lanes,
            programs=programs,
        )
    except RecallTooLow as error:
        _LOG.warning("release %s is scored exactly: %s", release.manifest.release_id, error)
        return None
    two_stage.warm_up()
    return Proposer(two_stage, _MAX_K, _MAX_HIDDEN)


class TwoStage:
    """Scores of the candidates of each user; −inf for all other products. Thread-safe.

    Args:
        exact: scores the whole catalogue.
        weights: the network.
        product_fusion: (products, units) float32.
        scoring: of the release.
        probe_users: (users, 449) float32, users like those who will ask: the first 64 make the basis, the others
            measure the recall.
        lanes: threads to score in.
        programs: where compiled programs are shared.

    Raises:
        RecallTooLow: no search width reached a recall@10 of 0.98 on the probe users: serve exactly instead.
    """

    def __init__(
        self,
        exact: Scorer,
        weights: TwoTowerWeights,
        product_fusion: Float32,
        *,
        scoring: Scoring,
        probe_users: Float32,
        lanes: Lanes,
        programs: Programs,
    ) -> None:
        start = time.perf_counter()
        self._products = product_fusion
        self._scoring = scoring
        self._lanes = lanes
        rng = np.random.default_rng(0)
        count = len(product_fusion)
        self._landmarks = np.sort(rng.permutation(count)[:_LANDMARKS])
        self._fill = np.resize(self._landmarks, _RETRIEVED)
        self._at_landmarks = Head(weights, product_fusion[self._landmarks], lanes, programs)
        self._candidate_program = Program(activations(weights))
        self._layers = parameters(weights, product_fusion[:0])._replace(table=None)
        anchors, judges = probe_users[:_ANCHORS], probe_users[_ANCHORS:]
        sample = np.sort(rng.permutation(count)[:_SAMPLE])
        sampled = self._personal(Head(weights, product_fusion[sample], lanes)(anchors), sample)
        basis = self._basis(exact, anchors, sampled)
        # Least squares with an intercept, solved once: coefficients = solver @ scores of the landmarks.
        self._solver = np.linalg.pinv(np.pad(basis[self._landmarks], ((0, 0), (0, 1)), constant_values=1.0))[
            :-1
        ].astype(np.float32)
        self._index = _InnerProductIndex(basis)
        self._popular: tuple[int, Int64] = (-1, np.zeros(0, np.int64))
        self._widen(exact, judges[:_JUDGES])
        _LOG.info("index of %d products ready after %.1f s", count, time.perf_counter() - start)

    def __call__(self, user_rows: Float32, popularity: PopularitySnapshot) -> Float32:
        """Score users, (users, 449) → (users, products) float32: the network's output for candidates, else −inf."""
        popular = self._most_popular(popularity)
        queries = self._personal(self._at_landmarks(user_rows), self._landmarks) @ self._solver.T
        retrieved = self._index.search(queries, _RETRIEVED)
        scores = np.full((len(user_rows), len(self._products)), -np.inf, np.float32)

        def fill(user: int) -> None:
            # Where the lists searched hold too few, landmarks fill up: so there are always enough for what a request
            # may ask for.
            candidates = np.concatenate([popular, np.where(retrieved[user] < 0, self._fill, retrieved[user])])
            params = self._layers._replace(products=self._products[candidates])
            (scores[user, candidates],) = self._candidate_program(user_rows[user : user + 1], params)

        self._lanes.each(fill, range(len(user_rows)))
        return scores

    def warm_up(self) -> None:
        """Compile for batches of every size."""
        for users in buckets(len(self._products)):
            self(np.zeros((users, USER_DIM), np.float32), PopularitySnapshot())

    def _personal(self, network: Float32, products: Int64 | slice) -> Float32:
        """Compute the part of the score that popularity does not change, (users, products)."""
        if isinstance(self._scoring, LiftScoring):
            personal: Float32 = (network - self._scoring.cold_scores[products]) / np.float32(self._scoring.temperature)
            return personal
        return network

    def _most_popular(self, popularity: PopularitySnapshot) -> Int64:
        """Find the rows of the most popular products; none where popularity is no part of the score."""
        if not isinstance(self._scoring, LiftScoring):
            return np.zeros(0, np.int64)
        version, rows = self._popular
        if version != popularity.version:
            live = popularity.log_popularity
            values = self._scoring.log_popularity if live is None else live[: len(self._products)]
            rows = np.argpartition(-values, min(_POPULAR, len(values) - 1))[:_POPULAR]
            self._popular = popularity.version, rows
        return rows

    def _basis(self, exact: Scorer, anchors: Float32, sampled: Float32) -> Float32:
        """Project the anchors' personal scores of all products onto the principal directions of a sample's.

        Args:
            exact: scores the whole catalogue.
            anchors: (anchors, 449) user rows.
            sampled: (anchors, sample) personal scores.

        Returns:
            (products, 32) float32.
        """
        means = sampled.mean(axis=1)
        _, _, directions = np.linalg.svd((sampled - means[:, np.newaxis]).T, full_matrices=False)
        basis = np.zeros((len(self._products), _DIMENSIONS), np.float32)
        for anchor, mean, weights in zip(anchors, means, directions[:_DIMENSIONS].T, strict=True):
            # One anchor at a time: all at once would take as much memory as the catalogue.
            personal = self._personal(exact(anchor[np.newaxis]), slice(None))[0] - mean
            for dimension, weight in enumerate(weights):
                basis[:, dimension] += weight * personal
        return basis

    def _widen(self, exact: Scorer, judges: Float32) -> None:
        """Search as many lists as the recall asks for, or raise RecallTooLow."""
        best = [top_k(self._scoring.scores(exact(judge[np.newaxis])), _RECALL_AT)[0] for judge in judges]
        for lists in self._index.widths():
            recall = self._recall(judges, best)
            _LOG.info("%d lists searched: recall@%d %.4f", lists, _RECALL_AT, recall)
            if recall >= _MIN_RECALL:
                return
        raise RecallTooLow(f"recall@{_RECALL_AT} is {recall:.3f} at best, the least is {_MIN_RECALL}")

    def _recall(self, judges: Float32, best: Sequence[Int64]) -> float:
        own = PopularitySnapshot()
        proposed = [top_k(self._scoring.scores(self(judge[np.newaxis], own)), _RECALL_AT)[0] for judge in judges]
        return float(np.mean([np.isin(exact, rows).mean() for exact, rows in zip(best, proposed, strict=True)]))


def probe_users(golden_rows: Float32, factors: ItemFactors, count: int = 2 * _ANCHORS) -> Float32:
    """Make users like those who will ask, (count, 449) float32.

    They are the golden users of a release, and made-up ones: ALS vectors folded in from one to three products, review
    texts between those of two golden users.
    """
    rng = np.random.default_rng(0)
    golden = golden_rows[rng.permutation(len(golden_rows))[: count // 2]]
    made = count - len(golden)
    als = np.zeros((made, ALS_DIM), np.float32)
    if products := len(factors.factors):
        histories = [dict.fromkeys(rng.integers(products, size=rng.integers(1, 4)).tolist(), 5.0) for _ in range(made)]
        als = fold_in(factors, histories)
    first, second = (golden_rows[rng.integers(len(golden_rows), size=made), BERT_COLUMNS] for _ in range(2))
    share = rng.random((made, 1), np.float32)
    rows = np.concatenate([golden, user_rows(als, share * first + (1 - share) * second, False)])
    return rows[rng.permutation(count)]


class _InnerProductIndex:
    """An inverted file for the largest inner products.

    Vectors get one more coordinate, which makes all of one length M. Then the nearest to a query of that length is the
    one with the largest inner product, and lists made by Euclidean k-means serve both (Bachrach et al., 2014, "Speeding
    up the Xbox recommender system").

    Args:
        vectors: (products, dimensions) float32.
    """

    def __init__(self, vectors: Float32) -> None:
        import faiss

        count, dimensions = vectors.shape
        squares = np.einsum("ij,ij->i", vectors, vectors)
        self._length = np.sqrt(squares.max())
        lists = 2 ** round(np.log2(np.sqrt(count)))
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimensions + 1), dimensions + 1, lists)
        self._index.cp.min_points_per_centroid = 1
        padded = np.column_stack([vectors, np.sqrt(np.maximum(self._length**2 - squares, 0))]).astype(np.float32)
        self._index.train(padded[:: max(1, count // (64 * lists))])
        self._index.add(padded)

    def widths(self) -> Iterator[int]:
        """Search more and more lists, and yield how many."""
        width = 8
        while width < 2 * self._index.nlist:
            self._index.nprobe = min(width, self._index.nlist)
            yield self._index.nprobe
            width *= 2

    def search(self, queries: Float32, k: int) -> Int64:
        """Find the rows of the k largest inner products, (queries, k); -1 where the lists searched hold fewer."""
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        scaled = np.pad(queries * (self._length / np.maximum(lengths, 1e-12)), ((0, 0), (0, 1)))
        rows: Int64
        _, rows = self._index.search(np.ascontiguousarray(scaled, np.float32), k)
        return rows
