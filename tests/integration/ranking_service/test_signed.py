"""A running ranking service with `release_public_key` serves what that key has signed, and nothing else."""

from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.integration.ranking_service.conftest import ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding
from tests.support.releases import write_random_release
from tests.support.signing import write_public
from twotower.release import MANIFEST, SIGNATURE
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2 as rpb


async def test_only_signed_releases_are_loaded(tmp_path: Path) -> None:
    key, root = Ed25519PrivateKey.generate(), tmp_path / "releases"
    first, second = (write_random_release(root, products=12, seed=seed, signing_key=key) for seed in (0, 1))
    unsigned = write_random_release(root, products=12, seed=2)
    foreign = write_random_release(root, products=12, seed=3, signing_key=Ed25519PrivateKey.generate())
    fake = FakeEmbedding(first, {})
    port = await fake.start()
    public = write_public(key, tmp_path / "public.pem")
    settings = ranking_settings(root, port, release=first.release_id, release_public_key=public)
    try:
        async with running(settings) as clients:
            for release, problem in (
                (unsigned, f"{SIGNATURE}: is missing, and only signed releases are accepted"),
                (foreign, f"{SIGNATURE}: {MANIFEST} was signed by another key"),
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await clients.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=release.release_id))
                assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert problem in str(refused.value.details())
                answer = await clients.ranking.Recommend(pb.RecommendRequest(user_id="ann", k=1))
                assert answer.release_id == first.release_id
            await clients.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=second.release_id))
            answer = await clients.ranking.Recommend(pb.RecommendRequest(user_id="ann", k=1))
            assert answer.release_id == second.release_id
    finally:
        await fake.stop()
