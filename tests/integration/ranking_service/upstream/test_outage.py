"""Both services as real processes: the embedding service is killed and restarted under load, workers share a port,
TLS.
"""

import asyncio
import datetime
import os
import signal
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.rig import import_users, user_ids
from tests.integration.ranking_service.conftest import ranking_settings, running
from tests.support import processes
from tests.support.releases import write_random_release
from twotower.model import score_catalogue
from twotower.rpc import ChannelTls, open_async_channel, open_channel
from twotower.v1 import embedding_service_pb2 as epb
from twotower.v1 import embedding_service_pb2_grpc as epb_grpc
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc as pb_grpc


async def test_the_embedding_service_dies_and_comes_back_under_load(encoder_path: Path, tmp_path: Path) -> None:
    """Every request is answered; an answer is either the whole one or the cold one, and the cold one says so."""
    root = tmp_path / "releases"
    release = write_random_release(root, products=40, encoder=encoder_path)
    embedding = processes.Service(
        "embedding_service", tmp_path / "log", "--data-dir", tmp_path / "redis", "--releases", root
    )
    users = user_ids(40)
    with processes.running(embedding):
        embedding.wait_until("NOT_SERVING")
        import_users(embedding.address, release)
        embedding.wait_until("SERVING")
        with open_channel(embedding.address) as channel:
            asked = epb.BatchGetUserFeaturesRequest(user_ids=users)
            features = epb_grpc.EmbeddingServiceStub(channel).BatchGetUserFeatures(asked).features
        rows = [np.frombuffer(u.als.values + u.bert_mean.values + np.float32(0).tobytes(), "<f4") for u in features]
        cold = np.concatenate([np.zeros(64), release.global_mean, [0]]).astype(np.float32)
        whole = score_catalogue(release.weights, np.stack(rows), release.product_fusion).max(axis=1)
        expected = {
            False: whole,
            True: np.repeat(score_catalogue(release.weights, cold[np.newaxis], release.product_fusion).max(), 40),
        }

        async with running(
            ranking_settings(root, embedding.port, release=release.release_id, lookup_timeout_ms=500)
        ) as clients:
            counts = {False: 0, True: 0}

            async def ask(user: int) -> bool:
                answer = await clients.ranking.Recommend(
                    pb.RecommendRequest(user_id=users[user], k=1, include_seen=True), timeout=30
                )
                degraded = answer.user.degraded
                assert answer.recommendations[0].score == pytest.approx(expected[degraded][user], abs=1e-4)
                counts[degraded] += 1
                return bool(degraded)

            async def ask_until(degraded: bool) -> None:
                async def caller(user: int) -> None:
                    while await ask(user) is not degraded:
                        pass

                await asyncio.gather(*(caller(user) for user in range(8)))

            await ask_until(False)
            embedding.kill()
            await ask_until(True)
            embedding.start()
            await ask_until(False)
            assert min(counts.values()) >= 8


def test_a_killed_worker_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    """Every request has a connection of its own, so the kernel may hand it to any worker that listens; none may
    fail.
    """
    release_id = write_random_release(tmp_path, products=20).release_id
    arguments = ("--releases", tmp_path, "--release", release_id, "--embedding", "127.0.0.1:1", "--workers", 2)
    service = processes.Service("ranking_service", tmp_path / "log", *arguments)

    def ready() -> int:
        return service.log().count(": ready ")

    with processes.running(service):
        service.wait_until("SERVING")
        while ready() < 2:  # the test's own time limit ends it, here and below
            time.sleep(0.05)
        killed, _ = _workers(service.process.pid)
        os.kill(killed, signal.SIGKILL)
        while "ended with -9" not in service.log():
            time.sleep(0.01)
        asked_before = asked_after = 0
        while asked_after < 40:
            if ready() < 3:
                asked_before += 1
            else:
                asked_after += 1
            answer = _ask(service.address)
            assert (answer.release_id, answer.user.degraded) == (release_id, True)
        assert asked_before > 0
        assert killed not in _workers(service.process.pid)
        assert len(_workers(service.process.pid)) == 2
        assert service.stop() == 0


def _ask(address: str) -> pb.RecommendResponse:
    with open_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        return pb_grpc.RankingServiceStub(channel).Recommend(pb.RecommendRequest(user_id="ann", k=3), timeout=30)


def _workers(pid: int) -> list[int]:
    """Processes that were spawned to serve; multiprocessing's own resource tracker is none of them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    release_id = write_random_release(tmp_path, products=20).release_id
    certificate, key = _self_signed(tmp_path)
    settings = ranking_settings(
        tmp_path,
        1,
        release=release_id,
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=certificate,
        listen="localhost:0",
    )
    from ranking_service.bootstrap import RankingService

    service = RankingService(settings)
    try:
        await service.start()
        target = f"localhost:{service.server.port}"
        request = pb.RecommendRequest(user_id="ann", k=3)
        async with open_async_channel(target, ChannelTls(certificate, certificate, key)) as channel:
            assert len((await pb_grpc.RankingServiceStub(channel).Recommend(request)).recommendations) == 3
        for tls in (None, ChannelTls(certificate)):
            async with open_async_channel(target, tls) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await pb_grpc.RankingServiceStub(channel).Recommend(request)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await service.stop()


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths
