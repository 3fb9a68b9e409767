"""What live popularity is worth when it knows little: a store that began empty a year after the file's newest review.

`best` is trained on the first 90 % of the rows. The others are moved a year into the future and arrive one by one; all
older reviews have faded. Each line is nDCG@10 of the next 300 rows after so many new reviews, for the network alone,
lift with the release's own popularity, lift with live counts alone (as a release without a prior would have it), and
lift with the posterior, as served. The last two columns are the share of these users whose list is led by the least
popular product after it alone was reviewed, once. The file is $REVIEWS with its $METADATA, or that of the other
benchmarks. The last line is JSON.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import rig
from trainer.data.cleaning import CleaningOptions
from trainer.data.raw import SourceOptions
from trainer.data.reviews import Reviews, read_reviews
from trainer.evaluation.networks import test_scores
from trainer.evaluation.period import Period
from trainer.evaluation.run import periods_of
from trainer.features.popularity import live_counts
from trainer.lift.recipe import fit_best
from trainer.measure.folds import Fold, evaluation_rows
from trainer.measure.metrics import expected_ranks, ndcg
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions
from trainer.progress import Progress
from twotower.encoder import TextEncoder
from twotower.features import Float32, Float64
from twotower.model import top_k
from twotower.scoring import POPULARITY_FLOOR, US_PER_DAY, LiftScoring, log_popularity

NEW_REVIEWS: Final = (0, 1, 10, 100, 1000)
NEXT: Final = 300
LEADS_COUNTS: Final = "1: counts"
LEADS_POSTERIOR: Final = "1: posterior"
LogOf = Callable[[Float64], Float32]
_YEAR_US: Final = 365 * US_PER_DAY


def aged(reviews: Reviews, training: int) -> Reviews:
    """Move all reviews after the training period a year into the future."""
    time_us = reviews.time_us.copy()
    time_us[training:] += _YEAR_US
    return replace(reviews, time_us=time_us)


def main() -> None:
    """Train, let reviews arrive, and print."""
    metadata = os.environ.get("METADATA")
    source = SourceOptions(metadata=[Path(metadata)] if metadata else ())
    path = Path(os.environ["REVIEWS"]) if "REVIEWS" in os.environ else rig.review_file()
    rows = evaluation_rows(read_reviews(path, CleaningOptions(), source)[0])
    fold = Fold(len(rows) * 9 // 10, np.arange(len(rows) * 9 // 10, len(rows)))
    progress = Progress(Console(stderr=True))
    periods = periods_of(rows, [fold], TextEncoder(rig.encoder_folder()), rig.cache_folder(), progress)
    period = periods.prepare(fold, 0)
    options = TrainingOptions(preset_named("best"))
    fitted = fit_best(options.preset, period.lift_inputs(), options.listwise, seed=0, calibration=period.calibration)
    scoring = fitted.scoring
    rig.print_machine("tensorflow", "implicit")
    print(
        f"{len(rows):,} rows, {len(scoring.cold_scores)} products; half-life {scoring.half_life_days:g} days; the "
        f"prior weighs {scoring.prior_reviews:g} reviews, with live ones at least {scoring.least_reviews:.0f}; one "
        f"review moves a share by at most {1 / max(scoring.least_reviews, scoring.prior_reviews + 1):.2%}"
    )
    network = test_scores(period, fitted.network)
    lines, new = compare(period, network, scoring), new_products(period, network, scoring)
    rig.print_json(**{f"after_{reviews}": values for reviews, values in lines.items()}, new_products=new)


def not_to_rank(period: Period) -> NDArray[np.bool_]:
    """(test rows, products): what the user had reviewed before, but for the answer."""
    seen = period.seen.copy()
    seen[np.arange(len(seen)), period.target] = False
    return seen


def compare(period: Period, network: Float32, scoring: LiftScoring) -> dict[int, dict[str, float]]:
    """Print the table, and return it."""
    later = aged(period.reviews, period.fold.training)
    counts = [c.copy() for c in live_counts(later, period.fold.test, scoring.half_life_days)]
    seen = not_to_rank(period)
    columns = ("network", "frozen", "counts", "posterior", LEADS_COUNTS, LEADS_POSTERIOR)
    print("new reviews", *(f"{name:>12}" for name in columns))
    lines: dict[int, dict[str, float]] = {}
    for reviews in NEW_REVIEWS:
        part = slice(reviews, reviews + NEXT)
        if part.start >= len(network):
            break
        scores = {
            "network": network[part],
            "frozen": scoring.scores(network[part]),
            "counts": _each(network[part], counts[part], scoring, log_popularity),
            "posterior": _each(network[part], counts[part], scoring, scoring.live_log_popularity),
        }
        values = {
            name: float(ndcg(expected_ranks(each, period.target[part], seen[part])).mean())
            for name, each in scores.items()
        }
        one = np.eye(len(scoring.cold_scores))[int(np.argmin(scoring.log_popularity))]
        for name, log in ((LEADS_COUNTS, log_popularity), (LEADS_POSTERIOR, scoring.live_log_popularity)):
            lists = scoring.scores(network[part], log(one)).argmax(axis=1)
            values[name] = float((lists == int(one.argmax())).mean())
        lines[reviews] = values
        print(f"{reviews:11,}", *(f"{values[name]:12.4f}" for name in columns))
    return lines


def new_products(period: Period, network: Float32, scoring: LiftScoring) -> dict[str, dict[str, float]]:
    """Print what products without a review in the training period get of all first ten places, and what that costs.

    Such a product stands for one that is added while the release serves.
    """
    added = np.bincount(period.reviews.product[: period.fold.training], minlength=network.shape[1]) == 0
    with_share = replace(
        scoring,
        popularity_floor=np.where(added, POPULARITY_FLOOR + scoring.new_product_share, POPULARITY_FLOOR),
        log_popularity=np.where(added, np.log(POPULARITY_FLOOR + scoring.new_product_share), scoring.log_popularity),
    )
    counts = [c.copy() for c in live_counts(period.reviews, period.fold.test, scoring.half_life_days)]
    seen = not_to_rank(period)
    print(f"{int(added.sum())} products are new; their share begins at {scoring.new_product_share:.5f}")
    values: dict[str, dict[str, float]] = {}
    for name, own in (("as unpopular ones", scoring), ("as new ones", with_share)):
        scores = _each(network, counts, own, own.live_log_popularity)
        best = top_k(np.where(seen, np.float32(-np.inf), scores), 10)
        quality = ndcg(expected_ranks(scores, period.target, seen))
        values[name] = {"slots": float(added[best].mean()), "ndcg": float(quality.mean())}
        print(f"{name:>18}: {values[name]['slots']:.3%} of all first ten places, nDCG@10 {values[name]['ndcg']:.4f}")
    return values


def _each(network: Float32, counts: list[Float64], scoring: LiftScoring, log: LogOf) -> Float32:
    """Scores of rows, each with the popularity of its own moment."""
    return np.stack([scoring.scores(row[np.newaxis], log(own))[0] for row, own in zip(network, counts, strict=True)])


if __name__ == "__main__":
    main()
