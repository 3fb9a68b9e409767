"""Baselines: everything that a good recommender should beat.

A method that knows nothing of a user without a history ranks by decayed popularity for such a user; and products that
it cannot tell apart are in that order too.
"""

import warnings
from typing import Any, Final

import numpy as np

from trainer.evaluation.methods import DECAYED, ITEM_MEAN, LIVE, RANDOM, Method, Scored
from trainer.evaluation.period import Period
from trainer.features.history import earlier_products
from trainer.features.popularity import frozen_log_popularity, shrunk_item_means
from twotower.features import ALS_COLUMNS, Float32, Float64

_BPR_FACTORS: Final = 64
_BPR_ITERATIONS: Final = 100
_NEIGHBOURS: Final = 50
_TIE_BREAK: Final = 1e-6


def _random(period: Period) -> Scored:
    return Scored(np.random.default_rng(period.seed).random(period.seen.shape, np.float32))


def _all_time(period: Period) -> Scored:
    return Scored(_rows(period, frozen_log_popularity(period.reviews, period.fold.training, np.inf)))


def _decayed(period: Period) -> Scored:
    return Scored(_rows(period, period.decayed))


def _live(period: Period) -> Scored:
    return Scored(period.live)


def _item_mean(period: Period) -> Scored:
    means = shrunk_item_means(period.reviews, period.fold.training)
    return Scored(_rows(period, means), means[period.target])


def _bert(period: Period) -> Scored:
    return Scored(_personal(period, period.similarity))


def _popularity_and_bert(period: Period) -> Scored:
    weight = np.float32(period.calibration.similarity_weight)
    return Scored(_personal(period, period.decayed + weight * period.similarity))


def _als(period: Period) -> Scored:
    users, inverse = period.states
    return Scored(_personal(period, (users[:, ALS_COLUMNS] @ period.inputs.space.factors.T)[inverse]))


def _bpr(period: Period) -> Scored:
    """Score by the factors of the training part.

    A user is the mean of the factors of the products reviewed so far, so that new users can be served.
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        model = BayesianPersonalizedRanking(
            factors=_BPR_FACTORS,
            iterations=_BPR_ITERATIONS,
            random_state=period.seed,
            num_threads=1,
            verify_negative_samples=True,
        )
        model.fit(_training_matrix(period), show_progress=False)
    factors = np.asarray(model.item_factors, np.float32)
    history = _history(period)
    users = np.asarray(history @ factors) / np.maximum(np.asarray(history.sum(axis=1)), 1)
    users[:, -1] = 1.0  # the last column of an item's factors is its bias
    return Scored(_personal(period, (users @ factors.T).astype(np.float32)))


def _item_knn(period: Period) -> Scored:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=_NEIGHBOURS)
    with warnings.catch_warnings():  # it transposes the matrix and then warns of the format that this gives
        warnings.simplefilter("ignore")
        model.fit(_training_matrix(period), show_progress=False)
    return Scored(_personal(period, np.asarray((_history(period) @ model.similarity.tocsr()).todense(), np.float32)))


def _rows(period: Period, scores: Float32) -> Float32:
    """Give every test row the same scores."""
    return np.broadcast_to(scores, period.seen.shape)


def _personal(period: Period, scores: Float32) -> Float32:
    """Keep scores for users with a history; all others, and equals, are ranked by decayed popularity."""
    exact: Float64 = scores.astype(np.float64) + _TIE_BREAK * period.decayed
    return np.where(period.warm[:, np.newaxis], exact, period.decayed)


def _training_matrix(period: Period) -> Any:
    """Which products named users reviewed in the training part: users × products, sparse."""
    from scipy.sparse import coo_matrix

    reviews, rows = period.reviews, period.fold.training
    user, product = reviews.user[:rows], reviews.product[:rows]
    named = ~reviews.anonymous[user]
    shape = int(user.max()) + 1, len(reviews.products)
    return coo_matrix((np.ones(int(named.sum()), np.float32), (user[named], product[named])), shape).tocsr()


def _history(period: Period) -> Any:
    """What the user of each test row had reviewed before: test rows × products, sparse."""
    from scipy.sparse import coo_matrix

    row, product = earlier_products(period.reviews, period.before)
    return coo_matrix((np.ones(len(row), np.float32), (row, product)), period.seen.shape).tocsr()


BASELINES: Final = (
    Method(RANDOM, _random, seeded=True, about="a random order"),
    Method("popularity, all time", _all_time, about="reviews in the training period"),
    Method(DECAYED, _decayed, about="the same, old reviews counting less; half-life fitted on the training period"),
    Method(LIVE, _live, about="decayed popularity that goes on counting as reviews arrive", live=True),
    Method(ITEM_MEAN, _item_mean, about="mean rating, shrunk towards the overall mean"),
    Method("ALS", _als, seeded=True, about="folded-in user vector · item factors"),
    Method(
        "BPR", _bpr, seeded=True, about="Bayesian personalised ranking; a user is the mean of the reviewed products"
    ),
    Method("ItemKNN", _item_knn, about="cosine of co-reviewed products, 50 neighbours"),
    Method("BERT similarity", _bert, about="cosine of the user's mean review to the product's text"),
    Method(
        "popularity × BERT",
        _popularity_and_bert,
        about="decayed log popularity + weight · standardised similarity; weight fitted",
    ),
)
