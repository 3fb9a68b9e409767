"""The table of an evaluation at any width."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from trainer.evaluation.methods import DECAYED, LIVE
from trainer.evaluation.show import _COLUMNS, print_table

METHODS = ("random", "popularity, decayed", "best, lift + live popularity")


def table() -> dict[str, Any]:
    """Three methods; every figure occurs once."""
    methods: dict[str, Any] = {}
    for number, name in enumerate(METHODS):
        base = 0.1 + number / 10
        groups = {
            group: {"ndcg@10": base + place / 1000, "hit@10": base + 0.004, "mrr": base + 0.005}
            for place, group in enumerate(("all", "warm", "cold"))
        }
        difference = {"mean": 0.01 + number / 10, "low": -0.02 - number / 10, "high": 0.03 + number / 10}
        groups["warm"]["difference_to"] = {DECAYED: difference, LIVE: difference}  # type: ignore[assignment]
        methods[name] = {
            **groups,
            "live": number == 2,
            "by_seed": {group: {"deviation": 0.001} for group in groups},
            "coverage@10": base + 0.006,
            "diversity@10": base + 0.007,
            "rmse": base + 0.008,
        }
    rows = {"all": 100, "warm": 40, "cold": 60}
    return {"protocol": {"folds": [{}, {}], "seeds": [0], "rows": rows}, "methods": methods}


@pytest.mark.parametrize("width", [60, 80, 120, 2**20])
def test_every_column_is_there_and_no_line_is_too_wide(width: int) -> None:
    file = io.StringIO()
    print_table(Console(file=file, width=width, force_terminal=width < 1000, color_system=None), table())
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for column in _COLUMNS:
        for word in column.split():
            assert word in text
    for number in range(3):
        base = 0.1 + number / 10
        for figure in (0.0, 0.001, 0.002):
            assert f"{base + figure:.3f} ± 0.001" in text
        for figure in (0.004, 0.005, 0.006, 0.007, 0.008):
            assert f"{base + figure:.3f}" in text
        interval = f"{0.01 + number / 10:+.3f} [{-0.02 - number / 10:+.3f}, {0.03 + number / 10:+.3f}]"
        assert text.count(interval) == 2
    assert "1 seed," in text
    if width == 2**20:
        assert len(lines) == 2 + len(METHODS)
        assert all(re.search(re.escape(name), lines[2 + place]) for place, name in enumerate(METHODS))
