"""What the benchmarks share: data, services with random weights in the real shapes, environments of rivals, output.

The trainer is imported where it is used: some benchmarks measure the memory of a process that imports this module.
"""

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.support.importing import import_random_users, user_id
from tests.support.processes import Service, running
from tests.support.releases import write_random_release
from twotower.addresses import PLAINTEXT, ChannelSettings
from twotower.release import Release

PRODUCTS: Final = 600
USER_IDS: Final = [user_id(index) for index in range(2_048)]
_REAL_REVIEWS: Final = "product_reviews_30k.csv.gz"


@dataclass(frozen=True)
class Services:
    """Both services, ready."""

    embedding: Service
    ranking: Service
    release: Release

    @property
    def ready_s(self) -> float:
        """Seconds from the start of the ranking service's process until it was ready, as it logged them."""
        logged = re.search(r": ready ([\d.]+) s after", self.ranking.log())
        assert logged, "no line says when it was ready"
        return float(logged[1])


@dataclass(frozen=True)
class Security:
    """What services are started with and how they are called.

    Attributes:
        options: of both services.
        to_embedding: of ranking, for the embedding service.
        channels: of whoever calls them.
    """

    options: tuple[object, ...] = ()
    to_embedding: tuple[object, ...] = ()
    channels: ChannelSettings = PLAINTEXT


@contextlib.contextmanager
def services(security: Security = Security()) -> Iterator[Services]:
    """A release of 600 products, an embedding service with a Redis of its own and 2,048 warm users, and a ranking
    service.
    """
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as folder:
        root = Path(folder)
        release = write_random_release(root / "releases", products=PRODUCTS, encoder=encoder_folder(), lift=True)
        arguments, tls = ("--releases", root / "releases", *security.options), security.channels.tls
        store = ("--data-dir", root / "redis")
        embedding = Service("embedding_service", root / "embedding.log", *store, *arguments, tls=tls)
        options = (
            *arguments,
            "--embedding",
            embedding.address,
            "--embedding-admin",
            embedding.admin_address,
            "--release",
            release.release_id,
        )
        options += security.to_embedding
        ranking = Service("ranking_service", root / "ranking.log", *options, tls=tls)
        with running(embedding, ranking):
            embedding.wait_until("NOT_SERVING")
            import_random_users(embedding.admin_address, release, len(USER_IDS), security.channels)
            embedding.wait_until("SERVING")
            ranking.wait_until("SERVING")
            yield Services(embedding, ranking, release)


def cache_folder() -> Path:
    """Folder of encoded texts and exported encoders, which later runs find again."""
    from trainer.cli.options import default_cache

    return Path(os.environ.get("TWOTOWER_CACHE") or default_cache())


def encoder_folder() -> Path:
    """The real encoder, exported at the first call by a process of its own, so that no benchmark holds torch."""
    from trainer.encoding.export import cached_encoder

    return cached_encoder(cache_folder())


def review_file() -> Path:
    """The real file of $TWOTOWER_DATA, or synthetic reviews where there is none; prints which."""
    folder = os.environ.get("TWOTOWER_DATA")
    if folder and (Path(folder) / _REAL_REVIEWS).is_file():
        print(f"reviews: {_REAL_REVIEWS}")
        return Path(folder) / _REAL_REVIEWS
    from trainer.synthetic.reviews import write_synthetic

    path = Path(tempfile.mkdtemp()) / "sample.csv.gz"
    write_synthetic(path, 6000, 7)
    print("reviews: 6,000 SYNTHETIC ones, $TWOTOWER_DATA is not set")
    return path


def rival_python(name: str, requirement: str, base: str = sys.executable) -> Path:
    """Python of the environment ``run/<name>`` with `requirement` installed, at the first call (a few minutes)."""
    environment = Path("run", name).absolute()
    python, installed = environment / "bin" / "python", environment / ".installed"
    if not installed.exists():
        print(f"installing {requirement} into run/{name} ...", flush=True)
        subprocess.run([base, "-m", "venv", "--clear", str(environment)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", requirement], check=True)
        installed.touch()
    return python


def rival_version(python: Path, distribution: str) -> str:
    """Version of what is installed in a rival's environment."""
    script = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.check_output([str(python), "-c", script], text=True).strip()


def seconds_of(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def print_machine(*distributions: str, **rivals: str) -> None:
    """Print cores, load and versions, so that a figure can be judged.

    Args:
        distributions: what this process runs.
        rivals: versions of what runs in other environments.
    """
    versions = {name: version(name) for name in ("numpy", *distributions)} | rivals
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{cores} cores, load {load:.1f}; Python {platform.python_version()}, {listed}")


def print_json(**figures: Any) -> None:
    """Print the last line: the figures of the claim, floats to six digits."""
    print(json.dumps({name: float(f"{n:.6g}") if isinstance(n, float) else n for name, n in figures.items()}))
