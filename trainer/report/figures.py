"""Pictures as SVG, ready for a page: the same data gives the same bytes."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from twotower.features import TOWER_DIM, Float32, Int64

_BLUE: Final = "#2563eb"
_ORANGE: Final = "#ea580c"
_GREY: Final = "#94a3b8"
REPRODUCIBLE: Final[Any] = {"svg.hashsalt": "twotower", "svg.fonttype": "none"}
"""Settings under which a figure is drawn the same every time."""
_STYLE: Final[Any] = {
    **REPRODUCIBLE,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


class Figure:
    """A picture in the making: `axes` to draw on, `svg` when the block has ended."""

    def __init__(self, axes: Any) -> None:
        self.axes = axes
        self.svg = Markup()


@contextmanager
def figure(width: float = 9.0, height: float = 3.2, columns: int = 1) -> Iterator[Figure]:
    """Draw a figure of so many inches; its `axes` are an array if there are several columns."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        made = Figure(canvas.subplots(1, columns))
        yield made
        made.svg = svg_of(canvas)


def svg_of(canvas: Any, **options: Any) -> Markup:
    """A matplotlib figure as an SVG element; `options` go to its ``savefig``."""
    file = io.StringIO()
    canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, **options)
    text = file.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - matplotlib escapes the texts of its SVG


def curves(points: Sequence[Mapping[str, float | None]]) -> Markup:
    """Draw every series of a training curve against its first key, epoch or step."""
    x, *names = points[0]
    drawn = points[1:] if points[0][x] == 0 else points
    with figure() as made:
        for name in names:
            pairs = [(point[x], point[name]) for point in drawn if point[name] is not None]
            if pairs:
                made.axes.plot(*zip(*pairs, strict=True), marker="o", markersize=3, label=name.replace("_", " "))
        made.axes.set_xlabel(x)
        made.axes.legend(frameon=False)
    return made.svg


def fold_bars(methods: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Draw nDCG@10 of each method on each fold, with 95 % intervals."""
    folds = max(len(figures["folds"]) for figures in methods.values())
    width = 0.8 / folds
    with figure(9.0, 0.6 + 0.42 * len(methods)) as made:
        for fold in range(folds):
            values = [figures["folds"][fold] for figures in methods.values()]
            centres = [value["ndcg@10"] for value in values]
            errors = [
                [value["ndcg@10"] - value["low"] for value in values],
                [value["high"] - value["ndcg@10"] for value in values],
            ]
            positions = np.arange(len(methods)) + (fold - (folds - 1) / 2) * width
            shade = 0.35 + 0.6 * fold / max(1, folds - 1)
            made.axes.barh(
                positions, centres, width, xerr=errors, color=_BLUE, alpha=shade, ecolor=_GREY, label=f"fold {fold + 1}"
            )
        made.axes.set_yticks(np.arange(len(methods)), list(methods))
        made.axes.invert_yaxis()
        made.axes.set_xlabel("nDCG@10")
        made.axes.legend(frameon=False, ncols=folds, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return made.svg


def warm_and_cold(methods: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Draw nDCG@10 of users with and without a history."""
    with figure(9.0, 0.6 + 0.34 * len(methods)) as made:
        for number, (group, colour) in enumerate((("warm", _ORANGE), ("cold", _BLUE))):
            values = [figures[group]["ndcg@10"] or 0.0 for figures in methods.values()]
            made.axes.barh(np.arange(len(methods)) + (number - 0.5) * 0.38, values, 0.36, color=colour, label=group)
        made.axes.set_yticks(np.arange(len(methods)), list(methods))
        made.axes.invert_yaxis()
        made.axes.set_xlabel("nDCG@10")
        made.axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return made.svg


def popularity(counts: Int64) -> Markup:
    """Draw how many reviews each product has, the most reviewed first, and the share that the first so many hold."""
    ordered = np.sort(counts[counts > 0])[::-1]
    with figure(9.0, 3.2, columns=2) as made:
        left, right = made.axes
        left.loglog(np.arange(1, len(ordered) + 1), ordered, color=_BLUE)
        left.set(xlabel="product, most reviewed first", ylabel="reviews")
        right.plot(np.arange(1, len(ordered) + 1), np.cumsum(ordered) / ordered.sum(), color=_ORANGE)
        right.set(xlabel="the so many most reviewed products", ylabel="share of all reviews", ylim=(0, 1.02))
    return made.svg


def ratings(stars: Float32, predicted: Float32 | None, actual: Float32 | None) -> Markup:
    """Draw a histogram of stars; and, where there are held-out rows, mean rating by predicted rating."""
    with figure(9.0, 3.2, columns=2) as made:
        left, right = made.axes
        left.hist(stars, bins=np.arange(-0.25, 5.5, 0.5), color=_BLUE)
        left.set(xlabel="stars", ylabel="reviews")
        if predicted is None or actual is None or not len(predicted):
            right.axis("off")
            right.text(0.5, 0.5, "no predicted ratings", ha="center", transform=right.transAxes)
        else:
            edges = np.unique(np.quantile(predicted, np.linspace(0, 1, 11)))
            tenth = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, max(0, len(edges) - 2))
            means = [float(actual[tenth == part].mean()) for part in np.unique(tenth)]
            for part in np.unique(tenth):
                rows = tenth == part
                error = 1.96 * float(actual[rows].std()) / float(rows.sum()) ** 0.5
                right.errorbar(
                    predicted[rows].mean(), actual[rows].mean(), yerr=error, fmt="o", color=_ORANGE, ecolor=_GREY
                )
            right.plot([0, 5], [0, 5], color=_GREY, linestyle="--", linewidth=1)
            low = max(-0.1, min(float(edges[0]), *means) - 0.5)
            right.set(
                xlabel="predicted rating (tenths of the held-out reviews)",
                ylabel="mean rating",
                xlim=(low, 5.1),
                ylim=(low, 5.1),
            )
    return made.svg


def network(user_inputs: Sequence[str], activation: str, dropouts: tuple[float, float]) -> Markup:
    """Draw the two towers and the fusion head as boxes."""
    left = [*user_inputs, "256", "128", f"dropout {dropouts[0]:g}", "User_Tower_Output 64"]
    right = [
        "product_ALS_Embedding 64",
        "product_BERT_Embedding 384",
        "256",
        "128",
        f"dropout {dropouts[0]:g}",
        "Product_Tower_Output 64",
    ]
    head = ["concatenate 128", "64", f"dropout {dropouts[1]:g}", "32", "Final_Output 1, linear"]
    with figure(9.0, 6.2) as made:
        axes = made.axes
        axes.axis("off")
        axes.set(xlim=(0, 10), ylim=(-0.6, 12))
        ends = [
            _column(axes, names, x, colour) for names, x, colour in ((left, 2.4, "#dbeafe"), (right, 7.6, "#ffedd5"))
        ]
        bottom = min(ends)
        y = bottom - 0.9
        for number, name in enumerate(head):
            _box(axes, 5.0, y, name, "#dcfce7")
            sources = ((2.4, ends[0]), (7.6, ends[1])) if not number else ((5.0, y + 0.95),)
            for x, end in sources:
                _arrow(axes, (x, end - 0.3), (5.0, y + 0.32))
            y -= 0.95
        axes.text(5.0, 11.7, f"activation {activation}", ha="center", style="italic")
    return made.svg


def _column(axes: Any, names: Sequence[str], x: float, colour: str) -> float:
    y = 11.0
    for number, name in enumerate(names):
        _box(axes, x, y, name, colour)
        if (number and "_" not in name) or name.endswith(f"Output {TOWER_DIM}"):  # inputs stand beside each other
            _arrow(axes, (x, y + 0.65), (x, y + 0.32))
        y -= 0.95
    return y + 0.95


def _box(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        bbox={"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": _GREY},
    )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": _GREY})
