"""Who may call which method, and where."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import MethodDescriptor

from twotower.access import Gate, Role, required_role
from twotower.errors import PermissionDenied
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2

WRITERS = {
    "RecordReview",
    "BatchRecordReviews",
    "RetractReview",
    "UpsertProducts",
    "RemoveAddedProducts",
    "WithdrawProducts",
}
READERS = {
    "GetUserFeatures",
    "BatchGetUserFeatures",
    "StreamUserFeatures",
    "ListSpaces",
    "EncodeTexts",
    "GetPopularity",
    "Recommend",
    "BatchRecommend",
    "PredictRatings",
    "SimilarProducts",
    "GetProduct",
    "ListProducts",
    "ListAddedProducts",
}
"""Every other method is for operators."""


def methods() -> Iterator[MethodDescriptor]:
    for module in (embedding_service_pb2, ranking_service_pb2, release_service_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.name)
def test_every_method_declares_a_role(method: MethodDescriptor) -> None:
    expected = Role.READER if method.name in READERS else Role.WRITER if method.name in WRITERS else Role.OPERATOR
    assert required_role(path(method)) is expected


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: method.name)
def test_a_method_is_served_by_one_listener_and_the_other_names_it(method: MethodDescriptor) -> None:
    operators = required_role(path(method)) is Role.OPERATOR
    Gate(admin=operators).role_for(path(method))
    with pytest.raises(PermissionDenied, match=r"setting admin_listen$" if operators else r"setting listen$"):
        Gate(admin=not operators).role_for(path(method))


@pytest.mark.parametrize("admin", [True, False])
def test_health_is_on_both_and_what_declares_no_role_on_neither(admin: bool) -> None:
    Gate(admin=admin).role_for("/grpc.health.v1.Health/Check")
    for unknown in ("/grpc.health.v2.Health/Check", "/twotower.v1.RankingService/Nothing", "/", "nonsense"):
        with pytest.raises(PermissionDenied, match="nobody may call"):
            Gate(admin=admin).role_for(unknown)
