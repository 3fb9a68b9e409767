"""The methods of the API: their paths, messages, deadlines, and which may be sent again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from clients.calls.fields import seconds
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2

T = TypeVar("T")
Pace = Literal["lookup", "batch", "write", "load"]

_EMBEDDING: Final = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]
_RANKING: Final = ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"]
_RELEASES: Final = release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"]
EMBEDDING_SERVICE: Final = _EMBEDDING.full_name
RANKING_SERVICE: Final = _RANKING.full_name
RELEASE_SERVICE: Final = _RELEASES.full_name
SERVICES: Final = (EMBEDDING_SERVICE, RANKING_SERVICE)
"""One service of each server; the release service is on the ranking server."""


@dataclass(frozen=True)
class Deadlines:
    """How long a call may take, all its attempts included, in seconds.

    Attributes:
        lookup_s: one user or one page.
        batch_s: up to 1,024 users, or up to 256 texts, reviews or products.
        write_s: recording or retracting a review, deleting a user.
        load_s: changing which release answers; verification, golden replay and compilation are included.
    """

    lookup_s: float = 5.0
    batch_s: float = 30.0
    write_s: float = 10.0
    load_s: float = 180.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            seconds(value, f"deadlines.{name}")

    def of(self, pace: Pace) -> float:
        """Seconds for a call of this pace."""
        return {"lookup": self.lookup_s, "batch": self.batch_s, "write": self.write_s, "load": self.load_s}[pace]


@dataclass(frozen=True)
class Method:
    """A method of the API.

    Attributes:
        service: full name, ``twotower.v1.RankingService``.
        name: ``Recommend``.
        request: class of its request, which no other method has.
        response: class of its answer.
        pace: which of the :class:`Deadlines` holds for it.
    """

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    pace: Pace

    @property
    def path(self) -> str:
        """The path of its HTTP/2 requests."""
        return f"/{self.service}/{self.name}"

    @property
    def retried(self) -> bool:
        """Whether a call that found the service UNAVAILABLE is sent again.

        Reviews may be: they are idempotent by their ids, which are made before the first attempt. What changes the
        release is not: a failure is for the operator to see at once, and a second rollback would go forward again.
        """
        return self.pace != "load"


def _method(service: ServiceDescriptor, name: str, pace: Pace) -> Method:
    method = service.methods_by_name[name]
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    return Method(service.full_name, name, request, response, pace)


METHODS: Final = (
    _method(_RANKING, "Recommend", "lookup"),
    _method(_RANKING, "BatchRecommend", "batch"),
    _method(_RANKING, "PredictRatings", "lookup"),
    _method(_RANKING, "SimilarProducts", "lookup"),
    _method(_RANKING, "GetProduct", "lookup"),
    _method(_RANKING, "ListProducts", "lookup"),
    _method(_RANKING, "UpsertProducts", "batch"),
    _method(_RANKING, "ListAddedProducts", "lookup"),
    _method(_RANKING, "RemoveAddedProducts", "batch"),
    _method(_RANKING, "WithdrawProducts", "batch"),
    _method(_RELEASES, "ListReleases", "lookup"),
    _method(_RELEASES, "PrepareRelease", "load"),
    _method(_RELEASES, "LoadRelease", "load"),
    _method(_RELEASES, "SetLabel", "load"),
    _method(_RELEASES, "Rollback", "load"),
    _method(_EMBEDDING, "GetUserFeatures", "lookup"),
    _method(_EMBEDDING, "BatchGetUserFeatures", "batch"),
    _method(_EMBEDDING, "RecordReview", "write"),
    _method(_EMBEDDING, "BatchRecordReviews", "batch"),
    _method(_EMBEDDING, "RetractReview", "write"),
    _method(_EMBEDDING, "DeleteUser", "write"),
    _method(_EMBEDDING, "ListSpaces", "lookup"),
    _method(_EMBEDDING, "PrepareSpace", "load"),
    _method(_EMBEDDING, "ActivateRelease", "load"),
    _method(_EMBEDDING, "RetireSpaces", "load"),
    _method(_EMBEDDING, "ExportUser", "batch"),
    _method(_EMBEDDING, "EncodeTexts", "batch"),
    _method(_EMBEDDING, "GetPopularity", "lookup"),
)
"""Every method but the two streams, which the trainer and the ranking service use."""

_METHOD_OF_REQUEST: Final = {method.request: method for method in METHODS}


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call, ready to be sent any number of times.

    Attributes:
        request: a message; its class says which method it is for.
        decode: from the method's answer to the result.
    """

    request: Any
    decode: Callable[[Any], T]

    @property
    def method(self) -> Method:
        """The method to call."""
        return _METHOD_OF_REQUEST[type(self.request)]
