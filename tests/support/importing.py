"""Importing users into an embedding service, as the trainer does when it publishes a release."""

from collections.abc import Iterator, Sequence

import numpy as np

from tests.support.releases import product_id, unit_vectors
from twotower.addresses import PLAINTEXT, ChannelSettings
from twotower.features import ALS_DIM, quantize
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector


def user_id(index: int) -> str:
    """Id of the imported user number `index`."""
    return f"user {index}"


def space_of(release: Release) -> types_pb2.EmbeddingSpace:
    """The space of a release as the API has it."""
    return types_pb2.EmbeddingSpace(encoder_id=release.manifest.encoder_id, als_id=release.manifest.als_id)


def import_requests(
    release: Release, users: Sequence[pb.ImportedUser], *, batch: int = 512, count: int | None = None
) -> Iterator[pb.ImportUsersRequest]:
    """The messages of one import: the header, which announces `count` users or as many as there are, then batches."""
    announced = len(users) if count is None else count
    header = pb.ImportHeader(release_id=release.release_id, space=space_of(release), user_count=announced)
    yield pb.ImportUsersRequest(header=header)
    for start in range(0, len(users), batch):
        yield pb.ImportUsersRequest(batch=pb.ImportBatch(users=users[start : start + batch]))


def import_random_users(address: str, release: Release, count: int, channels: ChannelSettings = PLAINTEXT) -> None:
    """Import the users `user_id(0)` to `user_id(count - 1)` with 1 to 4 reviews each; `release` becomes active."""
    rng = np.random.default_rng(0)
    users = [_random_user(rng, user_id(index), release) for index in range(count)]
    import_users(address, release, users, channels)


def activate_without_users(address: str, release: Release) -> None:
    """Make `release` active without any users; whoever is known already stays. The service may still be starting."""
    with PLAINTEXT.open(address) as channel:
        request = pb.ActivateReleaseRequest(release_id=release.release_id)
        EmbeddingServiceStub(channel).ActivateRelease(request, timeout=120, wait_for_ready=True)


def import_users(
    address: str, release: Release, users: Sequence[pb.ImportedUser], channels: ChannelSettings = PLAINTEXT
) -> None:
    """Import users into the service whose administrative listener is `address`, which may still be starting."""
    with channels.open(address) as channel:
        requests = import_requests(release, users)
        answer = EmbeddingServiceStub(channel).ImportUsers(requests, timeout=120, wait_for_ready=True)
    assert answer.release_id == release.release_id


def _random_user(rng: np.random.Generator, name: str, release: Release) -> pb.ImportedUser:
    reviews = [
        pb.ImportedReview(
            review_id=f"review {index}",
            product_id=product_id(int(rng.integers(release.manifest.product_count))),
            rating=float(rng.integers(1, 6)),
            fixed_point=fixed_point_to_bytes(vector),
        )
        for index, vector in enumerate(quantize(unit_vectors(rng, int(rng.integers(1, 5)))))
    ]
    als = rng.normal(0, 0.3, ALS_DIM).astype(np.float32)
    return pb.ImportedUser(user_id=name, reviews=reviews, als=to_vector(als))
