"""What a training run says at its end, on terminals and in pipes."""

import io

import pytest
from rich.console import Console

from trainer.data.cleaning import CleaningReport, Problem
from trainer.network.fit_mse import Epoch, Fitted
from trainer.report.summary import print_curve, print_report

ACTION = "filled with the most frequent one of the training period"


def terminal(width: int, *, encoding: str = "utf-8") -> tuple[Console, io.TextIOWrapper]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    return Console(file=file, width=width, force_terminal=width < 1000, color_system=None, highlight=False), file


def text_of(file: io.TextIOWrapper) -> str:
    file.seek(0)
    return file.read()


@pytest.mark.parametrize("width", [40, 80, 2**20])
def test_the_action_taken_is_never_cut(width: int) -> None:
    problem = Problem("manufacturer", "must not be blank", ACTION, 60, tuple((row, "x" * 60) for row in range(5)))
    console, file = terminal(width)
    print_report(console, CleaningReport(rows_read=6000, rows_kept=6000, problems=(problem,)))
    text = text_of(file)
    assert ACTION in " ".join(text.split())
    assert text.count("\n") == 2 or width < 1000


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_curve_on_a_terminal_that_shows_less(encoding: str) -> None:
    epochs = [Epoch(number, 1 / (number + 1), 0.5, None, 0.25) for number in range(3)]
    console, file = terminal(80, encoding=encoding)
    file.reconfigure(errors="replace")
    print_curve(console, Fitted(None, epochs, best_epoch=2))  # type: ignore[arg-type]
    text = text_of(file)
    assert "1.0000" in text
    assert "kept" in text
    assert ("█" in text) == (encoding == "utf-8")
