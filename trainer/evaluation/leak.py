"""The leak audit: what the training part of each fold is made of, derived twice, once with the future cut off."""

import hashlib

import numpy as np

from trainer.data.reviews import Reviews
from trainer.encoding.cache import ReviewVectors
from trainer.features.als import fit_item_factors
from trainer.features.history import as_of_features, global_mean
from trainer.features.negatives import popularity_weights
from trainer.features.popularity import frozen_log_popularity, shrunk_item_means
from trainer.features.samples import draw_samples
from trainer.measure.folds import evaluation_rows, rolling_folds, select
from trainer.pipeline import number_texts
from trainer.progress import Progress
from twotower.errors import TwotowerError
from twotower.features import BERT_DIM, Int16, quantize


class LeakFound(TwotowerError):
    """Something of a training period depends on what came after it."""


def audit(reviews: Reviews, *, folds: int, progress: Progress, seed: int = 0) -> str:
    """Derive the training part of every fold from the whole file and from one that ends where training ends.

    Factors, features, negatives, labels and popularity must be the same, bit for bit. Text vectors are made up (the
    same text, the same vector): the encoder knows no time, so none of it can leak there.

    Returns:
        What was compared, in a sentence.

    Raises:
        LeakFound: naming the fold and what differs.
    """
    rows = evaluation_rows(reviews)
    splits = rolling_folds(len(rows), folds)
    with progress.stage("leak audit", 2 * len(splits)) as on_progress:
        for number, fold in enumerate(splits, start=1):
            whole = _derive(rows, fold.training, seed)
            on_progress(1)
            cut = _derive(select(rows, np.arange(fold.training)), fold.training, seed)
            on_progress(1)
            for name, value in whole.items():
                if value != cut[name]:
                    raise LeakFound(
                        f"fold {number}: {name} of the training period changes when later reviews are taken away"
                    )
    return f"leak audit: {len(splits)} folds, {len(whole)} things each, no difference with the future cut off"


def _derive(reviews: Reviews, rows: int, seed: int) -> dict[str, bytes]:
    """What training draws and fits on the first `rows` reviews, and what it sees of them, as bytes."""
    vectors = _made_up_vectors(reviews)
    space = fit_item_factors(reviews, rows, seed, lambda _: None)
    mean = global_mean(vectors, rows)
    features = as_of_features(reviews, vectors, space, mean, on_progress=lambda _: None)
    training, _ = draw_samples(reviews, rows, features, 1.0, seed)
    products = int(reviews.product[:rows].max()) + 1
    return {
        "item factors": space.factors[:products].tobytes(),
        "global mean": mean.tobytes(),
        "user features": features.states[features.state[:rows]].tobytes(),
        "negatives": training.product.tobytes(),
        "labels": training.label.tobytes(),
        "sampling weights": popularity_weights(reviews.product[:rows], 1.0).tobytes(),
        "decayed popularity": frozen_log_popularity(reviews, rows, 7.0)[:products].tobytes(),
        "item means": shrunk_item_means(reviews, rows)[:products].tobytes(),
    }


def _made_up_vectors(reviews: Reviews) -> ReviewVectors:
    numbers: dict[str, int] = {}
    review_numbers = number_texts(reviews, numbers)
    return ReviewVectors(np.stack([_made_up(text) for text in numbers]), review_numbers)


def _made_up(text: str) -> Int16:
    digest = np.frombuffer(hashlib.shake_128(text.encode()).digest(BERT_DIM), np.int8).astype(np.float32)
    return quantize(digest / np.linalg.norm(digest))
