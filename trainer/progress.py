"""Progress of a long run: a bar a stage, and how long each took."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

_WINDOW_S: Final = 30.0
_LEAST_S: Final = 3.0
_MARK_EVERY_S: Final = 0.2


class TimeLeft:
    """How long the rest of a stage takes, by the rate of the last half minute.

    The first report only starts the clock: what it counts, such as texts that were in a cache, took no time. A step
    that takes longer than those before it makes the rest longer while it lasts.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._last = 0.0
        self._done = 0

    def report(self, now: float, steps: int) -> None:
        """Note that so many more steps were done.

        Args:
            now: of any clock, in seconds.
            steps: done since the last report.
        """
        self._last = now
        self._done += steps
        if not self._marks or now - self._marks[-1][0] >= _MARK_EVERY_S:
            self._marks.append((now, self._done))
        while len(self._marks) > 1 and self._marks[1][0] <= now - _WINDOW_S:
            self._marks.popleft()

    def seconds(self, now: float, total: float | None) -> float | None:
        """Seconds that the rest takes; None before there is a rate, and at the end."""
        if total is None or not self._marks or self._done >= total:
            return None
        start, before = self._marks[0]
        steps = self._done - before
        if self._last - start < _LEAST_S or not steps:
            return None
        # The step that is being done may turn out to be a long one.
        per_step = max((self._last - start) / steps, (now - start) / (steps + 1))
        rest = total - self._done
        return max(rest * per_step - (now - self._last), (rest - 1) * per_step)


class _TimeLeftColumn(ProgressColumn):
    """The time left, where there is an estimate."""

    max_refresh = 0.5

    def __init__(self, left: TimeLeft) -> None:
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:
        """Show it in hours, minutes and seconds."""
        seconds = self._left.seconds(time.monotonic(), task.total)
        if seconds is None:
            return Text("")
        minutes, rest = divmod(round(seconds), 60)
        return Text(f"about {minutes // 60}:{minutes % 60:02}:{rest:02} left", style="progress.remaining")


class Progress:
    """Shows stages as they run and keeps their durations.

    Args:
        console: where the bars go; nowhere if None.

    Attributes:
        seconds: stage → how long it took.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(quiet=True)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage; gives a function that is called with the number of steps done since the last call.

        Args:
            label: shown, and key of `seconds`.
            total: steps; a bar without end if None.
        """
        started, left = time.monotonic(), TimeLeft()
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _TimeLeftColumn(left),
        )
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task(label, total=total)

            def advance(steps: int) -> None:
                left.report(time.monotonic(), steps)
                bars.advance(task, steps)

            yield advance
            bars.update(task, total=bars.tasks[0].completed or 1, completed=bars.tasks[0].completed or 1)
        self.seconds[label] = time.monotonic() - started
