"""Constants of the data."""

import json

from trainer.lift.calibration import Calibration, thinned
from trainer.lift.prior import PopularityPrior
from trainer.measure.folds import rolling_folds


def test_the_constants_look_at_no_more_cells_than_the_bound() -> None:
    folds = rolling_folds(1000, 4)
    assert [fold.test.tolist() for fold in thinned(folds, 7)] == [fold.test.tolist() for fold in folds]
    few = thinned(folds, 7, max_cells=7 * 90)
    assert 7 * sum(len(fold.test) for fold in few) <= 7 * 90
    assert [fold.training for fold in few] == [fold.training for fold in folds]
    assert all(set(kept.test) < set(fold.test) for kept, fold in zip(few, folds, strict=True))


def test_all_constants_are_numbers_by_name() -> None:
    calibration = Calibration(7.0, 0.5, PopularityPrior(3.0, 40.0, 0.001))
    assert json.loads(json.dumps(calibration.constants())) == {
        "half_life_days": 7.0,
        "similarity_weight": 0.5,
        "prior_reviews": 3.0,
        "least_reviews": 40.0,
        "new_product_share": 0.001,
    }
    assert calibration.with_half_life(None) is calibration
    assert calibration.with_half_life(14.0).constants() == {
        **calibration.constants(),
        "half_life_days": 14.0,
        "least_reviews": 80.0,
    }
