"""A connection to the embedding service that is lost without a word to either side."""

import time
from pathlib import Path

from tests.integration.ranking_service.conftest import ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding
from tests.support.middlebox import Middlebox
from tests.support.releases import write_random_release
from twotower.v1 import ranking_service_pb2 as pb

NOTICED_S = 15.0
"""Two seconds to the ping and two to its loss, and then a new connection; gRPC alone needs a quarter of an hour."""


async def test_it_is_opened_anew_within_seconds(tmp_path: Path) -> None:
    release = write_random_release(tmp_path, products=20)
    embedding = FakeEmbedding(release)
    box = Middlebox(f"127.0.0.1:{await embedding.start()}")
    port = int(box.address.rpartition(":")[2])
    request = pb.RecommendRequest(user_id="ann", k=3)
    try:
        async with running(ranking_settings(tmp_path, port, release=release.release_id, lookup_timeout_ms=200)) as asks:
            assert not (await asks.ranking.Recommend(request)).user.degraded
            box.drop()
            assert (await asks.ranking.Recommend(request)).user.degraded
            lost = time.monotonic()
            while (await asks.ranking.Recommend(request)).user.degraded:
                assert time.monotonic() - lost < NOTICED_S
            print(f"noticed after {time.monotonic() - lost:.1f} s")
    finally:
        box.close()
        await embedding.stop()
