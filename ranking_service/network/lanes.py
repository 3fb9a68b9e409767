"""Threads, one per core, that score parts of a batch side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from twotower.cores import usable_cores

PartT = TypeVar("PartT")


class Lanes:
    """Scores parts of a batch side by side, each in one thread (docs/adr/0012-lanes.md).

    That costs less than XLA's own threads, which meet after every operation. The caller takes part after part itself,
    and threads that are free help: so nothing waits for a thread to wake up, and with two batches at a time each has a
    core.

    Args:
        count: cores to use; all that the process may run on if None.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or usable_cores()
        self._threads = ThreadPoolExecutor(self.count - 1, thread_name_prefix="lane") if self.count > 1 else None

    def each(self, function: Callable[[PartT], object], parts: Sequence[PartT]) -> None:
        """Call `function` with every part, and return when all are done.

        Raises:
            Exception: the first that a part raised.
        """
        remaining = iter(parts)  # shared: taking the next one is a single step under the interpreter's lock

        def work() -> None:
            for part in remaining:
                function(part)

        futures = [self._threads.submit(work) for _ in range(min(self.count, len(parts)) - 1)] if self._threads else []
        try:
            work()
        finally:
            running = [future for future in futures if not future.cancel()]
            wait(running)  # also if one raised: none may still write when this returns
            for future in running:
                future.result()

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()
