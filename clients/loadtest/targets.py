"""What a load test asks if it is not told otherwise: the services of `make up`, and users of the newest release."""

import json
from pathlib import Path
from typing import Final

from clients.demo.session import RunDirectory, Session
from twotower.addresses import admin_embedding_address, embedding_address, ranking_address
from twotower.environment import ADMIN_EMBEDDING, EMBEDDING, RANKING, read
from twotower.release import list_releases
from twotower.release_users import USER_IDS, users_folder

RELEASES: Final = Path("run/releases")


def services(ranking: str | None, embedding: str | None, directory: Path) -> tuple[str, str]:
    """Addresses of ranking and embedding: those given, else the variables', else what `make up` left running here.

    Args:
        ranking: ``host:port``, or None.
        embedding: ``host:port``, or None.
        directory: where the demo keeps what it left running.

    Raises:
        InvalidArgument: one is not ``host:port``.
    """
    session = _left_running(directory)
    if session:
        ranking = ranking or read(RANKING) or session.ranking
        embedding = embedding or read(EMBEDDING) or session.embedding
    return ranking_address(ranking), embedding_address(embedding)


def admin_embedding(given: str | None, directory: Path) -> str:
    """Address of the embedding service's administrative listener: as :func:`services`.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    session = _left_running(directory)
    return admin_embedding_address(given or read(ADMIN_EMBEDDING) or (session and session.admin_embedding))


def newest_release(directory: Path, releases: Path = RELEASES) -> Path | None:
    """The newest release of what `make up` left running, or else of `releases`; None if there is none."""
    folders = [RunDirectory(directory).releases] if _left_running(directory) else []
    for folder in (*folders, releases):
        for manifest in list_releases(folder):
            if (users_folder(path := folder / manifest.release_id) / USER_IDS).exists():
                return path
    return None


def read_user_ids(path: Path) -> list[str]:
    """Read user ids from a text file with one per line, or from a release directory.

    Raises:
        ValueError: there is no user id.
    """
    if path.is_dir():
        with (users_folder(path) / USER_IDS).open(encoding="utf-8") as file:
            user_ids = [str(json.loads(line)) for line in file]
    else:
        user_ids = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    if not user_ids:
        raise ValueError(f"{path}: no user ids")
    return user_ids


def _left_running(directory: Path) -> Session | None:
    session = RunDirectory(directory).session()
    return session if session and session.left_running and session.alive else None
