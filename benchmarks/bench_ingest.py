"""How many reviews a second does the embedding service take, end to end, against its encoder alone; without encoding;
and as an import?

- with encoding: `BatchRecordReviews` of 64 to a service with the real encoder, over gRPC, each batch acknowledged when
  Redis has it on disk (`appendfsync always`); the floor is the same encoder in this process on the same texts, batches
  of both by turns;
- without: the same calls, 256 a batch, to a service whose encoder is a hash of the text;
- import: `ImportUsers`, then again, when all is there already.

Texts are synthetic reviews (`twotower sample-data`). Callers, service and Redis share this machine's cores. It does not
measure many callers with one review each, which gRPC for Python limits to about 4,000 calls a second here.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.support.processes import Service, running
from tests.support.releases import product_id, unit_vectors, write_random_release
from twotower.encoder import TextEncoder
from twotower.features import quantize, review_text
from twotower.release import Release
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector

IMPORTED_USERS = 20_000
ENCODED_BATCH = 64
PLAIN_BATCH = 256
PLAIN_REVIEWS = 8_192


def export_encoder(folder: Path) -> Path:
    """The real encoder; in a process of its own, so that this one holds no torch."""
    script = (
        "import sys; from pathlib import Path; from trainer.encoding.export import export_encoder; "
        "export_encoder(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", script, str(folder / "encoder")], check=True, capture_output=True)
    return folder / "encoder"


def sample_texts(folder: Path, count: int) -> list[tuple[str, str]]:
    """Titles and texts, each once."""
    import pandas as pd

    from trainer.synthetic.reviews import write_synthetic

    write_synthetic(folder / "reviews.csv.gz", 3 * count, seed=5)
    frame = pd.read_csv(folder / "reviews.csv.gz", dtype=str).fillna("")
    pairs = dict.fromkeys(zip(frame["reviews.title"], frame["reviews.text"], strict=True))
    return list(pairs)[:count]


def header(release: Release, users: int) -> pb.ImportUsersRequest:
    """First message of an import."""
    space = types_pb2.EmbeddingSpace(encoder_id=release.manifest.encoder_id, als_id=release.manifest.als_id)
    return pb.ImportUsersRequest(header=pb.ImportHeader(release_id=release.release_id, space=space, user_count=users))


def imports(release: Release, users: int) -> list[pb.ImportUsersRequest]:
    """Users of one review, every tenth of five: about what review files have."""
    rng = np.random.default_rng(0)
    vectors = [fixed_point_to_bytes(vector) for vector in quantize(unit_vectors(rng, 1000))]
    als = to_vector(rng.normal(size=64).astype(np.float32))
    parts = [header(release, users)]
    for start in range(0, users, 512):
        batch = pb.ImportBatch()
        for index in range(start, min(start + 512, users)):
            user = batch.users.add(user_id=f"user {index}", als=als)
            for number in range(1 if index % 10 else 5):
                product = product_id((7 * index + number) % 600)
                review = user.reviews.add(
                    review_id=f"r{number}", product_id=product, rating=4, fixed_point=vectors[(index + number) % 1000]
                )
                review.review_time.FromSeconds(1_500_000_000 + 60 * index)
        parts.append(pb.ImportUsersRequest(batch=batch))
    return parts


@contextlib.contextmanager
def service(module: str, folder: Path, release: Release) -> Iterator[EmbeddingServiceStub]:
    """A service on a Redis of its own, with the release active and no users."""
    process = Service(
        module, folder / f"{module}.log", "--data-dir", folder / module, "--releases", release.path.parent
    )
    with running(process), open_channel(process.address) as channel:
        stub = EmbeddingServiceStub(channel)
        stub.ImportUsers(iter([header(release, 0)]), timeout=120, wait_for_ready=True)
        yield stub


def reviews_of(texts: list[tuple[str, str]], start: int) -> list[types_pb2.Review]:
    """One review a text; a third of them by users that have some already."""
    return [
        types_pb2.Review(
            review_id=f"r{start + i}",
            user_id=f"u{(start + i) * 2 // 3}",
            product_id=product_id(i % 600),
            rating=4,
            title=title,
            text=text,
        )
        for i, (title, text) in enumerate(texts)
    ]


def against_encoder(folder: Path, encoder: Path, count: int) -> tuple[float, float]:
    """Reviews a second through the service, and through the encoder alone."""
    texts = sample_texts(folder, count)
    release = write_random_release(folder / "encoded", products=600, encoder=encoder)
    alone = TextEncoder(encoder, None)
    alone.encode([review_text(*pair) for pair in texts[:8]])
    served_s = alone_s = 0.0
    with service("embedding_service", folder, release) as stub:
        stub.EncodeTexts(pb.EncodeTextsRequest(texts=["warm up"]))
        for start in range(0, len(texts), ENCODED_BATCH):
            batch = texts[start : start + ENCODED_BATCH]
            began = time.perf_counter()
            alone.encode([review_text(*pair) for pair in batch])
            between = time.perf_counter()
            stub.BatchRecordReviews(pb.BatchRecordReviewsRequest(reviews=reviews_of(batch, start)))
            served_s += time.perf_counter() - between
            alone_s += between - began
    return len(texts) / served_s, len(texts) / alone_s


def without_encoding(folder: Path) -> tuple[float, float, float]:
    """Reviews a second, users a second of an import, and of the same import again."""
    release = write_random_release(folder / "plain", products=600)
    with service("tests.support.hash_service", folder, release) as stub:
        batches = [
            pb.BatchRecordReviewsRequest(
                reviews=reviews_of([("title", f"text {start + i}") for i in range(PLAIN_BATCH)], start)
            )
            for start in range(0, PLAIN_REVIEWS, PLAIN_BATCH)
        ]
        began = time.perf_counter()
        for batch in batches:
            stub.BatchRecordReviews(batch)
        recorded = PLAIN_REVIEWS / (time.perf_counter() - began)
        parts = imports(release, IMPORTED_USERS)
        rates = []
        for _ in range(2):
            began = time.perf_counter()
            stub.ImportUsers(iter(parts))
            rates.append(IMPORTED_USERS / (time.perf_counter() - began))
    return recorded, rates[0], rates[1]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=1024, help="with encoding")
    parser.add_argument("--encoder", type=Path, help="folder of an exported encoder; exported anew if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as name:
        folder = Path(name)
        encoder = arguments.encoder or export_encoder(folder)
        served, alone = against_encoder(folder, encoder, arguments.reviews)
        plain, imported, again = without_encoding(folder)
    versions = f"openvino {version('openvino')}, grpcio {version('grpcio')}, redis-py {version('redis')}"
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; Python "
        f"{sys.version.split()[0]}, {versions}"
    )
    print(f"with encoding     {served:8.0f} reviews/s; the encoder alone {alone:.0f} texts/s")
    print(f"without encoding  {plain:8.0f} reviews/s")
    print(f"import            {imported:8.0f} users/s; the same again {again:.0f}")
    figures = {
        "vs_encoder": round(served / alone, 3),
        "reviews_per_s_no_encoding": round(plain),
        "import_users_per_s": round(imported),
    }
    print(json.dumps({**figures, "import_again_users_per_s": round(again)}))


if __name__ == "__main__":
    main()
