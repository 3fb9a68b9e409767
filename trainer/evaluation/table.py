"""The table: metrics over all folds pooled, and paired bootstrap intervals against the popularity baselines."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.methods import BEST_LIVE, BEST_PLAIN, DECAYED, ITEM_MEAN, LIVE
from trainer.evaluation.protocol import Evaluation, MethodRun
from trainer.measure.metrics import Group, group_masks, hit, ndcg, reciprocal
from twotower.features import Float64

RESAMPLES: Final = 2000
_SLICE: Final = 100
_METRICS: Final = {"ndcg@10": ndcg, "hit@10": hit, "mrr": reciprocal}


def pooled(run: MethodRun, metric: str = "ndcg@10") -> Float64:
    """Average a metric over seeds: (test rows of all folds,)."""
    per_seed = [_METRICS[metric](np.concatenate(folds)) for folds in run.ranks]
    mean: Float64 = np.mean(per_seed, axis=0)
    return mean


def results(evaluation: Evaluation, *, seed: int = 0) -> dict[str, Any]:
    """Put everything into one JSON object: data, constants, and the figures of each method.

    ``methods.<name>.<all|warm|cold>.<metric>`` with the metrics ``ndcg@10``, ``hit@10``, ``mrr``, and
    ``difference_to.<baseline>`` with ``mean``, ``low``, ``high``: the 95 % interval of the nDCG@10 difference, by a
    paired bootstrap over rows. The metrics are means over seeds; ``by_seed.<group>`` has each seed's nDCG@10 and their
    deviation.
    """
    groups = group_masks(np.concatenate(evaluation.warm))
    intervals = _intervals(evaluation, groups, seed)
    methods = {name: _figures(run, groups, evaluation) for name, run in evaluation.runs.items()}
    for (name, baseline, group), values in intervals.items():
        methods[name][group].setdefault("difference_to", {})[baseline] = values
    return {
        **evaluation.about,
        "protocol": {
            "folds": [{"training_rows": fold.training, "test_rows": len(fold.test)} for fold in evaluation.folds],
            "seeds": evaluation.seeds,
            "rows": {group: int(rows.sum()) for group, rows in groups.items()},
            "bootstrap_resamples": RESAMPLES,
        },
        "constants": [calibration.constants() for calibration in evaluation.calibrations],
        "methods": methods,
    }


def _figures(run: MethodRun, groups: Mapping[Group, NDArray[np.bool_]], evaluation: Evaluation) -> dict[str, Any]:
    figures: dict[str, Any] = {"about": run.method.about, "live": run.method.live, "seeds": len(run.ranks)}
    values = {metric: pooled(run, metric) for metric in _METRICS}
    for group, rows in groups.items():
        figures[group] = {metric: _mean(per_row[rows]) for metric, per_row in values.items()}
    figures["by_seed"] = {group: _by_seed(run, rows) for group, rows in groups.items()}
    edges = np.cumsum([0, *(len(fold.test) for fold in evaluation.folds)])
    figures["folds"] = [_fold(values["ndcg@10"][start:end]) for start, end in zip(edges, edges[1:], strict=False)]  # noqa: RUF007 - an array
    figures["coverage@10"] = float(np.mean([quality.coverage for folds in run.lists for quality in folds]))
    figures["diversity@10"] = float(np.mean([quality.diversity for folds in run.lists for quality in folds]))
    errors = [float(np.sqrt(np.concatenate(folds).mean())) for folds in run.squared_errors if folds]
    figures["rmse"] = float(np.mean(errors)) if errors else None
    return figures


def _by_seed(run: MethodRun, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """nDCG@10 of each seed over some rows, and their standard deviation (n − 1); None for one seed or no rows."""
    values = [_mean(ndcg(np.concatenate(folds))[rows]) for folds in run.ranks]
    known = [value for value in values if value is not None]
    return {"ndcg@10": values, "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None}


def _fold(values: Float64) -> dict[str, float]:
    """Mean nDCG@10 of a fold with its 95 % interval by the normal approximation."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5
    return {"ndcg@10": float(values.mean()), "low": float(values.mean()) - half, "high": float(values.mean()) + half}


def _intervals(
    evaluation: Evaluation, groups: Mapping[Group, NDArray[np.bool_]], seed: int
) -> dict[tuple[str, str, str], dict[str, float | None]]:
    """(method, baseline, group) → mean difference and its interval. All methods meet the same resamples."""
    runs = evaluation.runs
    pairs = [(name, baseline) for baseline in (DECAYED, LIVE) if baseline in runs for name in runs if name != baseline]
    if not pairs:
        return {}
    differences = np.stack([pooled(runs[name]) - pooled(runs[baseline]) for name, baseline in pairs], axis=1)
    intervals: dict[tuple[str, str, str], dict[str, float | None]] = {}
    for group, rows in groups.items():
        low, high = bootstrap(differences[rows], np.random.default_rng(seed))
        for column, (name, baseline) in enumerate(pairs):
            mean = _mean(differences[rows, column])
            bounds = (None, None) if mean is None else (float(low[column]), float(high[column]))
            intervals[name, baseline, group] = {"mean": mean, "low": bounds[0], "high": bounds[1]}
    return intervals


def bootstrap(differences: Float64, rng: np.random.Generator, resamples: int = RESAMPLES) -> tuple[Float64, Float64]:
    """Resample rows for the 95 % percentile intervals of the columns' means.

    Args:
        differences: (rows, columns); rows are resampled together.
        rng: source of the resamples.
        resamples: number of the resamples.

    Returns:
        Lower and upper bounds, (columns,) each; NaN without rows.
    """
    count = len(differences)
    if not count:
        nothing = np.full(differences.shape[1], np.nan)
        return nothing, nothing
    means = []
    for start in range(0, resamples, _SLICE):
        weights = rng.multinomial(count, np.full(count, 1.0 / count), min(_SLICE, resamples - start))
        means.append(weights @ differences / count)
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def _mean(values: Float64) -> float | None:
    return float(values.mean()) if len(values) else None


def headline(table: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures that `make bench-quality` ends with."""
    methods = table["methods"]
    best, plain = methods[BEST_LIVE], methods[BEST_PLAIN]
    return {
        "ndcg10_all": best["all"]["ndcg@10"],
        "ndcg10_warm": best["warm"]["ndcg@10"],
        "warm_ci_low_vs_live": best["warm"]["difference_to"][LIVE]["low"],
        "cold_minus_popularity": plain["cold"]["ndcg@10"] - methods[DECAYED]["cold"]["ndcg@10"],
        "rmse_minus_item_mean": best["rmse"] - methods[ITEM_MEAN]["rmse"],
    }
