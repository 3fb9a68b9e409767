"""The users for whom a load test asks."""

import json
from pathlib import Path

from twotower.release_users import USER_IDS


def read_user_ids(path: Path) -> list[str]:
    """Read user ids from a text file with one per line, or from a release directory.

    Raises:
        ValueError: there is no user id.
    """
    if path.is_dir():
        with (path / USER_IDS).open(encoding="utf-8") as file:
            user_ids = [str(json.loads(line)) for line in file]
    else:
        user_ids = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    if not user_ids:
        raise ValueError(f"{path}: no user ids")
    return user_ids
