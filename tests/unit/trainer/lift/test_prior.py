"""The weight of a release's own popularity: fitted on the training period alone, and what it must be."""

from dataclasses import replace

import numpy as np

from trainer.data.reviews import Reviews
from trainer.features.popularity import live_counts
from trainer.lift.prior import PRIOR_REVIEWS, fit_prior
from trainer.measure.folds import evaluation_rows, rolling_folds


def test_the_prior_looks_at_nothing_later(reviews: Reviews) -> None:
    rows = evaluation_rows(reviews)
    training = len(rows) * 7 // 10
    folds = rolling_folds(training, 3)
    later = np.arange(len(rows)) >= training
    other = replace(rows, product=np.where(later, rows.product[::-1], rows.product).astype(np.int32))
    assert fit_prior(other, folds, 7.0) == fit_prior(rows, folds, 7.0)


def test_prior_and_counts_weigh_less_than_the_quietest_evidence(reviews: Reviews) -> None:
    rows = evaluation_rows(reviews)
    folds = rolling_folds(len(rows), 3)
    prior = fit_prior(rows, folds, 7.0)
    test = np.concatenate([fold.test for fold in folds])
    evidence = [counts.sum() for counts in live_counts(rows, test, 7.0)]
    assert 0 < prior.least_reviews < np.quantile(evidence, 0.05)
    assert prior.prior_reviews in PRIOR_REVIEWS
    assert 0 <= prior.new_product_share < 1
    # Evidence grows with the half-life, and so does what it must reach.
    assert fit_prior(rows, folds, 70.0).least_reviews > prior.least_reviews
