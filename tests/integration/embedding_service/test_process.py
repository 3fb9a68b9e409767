"""``python -m embedding_service`` with the real encoder: what was acknowledged outlives kill -9."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from embedding_service.releases.encoding_queue import EncodingQueue
from embedding_service.releases.spaces import Spaces
from tests.support.channels import open_async_channels
from tests.support.embedding_calls import Service, array, features, health, record
from tests.support.processes import Service as Process
from tests.support.processes import redis_pid, running
from tests.support.releases import GOLDEN_TEXTS, write_random_release
from twotower.encoder import TextEncoder
from twotower.errors import ReleaseInvalid
from twotower.features import running_mean
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub


@pytest.fixture(scope="module")
def real_release(tmp_path_factory: pytest.TempPathFactory, encoder_path: Path) -> Release:
    """A release with the real encoder and golden texts."""
    return write_random_release(tmp_path_factory.mktemp("releases"), encoder=encoder_path)


async def test_acknowledged_reviews_outlive_kill_9_of_the_service_and_of_redis(
    real_release: Release, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    process = Process("embedding_service", tmp_path / "log", "--data-dir", data, "--releases", real_release.path.parent)
    with running(process):
        async with open_async_channels(process.port, process.admin_port) as channel:
            service = Service(EmbeddingServiceStub(channel), channel, process.port)
            await channel.of_main.channel_ready()
            await service.stub.ActivateRelease(pb.ActivateReleaseRequest(release_id=real_release.release_id))
            await record(service, "r1", title="Great sound", text="Would buy again")
            os.kill(redis_pid(data), signal.SIGKILL)
            process.kill()
        process.start()
        async with open_async_channels(process.port, process.admin_port) as channel:
            service = Service(EmbeddingServiceStub(channel), channel, process.port)
            await channel.of_main.channel_ready()
            await health(service, health_pb2.HealthCheckResponse.SERVING)
            found = await features(service, "u1")
            again = await record(service, "r1", title="Great sound", text="Would buy again")
        assert process.stop() == 0
    golden = real_release.golden_texts[1][GOLDEN_TEXTS.index("Great sound Would buy again")]
    np.testing.assert_array_equal(array(found.bert_mean), running_mean(golden.astype(int), 1))
    assert again.outcome == pb.RECORD_OUTCOME_DUPLICATE
    with pytest.raises(ProcessLookupError):
        os.kill(redis_pid(data), 0)


async def test_an_encoder_that_embeds_otherwise_is_refused(real_release: Release) -> None:
    class Deaf(TextEncoder):
        def encode(self, texts, on_progress=None):  # type: ignore[no-untyped-def]
            return super().encode(["" for _ in texts])

    spaces = Spaces(
        real_release.path.parent,
        lambda path: Deaf(path, 1),
        lambda e: EncodingQueue(e, max_queued_texts=8, batch_texts=8),
    )
    with pytest.raises(ReleaseInvalid, match=r"golden/texts.json: an embedding differs by \d+ units"):
        async with spaces.opened(real_release.release_id):
            pass
    await spaces.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "http://redis"], "store: must be 'embedded', or a URL that begins with one of redis://"),
        (["--redis-timeout-ms", "0"], "redis_timeout_ms: Input should be greater than 0"),
        (["--tls-key", "k.pem"], "tls_certificate and tls_key: set both or neither"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(arguments: list[str], message: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "embedding_service", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
