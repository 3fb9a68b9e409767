"""TLS with client certificates."""

import asyncio
from pathlib import Path

import grpc
import pytest

from ranking_service.bootstrap import RankingService
from tests.integration.ranking_service.conftest import ranking_settings, running
from tests.support.authority import Authority
from tests.support.certificates import write_certificates
from tests.support.fake_embedding import FakeEmbedding
from tests.support.releases import write_random_release
from twotower.rpc import ChannelTls, ServerTls, open_async_channel
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import ranking_service_pb2_grpc as pb_grpc


async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    release_id = write_random_release(tmp_path, products=20).release_id
    write_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    settings = ranking_settings(
        tmp_path,
        1,
        release=release_id,
        tls_certificate=certificate,
        tls_key=key,
        tls_client_ca=certificate,
    )
    service = RankingService(settings)
    try:
        await service.start()
        target = f"127.0.0.1:{service.server.port}"
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


async def test_the_way_to_the_embedding_service_is_renewed_without_a_restart(tmp_path: Path) -> None:
    """New authority, new certificates on both sides, new token; nobody is answered as a cold user meanwhile."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    release = write_random_release(tmp_path / "releases", products=20)
    served, asked = old.issue("server"), old.issue("ranking")
    trusted, token = tmp_path / "trusted.pem", tmp_path / "token"
    trusted.write_bytes(old.path.read_bytes())
    token.write_text("first")
    assert served.certificate
    assert served.key
    embedding = FakeEmbedding(release)
    tls = ServerTls(served.certificate, served.key, client_ca=trusted)
    port = await embedding.start(credentials=tls.credentials())
    settings = ranking_settings(
        tmp_path / "releases",
        port,
        release=release.release_id,
        follow_interval_ms=50,
        embedding_tls=True,
        embedding_ca=trusted,
        embedding_certificate=asked.certificate,
        embedding_key=asked.key,
        embedding_token_file=token,
    )
    request = pb.RecommendRequest(user_id="ann", k=3)
    try:
        async with running(settings) as clients:
            assert not (await clients.ranking.Recommend(request)).user.degraded
            assert set(embedding.tokens) == {"Bearer first"}
            token.write_text("second")
            trusted.write_bytes(old.path.read_bytes() + new.path.read_bytes())
            new.issue("server")
            new.issue("ranking")
            opened = embedding.opened
            while embedding.opened == opened:  # the test's time limit ends it
                assert not (await clients.ranking.Recommend(request)).user.degraded
                await asyncio.sleep(0.02)
            trusted.write_bytes(new.path.read_bytes())
            while embedding.tokens[-1] != "Bearer second":  # an open call keeps the token that it began with
                assert not (await clients.ranking.Recommend(request)).user.degraded
                await asyncio.sleep(0.02)
    finally:
        await embedding.stop()
