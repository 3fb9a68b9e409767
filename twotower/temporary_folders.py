"""Folders that are written aside and renamed into place, and what writers that were killed leave of them.

A writer holds a lock on a file inside its folder for as long as it lives, whichever process, container or machine it
runs in. So whatever nobody holds was abandoned and can be removed, and what is being written never is.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

LOCK: Final = ".lock"
_TREE: Final = "tree"


class TemporaryFolder:
    """A context manager: a folder of one's own, removed on leaving unless it was moved into its place.

    Args:
        parent: where it is made; must exist.
        prefix: of its name. What others left under the same prefix is removed first.

    Attributes:
        tree: the folder to write to; :meth:`move` renames it.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        self._parent = parent
        self._prefix = prefix

    def __enter__(self) -> Self:
        remove_abandoned(self._parent, self._prefix)
        self._path, self._lock = _locked_folder(self._parent, self._prefix)
        self.tree = self._path / _TREE
        try:
            self.tree.mkdir()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._lock)

    def move(self, target: Path) -> bool:
        """Give the finished folder its name; False, and nothing is changed, if another has it."""
        try:
            self.tree.rename(target)
        except OSError:
            if target.exists():
                return False
            raise
        return True

    def replace(self, target: Path) -> None:
        """Give the finished folder its name in place of whatever has it."""
        while not self.move(target):
            with suppress(FileNotFoundError):  # another may have been faster
                target.rename(Path(tempfile.mkdtemp(prefix="replaced-", dir=self._path)) / _TREE)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the temporary folders that no living writer holds; where nothing can be locked, none."""
    for path in parent.glob(f"{prefix}*"):
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # gone meanwhile, not a folder, or somebody else's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it; again if it was taken for an abandoned one before it was locked."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        with suppress(OSError):  # a file system without locks: then nobody removes anything either
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), (path / LOCK).stat()):
                return path, lock
        os.close(lock)


def fsync(path: Path) -> None:
    """Put a file or the names in a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(directory: Path) -> None:
    """Put a folder and all that is in it on disk."""
    for path in (*directory.rglob("*"), directory):
        fsync(path)
