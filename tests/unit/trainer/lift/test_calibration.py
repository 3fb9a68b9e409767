"""Constants of the data."""

from trainer.lift.calibration import thinned
from trainer.measure.folds import rolling_folds


def test_the_constants_look_at_no_more_cells_than_the_bound() -> None:
    folds = rolling_folds(1000, 4)
    assert [fold.test.tolist() for fold in thinned(folds, 7)] == [fold.test.tolist() for fold in folds]
    few = thinned(folds, 7, max_cells=7 * 90)
    assert 7 * sum(len(fold.test) for fold in few) <= 7 * 90
    assert [fold.training for fold in few] == [fold.training for fold in folds]
    assert all(set(kept.test) < set(fold.test) for kept, fold in zip(few, folds, strict=True))
