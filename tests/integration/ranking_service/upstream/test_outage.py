"""Both services: the embedding service, a process of its own, is killed and started again under load."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.integration.ranking_service.conftest import ranking_settings, running
from tests.support import processes
from tests.support.importing import import_random_users, user_id
from tests.support.releases import write_random_release
from twotower.model import score_catalogue
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2 as epb
from twotower.v1 import embedding_service_pb2_grpc as epb_grpc
from twotower.v1 import ranking_service_pb2 as pb


async def test_the_embedding_service_dies_and_comes_back_under_load(encoder_path: Path, tmp_path: Path) -> None:
    """Every request is answered; an answer is either the whole one or the cold one, and the cold one says so."""
    root = tmp_path / "releases"
    release = write_random_release(root, products=40, encoder=encoder_path)
    embedding = processes.Service(
        "embedding_service", tmp_path / "log", "--data-dir", tmp_path / "redis", "--releases", root
    )
    users = [user_id(index) for index in range(40)]
    with processes.running(embedding):
        embedding.wait_until("NOT_SERVING")
        import_random_users(embedding.admin_address, release, len(users))
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
