"""What `best` is taught: the fit of the weights, and that nothing of it comes from later reviews."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import log_softmax

from tests.support.reviews import random_row, read, review_vectors, text_vector
from trainer.features.catalogue import build_catalogue
from trainer.lift.inputs import LiftInputs
from trainer.lift.teacher import Teacher, conditional_logit, fit_teacher
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions, prepare
from trainer.progress import Progress
from twotower.features import dequantize, product_text

TRAINING = 180
EARLIER = [random_row(number, 2015) for number in range(TRAINING)]
TRUTH = np.array([0.8, -0.3, 0.0])


def choices(rows: int, products: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signals, offsets and choices drawn from the model itself with the weights TRUTH; some products are no
    candidates.
    """
    rng = np.random.default_rng(rows)
    signals = rng.normal(size=(rows, products, 3)).astype(np.float32)
    offset = rng.normal(size=(rows, products)).astype(np.float32)
    offset[rng.random((rows, products)) < 0.2] = -np.inf
    offset[:, 0] = 0
    gumbel = rng.gumbel(size=offset.shape)
    return signals, offset, (signals @ TRUTH + offset + gumbel).argmax(axis=1)


def penalised(weights: np.ndarray, signals: np.ndarray, offset: np.ndarray, target: np.ndarray) -> float:
    shares = log_softmax(signals.astype(np.float64) @ weights + offset, axis=1)
    return float(-shares[np.arange(len(target)), target].sum() + 0.5 * weights @ weights)


def test_weights_are_those_that_the_choices_were_drawn_with() -> None:
    assert conditional_logit(*choices(6000)) == pytest.approx(TRUTH, abs=0.06)


def test_weights_minimise_the_penalised_loss() -> None:
    data = choices(40)
    weights = conditional_logit(*data)
    least = penalised(weights, *data)
    for step in np.concatenate([np.eye(3), -np.eye(3)]) * 1e-2:
        assert penalised(weights + step, *data) > least
    assert check_grad(lambda w: penalised(w, *data), lambda w: np.zeros(3), weights) < 1e-2


def taught(path: Path, later: list[dict[str, str]]) -> tuple[Teacher, np.ndarray]:
    """The teacher of the training rows, and its lift for each user that they left behind."""
    reviews = read(path, [*EARLIER, *later])
    texts = [
        product_text(item.name, item.brand, item.categories, item.manufacturer)
        for item in build_catalogue(reviews, TRAINING)
    ]
    products = dequantize(np.array([text_vector(text) for text in texts]))
    vectors = review_vectors(reviews)
    made = prepare(reviews, TRAINING, vectors, products, TrainingOptions(preset_named("best")), progress=Progress())
    inputs = LiftInputs(reviews, TRAINING, vectors, made.space, made.features, made.tables)
    teacher = fit_teacher(inputs, half_life_days=7.0)
    users = made.tables.users[made.features.state[:TRAINING]]
    seen = np.random.default_rng(0).random((TRAINING, len(products))) < 0.3
    return teacher, teacher.lift(users, seen)


def test_later_reviews_change_nothing_of_the_teacher(tmp_path: Path) -> None:
    alone, lift = taught(tmp_path / "a.csv", [])
    later = [random_row(number, 2016) for number in range(200, 240)]
    beside, lift_beside = taught(tmp_path / "b.csv", later)
    assert alone.weights.any()
    assert alone.weights.tobytes() == beside.weights.tobytes()
    assert lift.tobytes() == lift_beside.tobytes()
    assert (alone.signals.co_reviewers != beside.signals.co_reviewers).nnz == 0


def test_co_reviewers_are_named_users_of_other_products(tmp_path: Path) -> None:
    teacher, _ = taught(tmp_path / "a.csv", [])
    cosine = teacher.signals.co_reviewers.toarray()
    assert not cosine.diagonal().any()
    np.testing.assert_allclose(cosine, cosine.T, atol=1e-6)
    assert cosine.max() <= 1 + 1e-6
    named = [review for review in EARLIER if review["reviews.username"] != "anonymous"]
    reviewers = [
        {review["reviews.username"] for review in named if review["id"] == f"P{product}"} for product in range(6)
    ]
    order = [item.product_id for item in build_catalogue(read(tmp_path / "c.csv", EARLIER), TRAINING)]
    for a in range(6):
        for b in range(6):
            both = len(reviewers[a] & reviewers[b]) / np.sqrt(max(1, len(reviewers[a]) * len(reviewers[b])))
            assert cosine[order.index(f"P{a}"), order.index(f"P{b}")] == pytest.approx(0 if a == b else both, abs=1e-6)
