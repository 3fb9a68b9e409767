"""A running embedding service with `release_public_key` opens what that key has signed, and nothing else."""

from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.embedding_calls import StartService, features, imported_user, publish
from tests.support.releases import write_random_release
from tests.support.signing import write_public
from twotower.release import SIGNATURE


async def test_only_signed_releases_are_opened(start_service: StartService, tmp_path: Path) -> None:
    key, root = Ed25519PrivateKey.generate(), tmp_path / "signed"
    signed = write_random_release(root, signing_key=key)
    unsigned = write_random_release(root, seed=1, products=40)
    service = await start_service(releases=root, release_public_key=write_public(key, tmp_path / "public.pem"))
    await publish(service, signed, [imported_user("ann", ["a"])])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await publish(service, unsigned, [imported_user("ann", ["a"])])
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"{SIGNATURE}: is missing, and only signed releases are accepted" in str(refused.value.details())
    answer = await features(service, "ann")
    assert answer.space.als_id == signed.manifest.als_id
