"""kill -9 of the service, of Redis and of both in mid-ingest, and a client that insists: nothing acknowledged is lost
or counted twice.

``TWOTOWER_KILLS=50 pytest tests/integration/embedding_service/test_faults.py`` kills that often.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from embedding_service.operations.commands import verify
from tests.support.channels import open_async_channels
from tests.support.embedding_calls import Service, array, publish
from tests.support.encoders import hash_vector
from tests.support.processes import Service as Process
from tests.support.processes import redis_pid, running
from tests.support.releases import product_id, write_random_release
from twotower.features import review_text, running_mean
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

KILLS = int(os.environ.get("TWOTOWER_KILLS", "3"))
WRITERS = 6
BATCH = 8
_AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


async def insist(call: Any, request: Any) -> Any:
    """Send a request until it is acknowledged."""
    while True:
        try:
            return await call(request, timeout=5.0, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AGAIN:
                raise
            await asyncio.sleep(0.02)


class Writer:
    """Writes batches of reviews of its own users and of one that all writers share, and takes some back."""

    def __init__(self, stub: Any, number: int) -> None:
        self.stub = stub
        self.number = number
        self.kept: dict[tuple[str, str], tuple[str, str]] = {}
        self.acknowledged = 0

    async def write(self, stop: asyncio.Event) -> None:
        """Until told to stop; the last batch is acknowledged too."""
        rng = random.Random(self.number)
        batch = 0
        while not stop.is_set():
            reviews = []
            for i in range(BATCH):
                user = rng.choice(["shared", f"u{self.number}-{rng.randrange(3)}"])
                review_id, product = f"w{self.number} {batch} {i}", product_id(rng.randrange(20))
                reviews.append(
                    types_pb2.Review(
                        user_id=user, review_id=review_id, product_id=product, rating=4, title="t", text=review_id
                    )
                )
                self.kept[user, review_id] = (product, review_text("t", review_id))
            response = await insist(self.stub.BatchRecordReviews, pb.BatchRecordReviewsRequest(reviews=reviews))
            assert len(response.results) == BATCH
            self.acknowledged += BATCH
            if rng.random() < 0.3:
                user, review_id = rng.choice(sorted(self.kept))
                await insist(self.stub.RetractReview, pb.RetractReviewRequest(user_id=user, review_id=review_id))
                del self.kept[user, review_id]
            batch += 1


async def kill(process: Process, data: Path, number: int) -> None:
    """kill -9 of the service, of Redis, or of both."""
    kind = ("service", "redis", "both")[number % 3]
    if kind != "service":
        with contextlib.suppress(ProcessLookupError):
            os.kill(redis_pid(data), signal.SIGKILL)
    if kind != "redis":
        process.kill()
        process.start()


@pytest.mark.timeout(1800)
async def test_nothing_acknowledged_is_lost_or_counted_twice(tmp_path: Path) -> None:
    release = write_random_release(tmp_path / "releases")
    data = tmp_path / "data"
    process = Process(
        "tests.support.hash_service", tmp_path / "log", "--data-dir", data, "--releases", tmp_path / "releases"
    )
    stop = asyncio.Event()
    rng = random.Random(5)
    with running(process):
        async with open_async_channels(process.port, process.admin_port) as channel:
            service = Service(EmbeddingServiceStub(channel), channel, process.port)
            await channel.of_main.channel_ready()
            await publish(service, release)
            writers = [Writer(service.stub, number) for number in range(WRITERS)]
            writing = [asyncio.create_task(writer.write(stop)) for writer in writers]
            for number in range(KILLS):
                before = sum(writer.acknowledged for writer in writers)
                while sum(writer.acknowledged for writer in writers) < before + 60:  # ingest goes on
                    assert not any(task.done() for task in writing), [
                        task.exception() for task in writing if task.done()
                    ]
                    await asyncio.sleep(rng.uniform(0.005, 0.05))
                await kill(process, data, number)
            stop.set()
            await asyncio.gather(*writing)
            await check(service, {key: value for writer in writers for key, value in writer.kept.items()})
        assert process.stop() == 0
    result = await asyncio.to_thread(CliRunner().invoke, verify, ["--data-dir", str(data)])
    assert result.output.endswith("clean\n"), result.output
    print(f"{KILLS} kills, {sum(writer.acknowledged for writer in writers)} reviews acknowledged; {result.output}")


async def check(service: Service, kept: dict[tuple[str, str], tuple[str, str]]) -> None:
    """State and popularity are those of the reviews that were acknowledged and not taken back."""
    for user in sorted({user for user, _ in kept}):
        answer = await insist(service.stub.GetUserFeatures, pb.GetUserFeaturesRequest(user_id=user))
        texts = [text for (name, _), (_, text) in kept.items() if name == user]
        assert answer.features.review_count == len(texts)
        sums = np.sum([hash_vector(text) for text in texts], axis=0, dtype=int)
        np.testing.assert_array_equal(array(answer.features.bert_mean), running_mean(sums, len(texts)))
    popularity = await insist(service.stub.GetPopularity, pb.GetPopularityRequest())
    found = dict(zip(popularity.product_ids, array(popularity.weights).tolist(), strict=True))
    expected = Counter(product for _, product in {(user, product) for (user, _), (product, _) in kept.items()})
    assert found == pytest.approx(dict(expected), rel=1e-2)  # the reviews are minutes old
