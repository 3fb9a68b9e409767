"""Nothing of the training period depends on a review after it."""

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reviews import random_row, read, review_vectors, text_vector
from trainer.features.catalogue import build_catalogue
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingInputs, TrainingOptions, check_trainable, prepare
from trainer.progress import Progress
from twotower.errors import InvalidArgument
from twotower.features import dequantize, product_text

TRAINING = 60


EARLIER = [random_row(number, 2015) for number in range(TRAINING)]

LATER = st.lists(
    st.fixed_dictionaries(
        {
            "reviews.username": st.sampled_from(["ann", "bob", "anonymous", "newcomer"]),
            "id": st.sampled_from(["P0", "P1", "P5", "P77"]),
            "manufacturer": st.sampled_from(["A", "B", "Z"]),
            "name": st.sampled_from(["Kettle", "Spoon"]),
            "reviews.rating": st.sampled_from(["0", "3", "5"]),
            "reviews.text": st.sampled_from(["good", "new words", "more"]),
            "reviews.date": st.sampled_from(["2016-01-01", "2017-05-05T10:00:00Z", "", "garbage"]),
        }
    ),
    max_size=25,
)


def inputs(path: Path, later: list[Mapping[str, str]], order: random.Random) -> tuple[TrainingInputs, np.ndarray]:
    """Training inputs of the earlier rows and some later ones; and the features of each training review."""
    rows = [*EARLIER, *later]
    order.shuffle(rows)
    reviews = read(path, rows)
    texts = [
        product_text(item.name, item.brand, item.categories, item.manufacturer)
        for item in build_catalogue(reviews, TRAINING)
    ]
    products = dequantize(np.array([text_vector(text) for text in texts]))
    options = TrainingOptions(preset_named("v5_power"))
    made = prepare(reviews, TRAINING, review_vectors(reviews), products, options, progress=Progress())
    return made, made.tables.users[made.training.state]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(later=LATER, order=st.randoms(use_true_random=False))
def test_later_reviews_change_nothing_of_the_training_period(
    tmp_path: Path, later: list[Mapping[str, str]], order: random.Random
) -> None:
    alone, user_rows = inputs(tmp_path / "a.csv", [], random.Random(0))
    beside, user_rows_beside = inputs(tmp_path / "b.csv", later, order)
    products = len(alone.space.factors)
    assert len(alone.training) == 4 * TRAINING
    assert user_rows.tobytes() == user_rows_beside.tobytes()
    assert alone.training.product.tobytes() == beside.training.product.tobytes()
    assert alone.training.label.tobytes() == beside.training.label.tobytes()
    assert alone.space.factors.tobytes() == beside.space.factors[:products].tobytes()
    assert not beside.space.factors[products:].any()
    assert alone.tables.products.tobytes() == beside.tables.products[:products].tobytes()
    assert alone.global_mean.tobytes() == beside.global_mean.tobytes()
    assert len(beside.validation) == 4 * len(later)


def test_what_cannot_be_trained_on_is_refused_before_the_work(tmp_path: Path) -> None:
    one = read(tmp_path / "one.csv", [{"reviews.username": f"u{n}"} for n in range(5)])
    with pytest.raises(InvalidArgument, match="products: must be at least 2"):
        check_trainable(one, 4, preset_named("v5_power"))
    undated = read(tmp_path / "undated.csv", [{"id": f"P{n % 2}", "reviews.date": ""} for n in range(6)])
    with pytest.raises(InvalidArgument, match=r"reviews\.date: best learns what comes after what"):
        check_trainable(undated, 5, preset_named("best"))
    check_trainable(undated, 5, preset_named("v5_power"))
