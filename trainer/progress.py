"""Progress of a long run: a bar per stage, and how long each took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Shows stages as they run and keeps their durations.

    Args:
        console: where the bars are drawn; nowhere if None.

    Attributes:
        seconds: how long each stage took.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(quiet=True)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage; its block gets a function to call with the number of steps done since the last call.

        Args:
            label: what is shown, and the key of `seconds`.
            total: number of steps; not known if None.
        """
        started = time.monotonic()
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task(label, total=total)
            yield lambda steps: bars.advance(task, steps)
            bars.update(task, total=bars.tasks[0].completed or 1, completed=bars.tasks[0].completed or 1)
        self.seconds[label] = time.monotonic() - started
