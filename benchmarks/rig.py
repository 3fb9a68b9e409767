"""What the ranking benchmarks share: a release with random weights in the real shapes, both services with a real Redis,
the JSON line.
"""

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.support.processes import Service, running
from tests.support.releases import product_id, unit_vectors, write_random_release
from twotower.features import quantize
from twotower.release import Release
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2, embedding_service_pb2_grpc, types_pb2
from twotower.wire import fixed_point_to_bytes, to_vector

PRODUCTS: Final = 600
USERS: Final = 2_048


@dataclass
class Services:
    """Both services, ready."""

    embedding: Service
    ranking: Service
    release: Release

    @property
    def ready_s(self) -> float:
        """Seconds that the ranking service took from the start of its process until it was ready, as it logged them."""
        found = re.search(r": ready ([\d.]+) s after", self.ranking.log())
        assert found, "no line says when it was ready"
        return float(found[1])


def user_ids(count: int = USERS) -> list[str]:
    """Ids of the users that the rig imports."""
    return [f"user {index}" for index in range(count)]


@contextlib.contextmanager
def services(*ranking_arguments: object, products: int = PRODUCTS) -> Iterator[Services]:
    """A release, an embedding service with a redis-server of its own and 2,048 warm users, and a ranking service."""
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as folder:
        root = Path(folder)
        release = write_random_release(root / "releases", products=products, encoder=export_encoder(root), lift=True)
        arguments = ("--releases", root / "releases")
        embedding = Service("embedding_service", root / "embedding.log", "--data-dir", root / "redis", *arguments)
        options = (*arguments, "--embedding", embedding.address, "--release", release.release_id, *ranking_arguments)
        ranking = Service("ranking_service", root / "ranking.log", *options)
        with running(embedding, ranking):
            embedding.wait_until("NOT_SERVING")
            import_users(embedding.address, release)
            embedding.wait_until("SERVING")
            ranking.wait_until("SERVING")
            yield Services(embedding, ranking, release)


def export_encoder(root: Path) -> Path:
    """The real encoder; in a process of its own, so that no benchmark holds torch."""
    script = (
        "import sys; from pathlib import Path; from trainer.encoding.export import export_encoder; "
        "export_encoder(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(root / "encoder")], check=True, capture_output=True)
    return root / "encoder"


def import_users(address: str, release: Release) -> None:
    """2,048 users of 1 to 4 reviews each."""
    rng = np.random.default_rng(0)
    manifest = release.manifest
    space = types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id)
    header = embedding_service_pb2.ImportHeader(release_id=release.release_id, space=space, user_count=USERS)
    parts = [embedding_service_pb2.ImportUsersRequest(header=header)]
    batch = []
    for user_id in user_ids():
        vectors = quantize(unit_vectors(rng, int(rng.integers(1, 5))))
        reviews = [
            embedding_service_pb2.ImportedReview(
                review_id=f"review {index}",
                product_id=product_id(int(rng.integers(manifest.product_count))),
                rating=float(rng.integers(1, 6)),
                fixed_point=fixed_point_to_bytes(vector),
            )
            for index, vector in enumerate(vectors)
        ]
        als = to_vector(rng.normal(0, 0.3, 64).astype(np.float32))
        batch.append(embedding_service_pb2.ImportedUser(user_id=user_id, reviews=reviews, als=als))
        if len(batch) == 256:
            parts.append(embedding_service_pb2.ImportUsersRequest(batch=embedding_service_pb2.ImportBatch(users=batch)))
            batch = []
    with open_channel(address) as channel:
        embedding_service_pb2_grpc.EmbeddingServiceStub(channel).ImportUsers(
            iter(parts), timeout=120, wait_for_ready=True
        )


def print_machine(*packages: str) -> None:
    """Cores, load and versions, so that a figure can be judged."""
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in dict.fromkeys(("numpy", "jax", "grpcio", *packages)))
    print(f"{len(os.sched_getaffinity(0))} cores, load {load:.1f}; Python {platform.python_version()}, {versions}")


def print_json(**figures: Any) -> None:
    """The last line: the figures of the claim."""
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}))
