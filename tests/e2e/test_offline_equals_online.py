"""Offline features equal online features: a file replayed through a live service, against the trainer's as-of features.

Just before each review is recorded, the service is asked for its author's features; they must be those of the training
row. The service embeds the text itself, so this also holds the encoder to "same text, same vector". Synthetic reviews,
so that it runs everywhere.
"""

from pathlib import Path

import numpy as np
import pytest

from clients.recommender import TwotowerClient
from clients.results import RecordOutcome, UserKind
from tests.support.importing import activate_without_users
from tests.support.processes import Service, running
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import Reviews, read_reviews
from trainer.encoding.cache import ReviewVectors, VectorCache, encode_unique
from trainer.features.history import AsOfFeatures, as_of_features
from trainer.network.fit_mse import FitOptions
from trainer.network.presets import PRESETS
from trainer.pipeline import TrainingOptions, train
from trainer.progress import Progress
from trainer.synthetic.reviews import write_synthetic
from twotower.encoder import TextEncoder
from twotower.features import ALS_DIM, BERT_DIM, review_text
from twotower.release import Release

REVIEWS = 2000


def train_on_sample(folder: Path, encoder_path: Path) -> tuple[Release, Reviews, AsOfFeatures]:
    """A release trained for one epoch, and the features of every row of its file."""
    file = folder / "reviews.csv.gz"
    write_synthetic(file, REVIEWS, seed=11)
    options = TrainingOptions(PRESETS["v5_power"], fit=FitOptions(epochs=1))
    cache = folder / "cache"
    result = train(file, folder / "releases", options, encoder_path=encoder_path, cache=cache, progress=Progress())
    release = result.release
    reviews, _ = read_reviews(file, CleaningOptions())
    texts = [review_text(*pair) for pair in zip(reviews.titles, reviews.texts, strict=True)]
    distinct = list(dict.fromkeys(texts))
    encoded = encode_unique(distinct, TextEncoder(encoder_path), VectorCache(cache), lambda _: None)
    place = {text: row for row, text in enumerate(distinct)}
    vectors = ReviewVectors(encoded, np.array([place[text] for text in texts]))
    features = as_of_features(reviews, vectors, release.item_factors, release.global_mean, on_progress=lambda _: None)
    return release, reviews, features


@pytest.mark.timeout(600)
def test_every_training_row_is_what_the_service_would_have_answered(encoder_path: Path, tmp_path: Path) -> None:
    release, reviews, features = train_on_sample(tmp_path, encoder_path)
    service = Service(
        "embedding_service",
        tmp_path / "log",
        "--store",
        "embedded",
        "--data-dir",
        tmp_path / "redis",
        "--releases",
        tmp_path / "releases",
    )
    worst_als, warm, undated_users = 0.0, 0, set[str]()
    with running(service), TwotowerClient(embedding=service.address) as client:
        service.wait_until("NOT_SERVING")
        activate_without_users(service.admin_address, release)
        service.wait_until("SERVING")
        for row, user in enumerate(reviews.user.tolist()):
            user_id = reviews.user_ids[user]
            online = client.get_user_features(user_id)
            offline = features.states[features.state[row]]
            if reviews.dated[row] or user_id not in undated_users:
                # An undated row sees dated ones only, while the service has seen the user's other undated ones too.
                assert np.array_equal(online.bert_mean, offline[ALS_DIM : ALS_DIM + BERT_DIM]), (
                    f"row {row}: the running means differ"
                )
                worst_als = max(worst_als, float(np.abs(online.als - offline[:ALS_DIM]).max()))
                assert (online.kind is UserKind.ANONYMOUS) == bool(offline[-1])
                warm += online.kind is UserKind.WARM
            if not reviews.dated[row]:
                undated_users.add(user_id)
            recorded = client.record_review(
                user_id,
                reviews.products[reviews.product[row]].product_id,
                float(reviews.rating[row]),
                title=reviews.titles[row],
                text=reviews.texts[row],
                review_id=reviews.review_ids[row],
            )
            assert recorded.outcome is (RecordOutcome.ANONYMOUS if reviews.anonymous[user] else RecordOutcome.RECORDED)
    assert worst_als <= 1e-5
    assert warm > 100, "too few warm rows for the comparison to mean anything"
