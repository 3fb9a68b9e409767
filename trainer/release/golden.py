"""Golden requests and texts of a release, by which services find out whether they answer as the trainer's network did.

Nothing in them is of a person: users are drawn at random, and texts are put together from a list of words.
"""

from typing import Any, Final

import numpy as np

from trainer.network.towers import score_pairs
from twotower.als import ItemFactors, fold_in
from twotower.features import BERT_COLUMNS, Float32, user_rows
from twotower.release import Golden
from twotower.scoring import LiftScoring, Scoring

GOLDEN_TOLERANCE: Final = 1e-4
"""Allowed difference on the rating scale: serving adds float32 numbers in another order."""
_WARM: Final = 14
_MOST_REVIEWS: Final = 60
_PRODUCTS: Final = 64
_WORDS: Final = (
    "good great bad okay the a it is was very not works broke after week month sound cable battery screen price box",
    "fast slow small large would buy again never return easy to set up use love for my home kitchen car and but with",
    "5 100% USB-C don't café naïve 快 отлично gut, fine. (really) #1 & / ! :)",
)
_LENGTHS: Final = (1, 2, 3, 4, 6, 9, 13, 19, 28, 40, 58, 84, 120, 175, 250, 400)
"""Words per golden text: from one to more than an encoder reads."""


def golden_texts() -> list[str]:
    """Texts of different lengths, the same ones for every release."""
    words = " ".join(_WORDS).split()
    return [
        " ".join(words[(number * number + 31 * length) % len(words)] for number in range(length)) for length in _LENGTHS
    ]


def golden_users(space: ItemFactors, mean: Float32, products: Float32) -> Float32:
    """A cold user, an anonymous one, and warm ones with short and long histories that were drawn at random.

    Args:
        space: what their ALS vectors are folded in from.
        mean: (384,) float32, what users without a history have.
        products: (products, 448) float32; the vectors of product texts stand in for those of reviews.

    Returns:
        (users, 449) float32.
    """
    rng, count = np.random.default_rng(0), len(products)
    sizes = np.unique(np.geomspace(1, min(count, _MOST_REVIEWS), _WARM).astype(int))
    sizes = np.resize(sizes, _WARM)
    reviewed = [rng.permutation(count)[:size] for size in sizes.tolist()]
    stars = [dict(zip(rows.tolist(), rng.integers(1, 6, len(rows)).astype(float), strict=True)) for rows in reviewed]
    bert = np.array([mean, mean, *(products[rows, BERT_COLUMNS].mean(axis=0) for rows in reviewed)], np.float32)
    return user_rows(fold_in(space, [{}, {}, *stars]), bert, np.arange(len(bert)) == 1)


def golden_requests(network: Any, users: Float32, products: Float32, scoring: Scoring) -> Golden:
    """Users and some products for each, with the answers of the full Keras network."""
    rng, count = np.random.default_rng(0), len(products)
    indices = np.stack([rng.permutation(count)[:_PRODUCTS] for _ in users]).astype(np.int64)
    # The whole catalogue: a lift needs every product's output.
    outputs = np.stack([score_pairs(network, np.repeat(row[np.newaxis], count, axis=0), products) for row in users])
    both = scoring.scores(outputs), scoring.ratings(outputs)
    return Golden(users, indices, *(np.take_along_axis(values, indices, axis=1) for values in both))


def golden_tolerance(scoring: Scoring) -> float:
    """Allowed difference of scores: a lift is the output divided by its temperature."""
    return GOLDEN_TOLERANCE / scoring.temperature if isinstance(scoring, LiftScoring) else GOLDEN_TOLERANCE
