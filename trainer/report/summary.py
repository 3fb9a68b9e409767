"""What a person sees at the end of a training run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.padding import Padding

from trainer.data.cleaning import CleaningReport
from trainer.network.fit_lift import LossPoint
from trainer.network.fit_mse import Epoch, Fitted
from trainer.pipeline import TrainingResult
from twotower.terminal import Column, Listing, fields_table, plain

_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def print_report(console: Console, report: CleaningReport) -> None:
    """Print what was recognised, filled and dropped, in whole lines."""
    console.print(f"{report.rows_read:,} rows read, {report.rows_kept:,} kept")
    lines = [*report.notes, *(f"{problem.field} {problem}" for problem in report.problems)]
    for line in lines:
        console.print(Padding(plain(line), (0, 0, 0, 2), expand=False))


def print_curve(console: Console, fitted: Fitted) -> None:
    """Print the losses along the fit; the lines leave the untrained network out, beside which all others look alike."""
    if not isinstance(fitted.curve[0], Epoch):
        return _print_lift_curve(console, fitted)
    console.print("MSE and MAE on the rating scale (reviews and negatives)", style="bold")
    numbers = ("epoch", "MSE", "MAE", "validation MSE", "validation MAE")
    table = Listing(*map(Column, numbers), Column("", "label"))
    for epoch in fitted.curve:
        mark = "untrained" if not epoch.epoch else "kept" if epoch.epoch == fitted.best_epoch else ""
        losses = (epoch.mse, epoch.mae, epoch.validation_mse, epoch.validation_mae)
        table.add_row(str(epoch.epoch), *("–" if loss is None else f"{loss:.4f}" for loss in losses), mark)
    console.print(table)
    for name in ("mse", "validation_mse"):
        values = [value for epoch in fitted.curve[1:] if (value := getattr(epoch, name)) is not None]
        _print_line(console, name.replace("_", " "), values)


def _print_lift_curve(console: Console, fitted: Fitted) -> None:
    """Print the losses of `best`, part by part."""
    console.print("Losses: cross-entropy of the users without a history, and squared error of the lift", style="bold")
    shown = [asdict(point) for point in fitted.curve]
    table = Listing(*map(Column, shown[0]))
    for point in shown[:: max(1, len(shown) // 10)]:
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in point.values()))
    console.print(table)
    _print_line(console, "loss", [point["loss"] for point in shown])
    console.print(f"fitted constants: {', '.join(f'{name} {value:g}' for name, value in fitted.constants.items())}")


def _print_line(console: Console, name: str, values: list[float]) -> None:
    if values and not console.options.ascii_only:
        console.print(f"{name:>14} {sparkline(values)}")


def sparkline(values: list[float]) -> str:
    """Draw values as bars, the smallest lowest; empty for no values."""
    if not values:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    return "".join(_BLOCKS[round((value - low) / span * (len(_BLOCKS) - 1))] for value in values)


def print_result(console: Console, result: TrainingResult, seconds: Mapping[str, float]) -> None:
    """Print counts, sizes, times, and where the release is."""
    manifest, path = result.release.manifest, result.release.path
    training, validation = result.samples
    best = result.fitted.curve[result.fitted.best_epoch]
    rows = {
        "release": manifest.release_id,
        "reviews": (
            f"{len(result.reviews):,} by {len(result.reviews.user_ids):,} users of {manifest.product_count:,} products"
        ),
        "samples": f"{training + validation:,} ({training:,} training, {validation:,} validation)",
        "trainable parameters": f"{manifest.metrics['trainable_parameters']:,}",
        "start": _point(result.fitted.curve[0]),
        "kept": _point(best),
        "scoring": ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else str(value) for name, value in manifest.scoring.items()
        ),
        "golden requests": (
            f"replayed, largest difference {result.golden_difference:.2g} (allowed {manifest.golden_tolerance:g})"
        ),
        "two_tower.keras": _size(path / "two_tower.keras"),
        "two_tower.weights.h5": _size(path / "two_tower.weights.h5"),
        "weights.safetensors": f"{_size(path / 'weights.safetensors')} (parameters alone)",
        "whole release": f"{sum(file['bytes'] for file in manifest.files.values()) / 1e6:,.1f} MB, encoder included",
        "seconds": ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
        + f"; in all {sum(seconds.values()):.1f}",
        "path": str(path),
    }
    console.print(fields_table(rows))


def _point(point: Epoch | LossPoint) -> str:
    if isinstance(point, Epoch):
        return f"epoch {point.epoch}: MSE {point.mse:.4f}, MAE {point.mae:.4f}"
    return f"step {point.step}: loss {point.loss:.4f}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.2f} MiB"
