"""Cores that score parts of a batch side by side."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

PartT = TypeVar("PartT")


class Lanes:
    """Cores that score parts of a batch side by side.

    Each part runs in one thread. That costs less than XLA's own threads, which meet after every operation. The caller
    takes part after part itself, and threads that are free help: so nothing waits for a thread to wake up, and with two
    batches at a time each has a core.

    Args:
        count: cores to use; all that the process may run on if None.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or len(os.sched_getaffinity(0))
        self._helpers = ThreadPoolExecutor(self.count - 1, thread_name_prefix="lane") if self.count > 1 else None

    def each(self, function: Callable[[PartT], object], parts: Sequence[PartT]) -> None:
        """Call with every part; returns when all are done.

        Raises:
            Exception: the first that a part raised.
        """
        remaining = iter(parts)  # shared: taking the next one is a single step under the interpreter's lock

        def work() -> None:
            for part in remaining:
                function(part)

        helping = [self._helpers.submit(work) for _ in range(min(self.count, len(parts)) - 1)] if self._helpers else []
        try:
            work()
        finally:
            running = [helper for helper in helping if not helper.cancel()]
            wait(running)  # all of them, also if one raised: none may still write when this returns
            for helper in running:
                helper.result()

    def close(self) -> None:
        """End the threads."""
        if self._helpers:
            self._helpers.shutdown()
