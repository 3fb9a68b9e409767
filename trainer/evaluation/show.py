"""The table as a person reads it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console

from trainer.evaluation.methods import DECAYED, LIVE
from twotower.terminal import Column, Listing, count

_COLUMNS: Final = (
    "nDCG@10",
    "warm",
    "cold",
    "hit@10",
    "MRR",
    "coverage",
    "diversity",
    "RMSE",
    "warm − decayed",
    "warm − live",
)


def print_table(console: Console, table: Mapping[str, Any]) -> None:
    """Print a row per method: figures, and intervals against decayed and live popularity."""
    protocol = table["protocol"]
    rows = protocol["rows"]
    folds, seeds = len(protocol["folds"]), count(len(protocol["seeds"]), "seed")
    title = (
        f"{folds} rolling folds pooled: {rows['all']:,} rows, {rows['warm']:,} of users with a history; {seeds}, ± "
        "their standard deviation (* counts reviews as they arrive)"
    )
    console.print(title, style="bold")
    shown = Listing(Column("method", "label"), *map(Column, _COLUMNS))
    for row in _rows(table):
        shown.add_row(*row)
    console.print(shown)


def markdown(table: Mapping[str, Any]) -> str:
    """The same table in Markdown."""
    lines = [["method", *_COLUMNS], ["---", *("---:" for _ in _COLUMNS)], *_rows(table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rows(table: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, figures in table["methods"].items():
        groups = [_spread(figures, group) for group in ("all", "warm", "cold")]
        rest = [_number(figures["all"]["hit@10"]), _number(figures["all"]["mrr"])]
        lists = [_number(figures["coverage@10"]), _number(figures["diversity@10"]), _number(figures["rmse"])]
        against = [_interval(figures["warm"].get("difference_to", {}).get(baseline)) for baseline in (DECAYED, LIVE)]
        yield [name + (" *" if figures["live"] else ""), *groups, *rest, *lists, *against]


def _spread(figures: Mapping[str, Any], group: str) -> str:
    """nDCG@10, and its deviation over seeds."""
    deviation = figures["by_seed"][group]["deviation"]
    return _number(figures[group]["ndcg@10"]) + (f" ± {deviation:.3f}" if deviation is not None else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(difference: Mapping[str, float | None] | None) -> str:
    if not difference or difference["mean"] is None:
        return "–"
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
