"""One small release, trained for real, and services that record what they are sent, for all tests of this folder."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.trained import tiny_reviews, train_tiny_result
from trainer.pipeline import TrainingResult
from twotower.v1 import embedding_service_pb2 as embedding_pb2
from twotower.v1 import embedding_service_pb2_grpc as embedding_grpc
from twotower.v1 import release_service_pb2 as release_pb2
from twotower.v1 import release_service_pb2_grpc as release_grpc


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the review file, the cache and the releases."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="session")
def trained(work: Path, encoder_path: Path) -> TrainingResult:
    """A v5_power release of 300 synthetic reviews, two epochs."""
    reviews = tiny_reviews(work / "reviews.csv.gz", 300)
    return train_tiny_result(work / "releases", work / "cache", encoder_path, reviews=reviews, epochs=2)


class RecordingServices(embedding_grpc.EmbeddingServiceServicer, release_grpc.ReleaseServiceServicer):
    """Both services, on one port."""

    def __init__(self) -> None:
        self.parts: list[embedding_pb2.ImportUsersRequest] = []
        self.loaded: list[str] = []
        self.retired: list[embedding_pb2.RetireSpacesRequest] = []
        self.refuse: str | None = None

    def ImportUsers(self, request_iterator: Iterator[embedding_pb2.ImportUsersRequest], context: Any) -> Any:
        self.parts = list(request_iterator)
        users = [user for part in self.parts[1:] for user in part.batch.users]
        reviews = sum(len(user.reviews) for user in users)
        return embedding_pb2.ImportUsersResponse(
            user_count=len(users), review_count=reviews, release_id=self.parts[0].header.release_id
        )

    def RetireSpaces(self, request: embedding_pb2.RetireSpacesRequest, context: Any) -> Any:
        self.retired.append(request)
        return embedding_pb2.RetireSpacesResponse()

    def LoadRelease(self, request: release_pb2.LoadReleaseRequest, context: Any) -> Any:
        if self.refuse:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuse)
        self.loaded.append(request.release_id)
        return release_pb2.LoadReleaseResponse(
            release=release_pb2.ReleaseInfo(release_id=request.release_id, product_count=24)
        )


@pytest.fixture
def services() -> Iterator[tuple[RecordingServices, str]]:
    server, recording = grpc.server(ThreadPoolExecutor(4)), RecordingServices()
    embedding_grpc.add_EmbeddingServiceServicer_to_server(recording, server)
    release_grpc.add_ReleaseServiceServicer_to_server(recording, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield recording, f"127.0.0.1:{port}"
    server.stop(None).wait()
