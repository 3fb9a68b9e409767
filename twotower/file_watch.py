"""Files that are read again when they have changed: tokens, keys, certificates."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

LOOK_EVERY_S: Final = 1.0
_Stamp = tuple[int, int, int]


class FileWatch:
    """Tells whether any of some files has changed; it looks at them once per second at most.

    Links are followed, so that a folder that is switched as a whole (as Kubernetes does it) is a change of its files.

    Args:
        paths: the files.
        clock: monotonic seconds.
    """

    def __init__(self, paths: Iterable[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._paths = tuple(paths)
        self._clock = clock
        self._stamps = self._look()
        self._look_at = clock() + LOOK_EVERY_S if self._paths else float("inf")

    def changed(self) -> bool:
        """Whether a file is another one than at the last call; True once per change. A file that is gone is one too."""
        if (now := self._clock()) < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        before, self._stamps = self._stamps, self._look()
        return self._stamps != before

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # Not the time of the content: it stays when a file becomes readable, and when a copy keeps it.
    return status.st_ctime_ns, status.st_ino, status.st_size
