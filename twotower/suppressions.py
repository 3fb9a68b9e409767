"""The suppression list: who was deleted and when, so that files which still hold the user are read without him or her.

The embedding service appends to it at every DeleteUser; its imports and the trainer leave out what it names
(docs/formats/suppressions.md). It holds no names: a user is the sha256 of the file's salt and the user id.
"""

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twotower.errors import FieldViolation, InvalidFile
from twotower.temporary_folders import fsync

FILE_NAME: Final = "suppressed_users.jsonl"
_FORMAT_VERSION: Final = 1
_SALT_BYTES: Final = 16
_US_PER_S: Final = 1_000_000


@dataclass(frozen=True)
class _List:
    salt: bytes
    deleted_us: dict[str, int]


class Suppressions:
    """Who was deleted, by all lists that were read.

    Args:
        lists: of any number of services.
    """

    def __init__(self, lists: Iterable[_List] = ()) -> None:
        self._lists = [each for each in lists if each.deleted_us]

    def __bool__(self) -> bool:
        return bool(self._lists)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Suppressions":
        """Read lists; one that nobody was written to yet may be empty, but must be there.

        Raises:
            InvalidFile: a file is not there or is no such list. It is never taken for an empty one.
        """
        return cls(map(_read, paths))

    def deleted_us(self, user_id: str) -> int | None:
        """When a user was last deleted, in microseconds since 1970; None if never."""
        times = (each.deleted_us.get(_digest(each.salt, user_id)) for each in self._lists)
        return max((time for time in times if time is not None), default=None)


def make_list(path: Path) -> None:
    """Make an empty list where there is none, for its owner alone; trainings then read it before anybody is deleted.

    Raises:
        OSError: it can't be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def suppress(path: Path, user_id: str, deleted_us: int) -> None:
    """Add a user to a list, on disk when this returns; several processes may do so at once. Blocks.

    Args:
        path: the list; made if it is not there, for its owner alone.
        user_id: who was deleted.
        deleted_us: when, in microseconds since 1970.

    Raises:
        OSError: it can't be written; nothing was added.
        InvalidFile: it is no suppression list.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Without a buffer, whose rest would be written when the file is closed, after what was written was taken back.
    with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123 - by its descriptor
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # without what a writer that was killed left of a line
        if whole:
            salt, new = _header(path, whole.split(b"\n", 1)[0]), b""
        else:
            salt = secrets.token_bytes(_SALT_BYTES)
            new = _line({"format_version": _FORMAT_VERSION, "salt": salt.hex()})
        moment = datetime.fromtimestamp(deleted_us / _US_PER_S, UTC).isoformat(timespec="microseconds")
        new += _line({"deleted_at": moment, "user": _digest(salt, user_id)})
        try:
            file.seek(len(whole))
            file.truncate()
            while new:
                new = new[file.write(new) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, len(whole))
            raise
    if not whole:
        fsync(path.parent)


def _read(path: Path) -> _List:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _no_list(path, error.strerror or str(error)) from error
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    if not lines:
        if data:
            raise _no_list(path, "its first line has no end")
        return _List(b"", {})
    salt, deleted_us = _header(path, lines[0]), dict[str, int]()
    for number, line in enumerate(lines[1:], start=2):
        try:
            entry: Any = json.loads(line)
            moment = datetime.fromisoformat(entry["deleted_at"])
            user = bytes.fromhex(entry["user"]).hex()
            time = round(moment.timestamp() * _US_PER_S)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise _no_list(path, f"line {number}: {error}") from error
        deleted_us[user] = max(time, deleted_us.get(user, time))
    return _List(salt, deleted_us)


def _header(path: Path, line: bytes) -> bytes:
    """The salt of a list."""
    try:
        header: Any = json.loads(line)
        if header["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"format_version must be {_FORMAT_VERSION}")
        return bytes.fromhex(header["salt"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _no_list(path, f"line 1: {error}") from error


def _no_list(path: Path, why: str) -> InvalidFile:
    return InvalidFile(path, [FieldViolation("--suppressions", f"must be a list of deleted users: {why}")])


def _digest(salt: bytes, user_id: str) -> str:
    return hashlib.sha256(salt + user_id.encode()).hexdigest()


def _line(entry: dict[str, object]) -> bytes:
    return json.dumps(entry).encode() + b"\n"
