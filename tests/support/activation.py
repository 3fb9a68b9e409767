"""Making a release active in an embedding service."""

from twotower.release import Release
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub


def activate_without_users(address: str, release: Release) -> None:
    """Import no users, so that whoever is known already stays."""
    space = types_pb2.EmbeddingSpace(encoder_id=release.manifest.encoder_id, als_id=release.manifest.als_id)
    header = pb.ImportHeader(release_id=release.release_id, space=space, user_count=0)
    with open_channel(address) as channel:
        answer = EmbeddingServiceStub(channel).ImportUsers(iter([pb.ImportUsersRequest(header=header)]))
    assert answer.release_id == release.release_id
