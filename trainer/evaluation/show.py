"""The table as a person reads it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from trainer.evaluation.methods import DECAYED, LIVE


def print_table(console: Console, table: Mapping[str, Any]) -> None:
    """nDCG@10 by group, hit rate, MRR, coverage, diversity, RMSE, and the intervals against decayed and live popularity."""
    protocol = table["protocol"]
    rows = protocol["rows"]
    title = (
        f"{len(protocol['folds'])} rolling folds pooled: {rows['all']:,} rows, {rows['warm']:,} of users with a history; "
        f"{len(protocol['seeds'])} seeds (* counts reviews as they arrive)"
    )
    shown = Table(title=title)
    shown.add_column("method")
    for column in ("nDCG@10", "warm", "cold", "hit@10", "MRR", "coverage", "diversity", "RMSE", "warm − decayed", "warm − live"):
        shown.add_column(column, justify="right")
    for name, figures in table["methods"].items():
        groups = [_number(figures[group]["ndcg@10"]) for group in ("all", "warm", "cold")]
        rest = [_number(figures["all"]["hit@10"]), _number(figures["all"]["mrr"])]
        lists = [_number(figures["coverage@10"]), _number(figures["diversity@10"]), _number(figures["rmse"])]
        against = [_interval(figures["warm"].get("difference_to", {}).get(baseline)) for baseline in (DECAYED, LIVE)]
        shown.add_row(name + (" *" if figures["live"] else ""), *groups, *rest, *lists, *against)
    console.print(shown)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(difference: Mapping[str, float | None] | None) -> str:
    if not difference or difference["mean"] is None:
        return "–"
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
