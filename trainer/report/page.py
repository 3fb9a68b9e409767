"""The report of a release: ``report.html``, ``MODEL_CARD.md`` and TensorBoard logs, in a folder beside the releases."""

import html
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainer.network.presets import PRESETS, Preset
from trainer.pipeline import TrainingResult
from trainer.report import figures
from trainer.report.limits import findings, limits_of
from twotower.features import (
    IS_ANONYMOUS_INPUT,
    USER_ALS_INPUT,
    USER_BERT_INPUT,
    Float32,
    exclusive_sums,
    running_mean,
    user_rows,
)
from twotower.model import score_catalogue, top_k
from twotower.release import Release

_EXAMPLES: Final = 5
_MAX_HELD_OUT: Final = 20_000
_CSS: Final = """
body{font:16px/1.55 system-ui,sans-serif;color:#0f172a;max-width:960px;margin:2.5rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{margin-top:2.4rem;border-bottom:1px solid #e2e8f0;padding-bottom:.2rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e2e8f0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}.note{color:#475569}
"""


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
    release, preset = result.release, PRESETS[result.release.manifest.preset]
    manifest = release.manifest
    predicted, actual = _held_out(result)
    measured = (
        _evaluation(evaluation, preset.name)
        if evaluation
        else [
            (
                "Ranking quality",
                "<p class=note>Not measured in this run: <code>twotower evaluate --reviews … --json table.json</code>, "
                "then <code>twotower train … --evaluation table.json</code>.</p>",
            )
        ]
    )
    sections = [
        ("Data", _facts(manifest.dataset)),
        (
            "Network",
            figures.network(_user_inputs(preset), preset.activation, (preset.tower_dropout, preset.fusion_dropout))
            + f"<p>{manifest.metrics['trainable_parameters']:,} trainable parameters.</p>",
        ),
        ("Training", figures.curves([asdict(point) for point in result.fitted.curve])),
        *measured,
        ("Popularity", figures.popularity(np.array([product.review_count for product in release.catalogue]))),
        ("Ratings", figures.ratings(result.reviews.rating, predicted, actual)),
        ("Example recommendations", _examples(release)),
        (
            "What it cannot do",
            "<ul>"
            + "".join(f"<li>{html.escape(text)}</li>" for text in limits_of(preset.name, manifest.scoring))
            + "</ul>",
        ),
    ]
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections)
    head = f"<h1>{release.release_id}</h1><p class=note>Preset <b>{preset.name}</b>; two-tower recommender.</p>"
    return (
        "<!doctype html><html lang=en><meta "
        f"charset=utf-8><title>{release.release_id}</title><style>{_CSS}</style>{head}{body}</html>\n"
    )


def _user_inputs(preset: Preset) -> list[str]:
    flag = [f"{IS_ANONYMOUS_INPUT} 1"] if preset.with_is_anonymous else []
    return [f"{USER_ALS_INPUT} 64", f"{USER_BERT_INPUT} 384", *flag]


def _facts(facts: Mapping[str, Any]) -> str:
    flat = {**facts, **{name: f"{count:,} rows" for name, count in facts.get("problems", {}).items()}}
    flat.pop("problems", None)
    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}<td>{html.escape(_fact(value))}" for name, value in flat.items()
    )
    return f"<table>{rows}</table>"


def _fact(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return str(value)


def _evaluation(table: Mapping[str, Any], preset: str) -> list[tuple[str, str]]:
    methods, rows = table["methods"], table["protocol"]["rows"]
    note = (
        f"<p class=note>Rolling temporal folds pooled: {rows['all']:,} reviews, {rows['warm']:,} of them by "
        "users with a history. "
        "Whole catalogue ranked, minus what the user has reviewed. Bars show 95 % intervals.</p>"
    )
    found = "".join(f"<li>{html.escape(text)}</li>" for text in findings(table, preset))
    return [
        ("Ranking quality, fold by fold", note + figures.fold_bars(methods) + (f"<ul>{found}</ul>" if found else "")),
        ("Users with and without a history", figures.warm_and_cold(methods)),
    ]


def _held_out(result: TrainingResult) -> tuple[Float32 | None, Float32 | None]:
    """Predicted and real stars of the reviews after the training period."""
    rows = np.arange(result.training_rows, len(result.reviews))
    rows = rows[:: -(-len(rows) // _MAX_HELD_OUT) or 1]
    if not len(rows):
        return None, None
    release, features = result.release, result.inputs.features
    states, place = np.unique(features.state[rows], return_inverse=True)
    network = score_catalogue(release.weights, features.states[states], release.product_fusion)
    ratings = release.scoring.ratings(network)
    return ratings[place, result.reviews.product[rows]], result.reviews.rating[rows]


def _examples(release: Release) -> str:
    """A cold user and the users with the longest histories among the first, with what they reviewed and what they
    get.
    """
    offsets, products = release.array("users/review_offsets.npy"), release.array("users/products.npy")
    users = np.argsort(-np.diff(offsets), kind="stable")[:3]
    cold = user_rows(np.zeros((1, 64), np.float32), np.asarray(release.global_mean)[np.newaxis], False)
    parts = [_recommended(release, "A user without a history", cold, np.zeros(0, np.int64))]
    for number, user in enumerate(users.tolist(), start=1):
        own = slice(int(offsets[user]), int(offsets[user + 1]))
        vectors = np.asarray(release.array("users/fixed_point.npy")[own])
        sums = exclusive_sums(np.concatenate([vectors, vectors[:1]]), [0])[-1]
        row = user_rows(
            np.asarray(release.array("users/als.npy")[user : user + 1]),
            running_mean(sums, len(vectors))[np.newaxis],
            False,
        )
        seen = np.unique(products[own])
        names = ", ".join(
            textwrap.shorten(release.catalogue[product].name, 50, placeholder=" …") for product in seen[:4].tolist()
        )
        more = f" and {len(seen) - 4} more" if len(seen) > 4 else ""
        parts.append(_recommended(release, f"User {number}, who reviewed {names}{more}", row, seen))
    return "".join(parts)


def _recommended(release: Release, title: str, row: Float32, seen: Any) -> str:
    network = score_catalogue(release.weights, row, release.product_fusion)
    scores, ratings = release.scoring.scores(network).copy(), release.scoring.ratings(network)
    scores[0, seen] = -np.inf
    lines = "".join(
        f"<tr><td>{html.escape(release.catalogue[product].name)}<td class=n>{scores[0, product]:.2f}<td "
        f"class=n>{ratings[0, product]:.2f}"
        for product in top_k(scores, _EXAMPLES)[0].tolist()
    )
    return (
        f"<h3>{html.escape(title)}</h3><table><tr><th>product<th class=n>score<th class=n>predicted "
        f"rating{lines}</table>"
    )


def model_card(release: Release, evaluation: Mapping[str, Any] | None) -> str:
    """The model card, Markdown."""
    manifest, preset = release.manifest, PRESETS[release.manifest.preset]
    data = manifest.dataset
    lines = [
        f"# {release.release_id}",
        "",
        f"Two-tower recommender, preset `{preset.name}`: {preset.activation}, {preset.initializer}, "
        f"{preset.dropout}, {preset.optimizer}, "
        f"{manifest.metrics['trainable_parameters']:,} parameters.",
        "",
        "## Data",
        "",
        f"{data['reviews']:,} reviews of {data['products']:,} products by {data['users']:,} users, "
        f"{data['first_review'][:10]} to "
        f"{data['last_review'][:10]}; trained on the first {data['training_reviews']:,}. sha256 `{data['sha256']}`.",
        "",
        "## Quality",
        "",
    ]
    if evaluation:
        lines += ["| method | nDCG@10 | warm | cold |", "| --- | --- | --- | --- |"]
        for name, found in evaluation["methods"].items():
            values = " | ".join(
                "–" if found[group]["ndcg@10"] is None else f"{found[group]['ndcg@10']:.3f}"
                for group in ("all", "warm", "cold")
            )
            lines.append(f"| {name} | {values} |")
        lines += ["", *(f"- {text}" for text in findings(evaluation, preset.name))]
    else:
        lines.append(
            "Not measured in this run: `twotower evaluate` compares it with baselines on rolling temporal folds."
        )
    lines += ["", "## What it cannot do", "", *(f"- {text}" for text in limits_of(preset.name, manifest.scoring)), ""]
    return "\n".join(lines)


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
