"""What live popularity is worth when it knows little, what one review can do, and where new products stand.

`best` is trained on four rolling folds. The rows after each are moved a year into the future and arrive one by one; all
older reviews have faded. Each line of the first table is nDCG@10 of the next 300 rows of each fold after so many new
reviews, for the network alone, lift with the release's own popularity, lift with live counts alone (as a release
without a prior would have it), and lift with the posterior, as served; then the difference of the last to the release's
own, with half of its 95 % interval. "1: …" is the share of these users whose list is led by the least popular product
after it alone was reviewed, once.

The second table is of the last fold: the place of the least popular product in the list of a cold user, and the nats
that it gained, after one more review in a shop with so much evidence, spread as popularity is.

Then the products of the last fold that are new after its training period, as if they had been added to a running
service: what they get of all first ten places, and what that costs. Last, the places that new editions of what users
with a history reviewed last have in their lists, without a review. The file is $REVIEWS with its $METADATA, or that of
the other benchmarks. The last line is JSON.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks import rig
from ranking_service.rollout.relatives import Introduction, inherited_factors
from trainer.data.cleaning import CleaningOptions
from trainer.data.raw import SourceOptions
from trainer.data.reviews import Reviews, read_reviews
from trainer.evaluation.networks import test_scores
from trainer.evaluation.period import Period
from trainer.evaluation.run import periods_of
from trainer.features.history import COLD, earlier_products
from trainer.features.popularity import live_counts
from trainer.lift.recipe import fit_best
from trainer.measure.folds import evaluation_rows, rolling_folds
from trainer.measure.metrics import expected_ranks, ndcg
from trainer.network.keras_graph import graph_weights
from trainer.network.presets import preset_named
from trainer.pipeline import TrainingOptions
from trainer.progress import Progress
from twotower.encoder import TextEncoder
from twotower.features import Float32, Float64, dequantize, product_rows, product_text, quantize
from twotower.model import TwoTowerWeights, product_fusion, run_layers, score_catalogue, top_k
from twotower.scoring import POPULARITY_FLOOR, US_PER_DAY, LiftScoring, log_popularity

NEW_REVIEWS: Final = (0, 1, 10, 100, 1000)
NEXT: Final = 300
EDITIONS: Final = 200
RANKINGS: Final = ("network", "frozen", "counts", "posterior")
LEADS: Final = ("1: counts", "1: posterior")
DIFFERENCE: Final = "− frozen"
INTERVAL: Final = "±"
LogOf = Callable[[Float64], Float32]
_YEAR_US: Final = 365 * US_PER_DAY


def aged(reviews: Reviews, training: int) -> Reviews:
    """Move all reviews after the training period a year into the future."""
    time_us = reviews.time_us.copy()
    time_us[training:] += _YEAR_US
    return replace(reviews, time_us=time_us)


@dataclass(frozen=True)
class Trained:
    """A fold and the `best` that was trained on it.

    Attributes:
        period: the fold.
        scoring: of the release.
        weights: of the network.
        network: (test rows, products) its outputs.
    """

    period: Period
    scoring: LiftScoring
    weights: TwoTowerWeights
    network: Float32


def main() -> None:
    """Train, let reviews arrive, and print."""
    metadata = os.environ.get("METADATA")
    source = SourceOptions(metadata=[Path(metadata)] if metadata else ())
    path = Path(os.environ["REVIEWS"]) if "REVIEWS" in os.environ else rig.review_file()
    rows = evaluation_rows(read_reviews(path, CleaningOptions(), source)[0])
    folds = rolling_folds(len(rows), 4)
    encoder = TextEncoder(rig.encoder_folder())
    periods = periods_of(rows, folds, encoder, rig.cache_folder(), Progress(Console(stderr=True)))
    trained = [train(periods.prepare(fold, 0)) for fold in folds]
    rig.print_machine("tensorflow", "implicit")
    last = trained[-1]
    print(
        f"{len(rows):,} rows, {len(rows.products)} products; last fold: half-life {last.scoring.half_life_days:g} "
        f"days; the prior weighs {last.scoring.prior_reviews:g} reviews, with live ones at least "
        f"{last.scoring.least_reviews:.0f}"
    )
    lines, moved = compare(trained), influence(last.scoring)
    new, editions = new_products(last), new_editions(last, encoder)
    rig.print_json(
        **{f"after_{reviews}": values for reviews, values in lines.items()},
        one_review=moved,
        new_products=new,
        new_editions=editions,
    )


def train(period: Period) -> Trained:
    """Train `best` on a fold."""
    options = TrainingOptions(preset_named("best"))
    fitted = fit_best(options.preset, period.lift_inputs(), options.listwise, seed=0, calibration=period.calibration)
    return Trained(period, fitted.scoring, graph_weights(fitted.network), test_scores(period, fitted.network))


def not_to_rank(period: Period) -> NDArray[np.bool_]:
    """(test rows, products): what the user had reviewed before, but for the answer."""
    seen = period.seen.copy()
    seen[np.arange(len(seen)), period.target] = False
    return seen


def compare(trained: Sequence[Trained]) -> dict[int, dict[str, float]]:
    """Print the first table, and return it."""
    print("new reviews", *(f"{name:>12}" for name in (*RANKINGS, DIFFERENCE, INTERVAL, *LEADS)))
    pooled: dict[int, list[dict[str, Float64]]] = {reviews: [] for reviews in NEW_REVIEWS}
    for fold in trained:
        for reviews, values in _after_a_year(fold):
            pooled[reviews].append(values)
    lines: dict[int, dict[str, float]] = {}
    for reviews, parts in pooled.items():
        if not parts:
            continue
        rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        lines[reviews] = line = {name: float(values.mean()) for name, values in rows.items()}
        gain = rows["posterior"] - rows["frozen"]
        line |= {DIFFERENCE: float(gain.mean()), INTERVAL: float(1.96 * gain.std() / np.sqrt(len(gain)))}
        print(f"{reviews:11,}", *(f"{line[name]:12.4f}" for name in (*RANKINGS, DIFFERENCE, INTERVAL, *LEADS)))
    return lines


def _after_a_year(fold: Trained) -> Iterator[tuple[int, dict[str, Float64]]]:
    """Yield, for each number of new reviews, nDCG@10 of the next rows, and whether one review leads their lists."""
    period, scoring = fold.period, fold.scoring
    later = aged(period.reviews, period.fold.training)
    counts = [c.copy() for c in live_counts(later, period.fold.test, scoring.half_life_days)]
    seen = not_to_rank(period)
    one = np.eye(len(scoring.cold_scores))[int(np.argmin(scoring.log_popularity))]
    for reviews in NEW_REVIEWS:
        part = slice(reviews, reviews + NEXT)
        if part.start >= len(fold.network):
            break
        network = fold.network[part]
        scores = (
            network,
            scoring.scores(network),
            _each(network, counts[part], scoring, log_popularity),
            _each(network, counts[part], scoring, scoring.live_log_popularity),
        )
        values = {
            name: ndcg(expected_ranks(each, period.target[part], seen[part]))
            for name, each in zip(RANKINGS, scores, strict=True)
        }
        for name, log in zip(LEADS, (log_popularity, scoring.live_log_popularity), strict=True):
            values[name] = (scoring.scores(network, log(one)).argmax(axis=1) == one.argmax()).astype(np.float64)
        yield reviews, values


def influence(scoring: LiftScoring) -> dict[str, dict[str, float]]:
    """Print the second table, and return it."""
    own = np.maximum(np.exp(scoring.log_popularity.astype(np.float64)) - POPULARITY_FLOOR, 0.0)
    least, product = scoring.least_reviews, int(np.argmin(own))
    values = {}
    print("   evidence  place before  place after         nats")
    for evidence in (0.0, 1.0, 0.25 * least, 0.5 * least, 0.75 * least, least, 2.5 * least):
        counts = evidence * own / own.sum()
        before = scoring.live_log_popularity(counts)
        after = scoring.live_log_popularity(counts + np.eye(len(own))[product])
        places = [1 + int((log > log[product]).sum()) for log in (before, after)]
        gained = float(after[product] - before[product])
        values[f"{evidence:.3g}"] = {"before": places[0], "after": places[1], "nats": gained}
        print(f"{evidence:11.1f} {places[0]:13d} {places[1]:12d} {gained:12.2f}")
    return values


def new_products(fold: Trained) -> dict[str, dict[str, float]]:
    """Print what products without a review in the training period get of all first ten places, and what that costs.

    Such a product stands for one that is added while the release serves.
    """
    period, scoring, network = fold.period, fold.scoring, fold.network
    added = np.bincount(period.reviews.product[: period.fold.training], minlength=network.shape[1]) == 0
    outputs, cold = introduced(fold, period.product_vectors[added])
    new_floor = POPULARITY_FLOOR + scoring.new_product_share
    with_share = replace(
        scoring,
        popularity_floor=np.where(added, new_floor, POPULARITY_FLOOR),
        log_popularity=np.where(added, np.float32(np.log(new_floor)), scoring.log_popularity),
    )
    with_relatives = replace(with_share, cold_scores=with_share.cold_scores.copy())
    with_relatives.cold_scores[added] = cold
    introduced_network = network.copy()
    introduced_network[:, added] = outputs[period.states[1]]
    counts = [c.copy() for c in live_counts(period.reviews, period.fold.test, scoring.half_life_days)]
    seen = not_to_rank(period)
    print(f"{int(added.sum())} products are new; their share begins at {scoring.new_product_share:.5f}")
    values: dict[str, dict[str, float]] = {}
    for name, its_network, own in (
        ("as unpopular ones", network, scoring),
        ("as new ones", network, with_share),
        ("introduced", introduced_network, with_relatives),
    ):
        scores = _each(its_network, counts, own, own.live_log_popularity)
        best = top_k(np.where(seen, np.float32(-np.inf), scores), 10)
        quality = ndcg(expected_ranks(scores, period.target, seen))
        slots = added[best]
        values[name] = {
            "slots": float(slots.mean()),
            "slots_warm": float(slots[period.warm].mean()),
            "ndcg": float(quality.mean()),
            "ndcg_warm": float(quality[period.warm].mean()),
        }
        print(
            f"{name:>18}: {values[name]['slots']:.3%} of all first ten places, {values[name]['slots_warm']:.3%} of "
            f"users' with a history; nDCG@10 {values[name]['ndcg']:.4f}, {values[name]['ndcg_warm']:.4f}"
        )
    return values


def introduced(fold: Trained, texts: Float32) -> tuple[Float32, Float32]:
    """What a service has for products that are added with these texts: (states, k) outputs, and (k,) a cold user's."""
    period = fold.period
    factors = period.inputs.space.factors
    inherited = inherited_factors(quantize(period.product_vectors), factors, texts)
    fusion = product_fusion(fold.weights, run_layers(fold.weights.product_tower, product_rows(inherited, texts)))
    introduction, states = Introduction.of(fold.scoring, inherited), period.states[0]
    outputs = [
        score_catalogue(fold.weights, states[start : start + 256], fusion) + introduction(states[start : start + 256])
        for start in range(0, len(states), 256)
    ]
    cold = score_catalogue(fold.weights, period.inputs.features.states[[COLD]], fusion)[0]
    return np.concatenate(outputs), cold


def new_editions(fold: Trained, encoder: TextEncoder) -> dict[str, float]:
    """Print where new editions of what users with a history reviewed last stand in their lists."""
    period, scoring = fold.period, fold.scoring
    known = np.abs(period.inputs.space.factors).sum(axis=1) > 0
    pairs = zip(*(column.tolist() for column in earlier_products(period.reviews, period.before)), strict=True)
    last = {row: product for row, product in pairs if known[product]}
    rows = np.array(sorted(last))[:: max(1, len(last) // EDITIONS)]
    products, edition = np.unique([last[row] for row in rows.tolist()], return_inverse=True)
    texts = [
        product_text(f"{product.name}, 2nd edition", product.brand, product.categories, product.manufacturer)
        for product in (period.reviews.products[row] for row in products.tolist())
    ]
    outputs, cold = introduced(fold, dequantize(encoder.encode(texts).fixed_point))
    floor = np.log(POPULARITY_FLOOR + scoring.new_product_share)
    of_row = outputs[period.states[1][rows], edition]
    own = (of_row - cold[edition]) / scoring.temperature + floor
    counts = [c.copy() for c in live_counts(period.reviews, period.fold.test, scoring.half_life_days)]
    scores = _each(fold.network[rows], [counts[row] for row in rows], scoring, scoring.live_log_popularity)
    places = 1 + ((scores > own[:, np.newaxis]) & ~period.seen[rows]).sum(axis=1)
    values = {"users": len(rows), "median": float(np.median(places)), "first_ten": float((places <= 10).mean())}
    print(
        f"new editions, {len(rows)} users: median place {values['median']:g}, {values['first_ten']:.0%} among the "
        "first ten without a review"
    )
    return values


def _each(network: Float32, counts: list[Float64], scoring: LiftScoring, log: LogOf) -> Float32:
    """Scores of rows, each with the popularity of its own moment."""
    return np.stack([scoring.scores(row[np.newaxis], log(own))[0] for row, own in zip(network, counts, strict=True)])


if __name__ == "__main__":
    main()
