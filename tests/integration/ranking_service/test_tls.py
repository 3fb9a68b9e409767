"""TLS with client certificates."""

from pathlib import Path

import grpc
import pytest

from ranking_service.bootstrap import RankingService
from tests.integration.ranking_service.conftest import ranking_settings
from tests.support.certificates import write_certificates
from tests.support.releases import write_random_release
from twotower.rpc import ChannelTls, open_async_channel
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
