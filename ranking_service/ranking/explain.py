"""Why a product is where it is: the user is scored again without a part of what is known."""

import numpy as np

from ranking_service.ranking.jobs import Explanations
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from twotower.features import ALS_COLUMNS, BERT_COLUMNS, Float32, Int64
from twotower.scoring import LiftScoring, Scoring


def ablated_rows(row: Float32, global_mean: Float32) -> Float32:
    """Leave a part of a user row out, (449,) → (2, 449).

    The first row has zeros for ALS, as a user without any product that has factors; the second has the mean for BERT,
    as a cold user.
    """
    rows = np.stack([row, row])
    rows[0, ALS_COLUMNS] = 0
    rows[1, BERT_COLUMNS] = global_mean
    return rows


def explain(
    catalogue: Catalogue,
    scoring: Scoring,
    network: Float32,
    *,
    products: Int64,
    seen: list[int],
    popularity: PopularitySnapshot,
) -> Explanations:
    """Explain one user's products.

    Args:
        catalogue: of the release.
        scoring: of the release.
        network: (3, products) outputs for the user, and for the two rows of :func:`ablated_rows`.
        products: (k,) catalogue rows to explain.
        seen: catalogue rows that the user has reviewed.
        popularity: what the scores hold.

    Returns:
        One column entry per product, in the order of `products`.
    """
    without_als, without_bert = scoring.scores(network[1:], popularity.log_popularity)[:, products]
    uniform = np.zeros(network.shape[1], np.float32) if isinstance(scoring, LiftScoring) else None
    without_popularity = scoring.scores(network[:1], uniform)[0, products]
    if not seen:
        return Explanations(without_als, without_bert, without_popularity, [], np.zeros(len(products), np.float32))
    cosines = catalogue.directions[products] @ catalogue.directions[seen].T
    best = cosines.argmax(axis=1)
    similarity = np.clip(cosines[np.arange(len(products)), best], -1, 1)
    return Explanations(
        without_als, without_bert, without_popularity, [seen[index] for index in best.tolist()], similarity
    )
