"""Folders that something will be written to after long work: whether it can be is found out before."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from twotower.errors import FieldViolation, InvalidArgument

_LEAST_FREE: Final = 256 * 2**20
"""A release with its encoder is about 100 MiB."""


def check_folder(path: Path | None, option: str) -> None:
    """Refuse a folder that can't be written, or that has no room for a release; nothing stays behind.

    None stands for an option that was not given.

    Raises:
        InvalidArgument: naming the option, the folder and the reason.
    """
    if path is None:
        return
    existing = path
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise NotADirectoryError(None, "is a file")
        with tempfile.TemporaryDirectory(prefix=".twotower-", dir=existing) as probe:
            (Path(probe) / "probe").write_bytes(b"x")
        free = shutil.disk_usage(existing).free
    except OSError as error:
        message = f"must be a folder that can be written, {existing}: {error.strerror or error}"
        raise InvalidArgument([FieldViolation(option, message)]) from error
    if free < _LEAST_FREE:
        message = f"must have {_LEAST_FREE >> 20} MiB free, {existing} has {free >> 20}"
        raise InvalidArgument([FieldViolation(option, message)])
