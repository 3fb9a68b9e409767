"""What files say, read again when they change: certificates, keys, identities."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from twotower.errors import TwotowerError
from twotower.file_watch import FileWatch

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class Reloaded(Generic[T]):
    """What files say; when one changed they are read again, and if that fails what they said before stays.

    A failure is logged once per change. Any thread may ask.

    Args:
        files: looked at once per second at most; those that are None are left out.
        read: reads them; raises a :class:`TwotowerError`, OSError or ValueError if they are wrong, also here.

    Attributes:
        version: how often they were read.
    """

    def __init__(self, files: Iterable[Path | None], read: Callable[[], T]) -> None:
        self._files = [file for file in files if file]
        self._watch = FileWatch(self._files)
        self._read = read
        self._value = read()
        self.version = 1

    def __call__(self) -> T:
        """What they say now."""
        if self._watch.changed():
            names = ", ".join(map(str, self._files))
            try:
                self._value = self._read()
            except (TwotowerError, OSError, ValueError) as error:
                _LOG.error("%s changed and can't be used; what was read before stays in use: %s", names, error)
            else:
                self.version += 1
                _LOG.info("%s changed and was read again", names)
        return self._value
