"""What a demo keeps on disk, in `run/demo` of the working directory, while it or its services run."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.demo.processes import ProcessId
from twotower.addresses import DEFAULT_ADMIN_EMBEDDING, DEFAULT_ADMIN_RANKING

RUN_DIRECTORY: Final = Path("run/demo")
_SESSION: Final = "session.json"
_FRESH: Final = ("data", "logs", "releases", "users")


@dataclass(frozen=True)
class Session:
    """A demo and its services.

    Attributes:
        owner: the demo itself; None once it left its services running.
        services: in the order started.
        ranking: ``host:port``.
        embedding: ``host:port``.
        user_id: a user to ask for; "" while there is no release.
        product_id: a product to review; "" while there is no release.
        admin_ranking: ``host:port``.
        admin_embedding: ``host:port``.
    """

    owner: ProcessId | None
    services: tuple[ProcessId, ...]
    ranking: str
    embedding: str
    user_id: str = ""
    product_id: str = ""
    admin_ranking: str = DEFAULT_ADMIN_RANKING
    admin_embedding: str = DEFAULT_ADMIN_EMBEDDING

    @property
    def left_running(self) -> bool:
        """Whether its services were left running on purpose."""
        return self.owner is None

    @property
    def orphaned(self) -> bool:
        """Whether the demo ended without stopping its services or leaving them on purpose."""
        return self.owner is not None and not self.owner.alive

    @property
    def alive(self) -> bool:
        """Whether any of its processes still runs."""
        return (self.owner is not None and self.owner.alive) or any(service.alive for service in self.services)

    def stop(self) -> None:
        """Stop what still runs: the demo, which stops its services, or the services themselves, last started first."""
        if self.owner:
            self.owner.stop()
        for service in reversed(self.services):
            service.stop()


class RunDirectory:
    """The folder of one demo: releases, the store's data, logs and the session.

    Args:
        path: the folder; :meth:`clear` makes it.
    """

    def __init__(self, path: Path = RUN_DIRECTORY) -> None:
        self.path = path
        self.releases = path / "releases"
        self.data = path / "data"
        self.logs = path / "logs"
        self.sample = path / "sample_reviews.csv.gz"

    def session(self) -> Session | None:
        """Read the session of the last demo here; None if it ended."""
        try:
            raw = json.loads((self.path / _SESSION).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        raw["owner"] = ProcessId(**raw["owner"]) if raw["owner"] else None
        raw["services"] = tuple(ProcessId(**service) for service in raw["services"])
        return Session(**raw)

    def save(self, session: Session) -> None:
        """Write the session whole, or not at all."""
        temporary = self.path / f".{_SESSION}"
        temporary.write_text(json.dumps(dataclasses.asdict(session), indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.path / _SESSION)

    def forget_session(self) -> None:
        """Remove the session."""
        (self.path / _SESSION).unlink(missing_ok=True)

    def clear(self) -> None:
        """Empty what an earlier demo left, so that a cold user is cold again."""
        for name in _FRESH:
            shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / name).mkdir(parents=True)

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{name.replace(' ', '_')}.log"
