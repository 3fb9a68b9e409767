"""The report of a release: ``report.html``, ``MODEL_CARD.md`` and TensorBoard logs, in a folder beside the releases."""

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainer.network.presets import PRESETS, Preset
from trainer.network.towers import input_widths
from trainer.pipeline import TrainingResult
from trainer.report import figures
from trainer.report.limits import findings, limits_of
from trainer.report.render import render
from twotower.als import fold_in
from twotower.features import (
    MAX_RATING,
    USER_INPUTS,
    Float32,
    Int64,
    cold_rows,
    user_rows,
)
from twotower.model import score_catalogue, top_k
from twotower.release import Release

_EXAMPLES: Final = 5
_MAX_HELD_OUT: Final = 20_000


def write_report(folder: Path, result: TrainingResult, evaluation: Mapping[str, Any] | None = None) -> Path:
    """Write the report of a release.

    It is no part of the release, whose id stays that of what is served.

    Args:
        folder: made if missing.
        result: of the training run.
        evaluation: table of ``twotower evaluate --json``; without it the page says how to get one.

    Returns:
        Path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MODEL_CARD.md").write_text(model_card(result.release, evaluation), encoding="utf-8")
    _tensorboard(folder / "tensorboard", result)
    page = folder / "report.html"
    page.write_text(_page(result, evaluation), encoding="utf-8")
    return page


def _page(result: TrainingResult, evaluation: Mapping[str, Any] | None) -> str:
    release, manifest, preset = result.release, result.release.manifest, PRESETS[result.release.manifest.preset]
    dropouts = preset.tower_dropout, preset.fusion_dropout
    methods = evaluation["methods"] if evaluation else {}
    return render(
        "release.html",
        title=release.release_id,
        preset=preset,
        facts=_facts(manifest.dataset),
        network=figures.network(_user_inputs(preset), preset.activation, dropouts),
        parameters=manifest.metrics["trainable_parameters"],
        curves=figures.curves([asdict(point) for point in result.fitted.curve]),
        evaluation=evaluation,
        fold_bars=figures.fold_bars(methods) if methods else "",
        warm_and_cold=figures.warm_and_cold(methods) if methods else "",
        findings=findings(evaluation, preset.name) if evaluation else [],
        popularity=figures.popularity(np.array([product.review_count for product in release.catalogue])),
        ratings=figures.ratings(result.reviews.rating, *_held_out(result)),
        examples=_examples(release),
        limits=limits_of(preset.name, manifest.scoring),
    )


def _user_inputs(preset: Preset) -> list[str]:
    return [f"{name} {width}" for name, width in input_widths(preset).items() if name in USER_INPUTS]


def _facts(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest says of the file, in words."""
    problems = {name: f"{count:,} rows" for name, count in dataset.get("problems", {}).items()}
    facts = {name.replace("_", " "): value for name, value in dataset.items() if name != "problems"} | problems
    return [(name, _fact(value)) for name, value in facts.items()]


def _fact(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return str(value)


def _held_out(result: TrainingResult) -> tuple[Float32 | None, Float32 | None]:
    """Predicted and real stars of the reviews after the training period; None if there are none."""
    rows = np.arange(result.training_rows, len(result.reviews))
    rows = rows[:: -(-len(rows) // _MAX_HELD_OUT) or 1]
    if not len(rows):
        return None, None
    release, features = result.release, result.inputs.features
    states, inverse = np.unique(features.state[rows], return_inverse=True)
    network = score_catalogue(release.weights, features.states[states], release.product_fusion)
    ratings = release.scoring.ratings(network)
    return ratings[inverse, result.reviews.product[rows]], result.reviews.rating[rows]


def _examples(release: Release) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """What a cold user gets and what made-up users get who gave five stars to much reviewed products: nobody's history.

    Each comes after who they are in words.
    """
    favourites = np.argsort([-product.review_count for product in release.catalogue], kind="stable")
    unseen = np.zeros(0, np.int64)
    examples = [("A user without a history", _recommended(release, cold_rows(release.global_mean), unseen))]
    for liked in (favourites[:1], favourites[1:2], favourites[2:5]):
        if not len(liked):
            continue
        als = fold_in(release.item_factors, [dict.fromkeys(liked.tolist(), MAX_RATING)])
        row = user_rows(als, release.global_mean[np.newaxis], False)
        names = ", ".join(
            textwrap.shorten(release.catalogue[product].name, 50, placeholder=" …") for product in liked.tolist()
        )
        examples.append((f"A user who gave five stars to {names}", _recommended(release, row, liked)))
    return examples


def _recommended(release: Release, row: Float32, seen: Int64) -> list[tuple[str, float, float]]:
    """Name, score and predicted rating of the best products that the user of a row has not seen."""
    network = score_catalogue(release.weights, row, release.product_fusion)
    scores, ratings = release.scoring.scores(network).copy(), release.scoring.ratings(network)
    scores[0, seen] = -np.inf
    best = top_k(scores, _EXAMPLES)[0].tolist()
    return [(release.catalogue[product].name, scores[0, product], ratings[0, product]) for product in best]


def model_card(release: Release, evaluation: Mapping[str, Any] | None) -> str:
    """Render the model card, Markdown."""
    manifest, preset = release.manifest, PRESETS[release.manifest.preset]
    return render(
        "model_card.md",
        release_id=release.release_id,
        preset=preset,
        parameters=manifest.metrics["trainable_parameters"],
        data=manifest.dataset,
        evaluation=evaluation,
        findings=findings(evaluation, preset.name) if evaluation else [],
        limits=limits_of(preset.name, manifest.scoring),
    )


def _tensorboard(folder: Path, result: TrainingResult) -> None:
    import tensorflow as tf

    if folder.exists():  # a second run of the same release would append the same curve
        return
    with tf.summary.create_file_writer(str(folder)).as_default():
        for point in result.fitted.curve:
            step, *series = asdict(point).items()
            for name, value in series:
                if value is not None:
                    tf.summary.scalar(name, value, step=int(step[1]))
