"""Writing, pruning and forgetting the users of releases; docs/formats/release.md has the files.

Their folder is open to nobody but its owner: it holds what people wrote, as vectors, and when they wrote it.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ReleaseInvalid
from twotower.features import Int64
from twotower.release_users import (
    REVIEW_IDS,
    UNDATED,
    USER_ARRAYS,
    USER_FILES,
    USER_IDS,
    USERS_MANIFEST,
    ReleaseUsers,
    UsersManifest,
    read_users_manifest,
    user_array,
)
from twotower.suppressions import Suppressions
from twotower.temporary_folders import TemporaryFolder, fsync_tree

KEPT_USERS: Final = 3
"""How many releases' users `twotower train` keeps; older ones are removed."""
_TEMPORARY_PREFIX: Final = ".writing-"
_OWNER_ONLY: Final = 0o700
_ROWS_AT_ONCE: Final = 65_536


class UsersWriter:
    """Writes the users of one release; a context manager that leaves nothing behind unless :meth:`commit` was reached.

    Args:
        root: folder of users; made if missing, for its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> Self:
        self._made_root = not self._root.exists()
        self._root.mkdir(parents=True, exist_ok=True)
        if self._made_root:
            self._root.chmod(_OWNER_ONLY)
        self._folder = TemporaryFolder(self._root, _TEMPORARY_PREFIX).__enter__()
        self._folder.tree.chmod(_OWNER_ONLY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.__exit__(kind, error, trace)
        if kind is not None and self._made_root and not any(self._root.iterdir()):
            self._root.rmdir()

    @property
    def path(self) -> Path:
        """Where the files are written to."""
        return self._folder.tree

    def write(
        self, user_ids: Iterable[str], review_ids: Iterable[str], columns: Mapping[str, Iterable[NDArray[Any]]]
    ) -> None:
        """Write the files.

        Args:
            user_ids: names, in order.
            review_ids: ids of their reviews, in order.
            columns: for each of :data:`twotower.release_users.USER_ARRAYS` its parts, one under the other; only one is
                in memory at a time.
        """
        for name, ids in ((USER_IDS, user_ids), (REVIEW_IDS, review_ids)):
            with (self.path / name).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in ids)
        for name, (dtype, row_shape) in USER_ARRAYS.items():
            _write_parts(self.path / user_array(name), np.dtype(dtype), row_shape, columns[name])

    def commit(self, release_id: str, created_at: str = "") -> Path:
        """Give the users to a release, in place of those that it may have; nothing changes if they are the same."""
        target = self._root / release_id
        created_at = created_at or datetime.now(UTC).isoformat(timespec="seconds")
        sha256 = {}
        for name in USER_FILES:
            with (self.path / name).open("rb") as file:
                sha256[name] = hashlib.file_digest(file, "sha256").hexdigest()
        manifest = UsersManifest(release_id, created_at, sha256)
        text = json.dumps(dataclasses.asdict(manifest), sort_keys=True, indent=2) + "\n"
        (self.path / USERS_MANIFEST).write_text(text, encoding="utf-8")
        fsync_tree(self.path)
        self._folder.replace(target)
        return target


def keep_newest(root: Path, count: int) -> None:
    """Remove the users of all releases but the newest ones from a folder of users."""
    _remove(root, [name for _, name in _by_time(root)[count:]])


def keep_newer(root: Path, release_id: str) -> None:
    """Remove the users of a release and of all that are not newer from a folder of users."""
    dated = _by_time(root)
    published = next((time for time, name in dated if name == release_id), None)
    if published is not None:
        _remove(root, [name for time, name in dated if time <= published])


def forget_users(root: Path, suppressions: Suppressions) -> int:
    """Take deleted users out of a folder of users: whoever has a review from before the deletion, or an undated one.

    Users of other releases than the newest may have come back since; the next training has what they wrote then.

    Returns:
        How many were taken out, over all releases.
    """
    forgotten = 0
    for path in root.glob(f"*/{USERS_MANIFEST}") if suppressions else ():
        manifest = read_users_manifest(path.parent)
        users = ReleaseUsers.open(path.parent, manifest.release_id, np.iinfo(np.int32).max)
        ids, deleted = list(users.user_ids()), deleted_users(users, suppressions)
        if not any(deleted):
            continue
        forgotten += sum(deleted)
        kept = np.flatnonzero(~np.array(deleted))
        counts = np.diff(users.review_offsets)
        reviews = np.flatnonzero(~np.repeat(deleted, counts))
        review_ids = list(users.review_ids())
        columns = {name: _parts(getattr(users, name), reviews) for name in USER_ARRAYS}
        columns["review_offsets"] = iter([np.cumsum([0, *counts[kept]])])
        columns["als"] = iter([users.als[kept]])
        with UsersWriter(root) as writer:
            writer.write([ids[row] for row in kept.tolist()], [review_ids[row] for row in reviews.tolist()], columns)
            writer.commit(manifest.release_id, manifest.created_at)
    return forgotten


def deleted_users(users: ReleaseUsers, suppressions: Suppressions) -> list[bool]:
    """For each user, whether he or she was deleted and has a review from before that, or an undated one."""
    return [_is_deleted(users, row, suppressions.deleted_us(name)) for row, name in enumerate(users.user_ids())]


def _parts(column: NDArray[Any], rows: Int64) -> Iterator[NDArray[Any]]:
    """Some rows of a column, a part at a time."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield column[rows[start : start + _ROWS_AT_ONCE]]


def _is_deleted(users: ReleaseUsers, row: int, deleted_us: int | None) -> bool:
    if deleted_us is None:
        return False
    times = users.times_us[users.reviews_of(row)]
    return bool(((times <= deleted_us) | (times == UNDATED)).any())


def _by_time(root: Path) -> list[tuple[str, str]]:
    """Time and release id of all users in a folder, newest first; what can't be read is the oldest."""
    dated = []
    for path in root.glob(f"*/{USERS_MANIFEST}"):
        try:
            dated.append((read_users_manifest(path.parent).created_at, path.parent.name))
        except ReleaseInvalid:
            dated.append(("", path.parent.name))
    return sorted(dated, reverse=True)


def _remove(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name / USERS_MANIFEST).unlink(missing_ok=True)  # first: without it there are no users
        shutil.rmtree(root / name)


def _write_parts(path: Path, dtype: np.dtype[Any], row_shape: tuple[int, ...], parts: Iterable[NDArray[Any]]) -> None:
    """Write a ``.npy`` file of parts, as ``numpy.save`` would write them in one piece.

    The header comes first and holds the number of rows, so it is written again when that is known: numpy leaves room
    in it for this.
    """
    header: dict[str, Any] = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
    rows = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, *row_shape)})
        for part in parts:
            np.ascontiguousarray(part, dtype).tofile(file)
            rows += len(part)
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header | {"shape": (rows, *row_shape)})
