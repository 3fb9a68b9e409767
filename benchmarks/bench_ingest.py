"""Reviews per second that the embedding service takes, end to end, against its encoder alone; without encoding; and as
an import.

- with encoding: `BatchRecordReviews` of 64 to a service with the real encoder, over gRPC, each batch acknowledged when
  Redis has it on disk (`appendfsync always`); the floor is the same encoder in this process on the same texts, batches
  of both by turns;
- without: the same calls, 256 per batch, to a service whose encoder is a hash of the text;
- import: `ImportUsers`, then again, when all is there already.

Texts are synthetic reviews (`twotower sample-data`). Callers, service and Redis share this machine's cores. Many
callers with one review each are not measured: gRPC for Python limits them to about 4,000 calls a second here.

The last line is JSON: `vs_encoder`, reviews per second over the encoder's texts per second;
`reviews_per_s_no_encoding`; `import_users_per_s` and `import_again_users_per_s`.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import rig
from tests.support.channels import open_channels
from tests.support.importing import import_requests, user_id
from tests.support.processes import Service, running
from tests.support.releases import product_id, unit_vectors, write_random_release
from twotower.encoder import TextEncoder
from twotower.features import quantize, review_text
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector

IMPORTED_USERS: Final = 20_000
ENCODED_BATCH: Final = 64
PLAIN_BATCH: Final = 256
PLAIN_REVIEWS: Final = 8_192


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=1024, help="with encoding")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as folder:
        served, encoder = _with_encoding(Path(folder), arguments.reviews)
        recorded, imported, again = _without_encoding(Path(folder))
    rig.print_machine("openvino", "grpcio", "redis")
    print(
        f"with encoding     {served:8.0f} reviews/s; the encoder alone {encoder:.0f} texts/s; {served / encoder:.2f}x"
    )
    print(f"without encoding  {recorded:8.0f} reviews/s")
    print(f"import            {imported:8.0f} users/s; the same again {again:.0f}")
    rig.print_json(
        vs_encoder=served / encoder,
        reviews_per_s_no_encoding=round(recorded),
        import_users_per_s=round(imported),
        import_again_users_per_s=round(again),
    )


def _with_encoding(folder: Path, count: int) -> tuple[float, float]:
    """Reviews per second through the service, and texts per second through the encoder alone."""
    texts = _sample_texts(folder, count)
    release = write_random_release(folder / "encoded", products=rig.PRODUCTS, encoder=rig.encoder_folder())
    alone = TextEncoder(rig.encoder_folder(), None)
    alone.encode([review_text(*pair) for pair in texts[:8]])
    served_s = alone_s = 0.0
    with _service("embedding_service", folder, release) as stub:
        stub.EncodeTexts(pb.EncodeTextsRequest(texts=["warm up"]))
        for start in range(0, len(texts), ENCODED_BATCH):
            batch = texts[start : start + ENCODED_BATCH]
            began = time.perf_counter()
            alone.encode([review_text(*pair) for pair in batch])
            between = time.perf_counter()
            stub.BatchRecordReviews(pb.BatchRecordReviewsRequest(reviews=_reviews(batch, start)))
            served_s += time.perf_counter() - between
            alone_s += between - began
    return len(texts) / served_s, len(texts) / alone_s


def _without_encoding(folder: Path) -> tuple[float, float, float]:
    """Reviews per second, users per second of an import, and of the same import again."""
    release = write_random_release(folder / "plain", products=rig.PRODUCTS)
    with _service("tests.support.hash_service", folder, release) as stub:
        batches = [
            pb.BatchRecordReviewsRequest(
                reviews=_reviews([("title", f"text {start + i}") for i in range(PLAIN_BATCH)], start)
            )
            for start in range(0, PLAIN_REVIEWS, PLAIN_BATCH)
        ]
        began = time.perf_counter()
        for batch in batches:
            stub.BatchRecordReviews(batch)
        recorded = PLAIN_REVIEWS / (time.perf_counter() - began)
        requests = list(import_requests(release, _imported_users()))
        first, again = (rig.seconds_of(lambda: stub.ImportUsers(iter(requests))) for _ in range(2))
    return recorded, IMPORTED_USERS / first, IMPORTED_USERS / again


@contextlib.contextmanager
def _service(module: str, folder: Path, release: Release) -> Iterator[EmbeddingServiceStub]:
    """A service with a Redis of its own, the release active, no users."""
    options = ("--data-dir", folder / module, "--releases", release.path.parent)
    process = Service(module, folder / f"{module}.log", *options)
    with running(process), open_channels(process.address, process.admin_address) as channel:
        stub = EmbeddingServiceStub(channel)
        stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=release.release_id), timeout=120, wait_for_ready=True)
        yield stub


def _sample_texts(folder: Path, count: int) -> list[tuple[str, str]]:
    """Titles and texts, each once."""
    import pandas as pd

    from trainer.synthetic.reviews import write_synthetic

    write_synthetic(folder / "reviews.csv.gz", 3 * count, seed=5)
    frame = pd.read_csv(folder / "reviews.csv.gz", dtype=str).fillna("")
    pairs = dict.fromkeys(zip(frame["reviews.title"], frame["reviews.text"], strict=True))
    return list(pairs)[:count]


def _reviews(texts: list[tuple[str, str]], start: int) -> list[types_pb2.Review]:
    """One review per text; a third of them by users that have some already."""
    return [
        types_pb2.Review(
            review_id=f"r{start + i}",
            user_id=f"u{(start + i) * 2 // 3}",
            product_id=product_id(i % rig.PRODUCTS),
            rating=4,
            title=title,
            text=text,
        )
        for i, (title, text) in enumerate(texts)
    ]


def _imported_users() -> list[pb.ImportedUser]:
    """Users of one review, every tenth of five: about what review files have."""
    rng = np.random.default_rng(0)
    vectors = [fixed_point_to_bytes(vector) for vector in quantize(unit_vectors(rng, 1000))]
    als = to_vector(rng.normal(size=64).astype(np.float32))
    users = []
    for index in range(IMPORTED_USERS):
        user = pb.ImportedUser(user_id=user_id(index), als=als)
        for number in range(1 if index % 10 else 5):
            product = product_id((7 * index + number) % rig.PRODUCTS)
            fixed_point = vectors[(index + number) % 1000]
            review = user.reviews.add(review_id=f"r{number}", product_id=product, rating=4, fixed_point=fixed_point)
            review.review_time.FromSeconds(1_500_000_000 + 60 * index)
        users.append(user)
    return users


if __name__ == "__main__":
    main()
