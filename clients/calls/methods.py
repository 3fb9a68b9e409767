"""The methods of the API: their paths, answers, deadlines, and which may be sent again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from google.protobuf.message import Message

from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2

T = TypeVar("T")

EMBEDDING_SERVICE: Final = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
RANKING_SERVICE: Final = ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
RELEASE_SERVICE: Final = release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
SERVICES: Final = (EMBEDDING_SERVICE, RANKING_SERVICE)
"""One of each server; the release service is on the ranking server."""

Pace = Literal["lookup", "batch", "write", "load"]


@dataclass(frozen=True)
class Deadlines:
    """How long a call may take, all its attempts included, in seconds.

    Attributes:
        lookup_s: one user or one page.
        batch_s: up to 1,024 users, or up to 256 texts, reviews or products.
        write_s: recording or retracting a review, deleting a user.
        load_s: making a release answer: verification, golden replay and compilation included.
    """

    lookup_s: float = 5.0
    batch_s: float = 30.0
    write_s: float = 10.0
    load_s: float = 180.0

    def of(self, pace: Pace) -> float:
        """Seconds for a call of this pace."""
        return {"lookup": self.lookup_s, "batch": self.batch_s, "write": self.write_s, "load": self.load_s}[pace]


@dataclass(frozen=True)
class Method:
    """A method of the API.

    Attributes:
        service: full name, ``twotower.v1.RankingService``.
        name: ``Recommend``.
        response: class of its answer.
        pace: which of the :class:`Deadlines` is its.
        retried: whether a call that found the service UNAVAILABLE is sent again; only where twice is the same as once.
    """

    service: str
    name: str
    response: type[Message]
    pace: Pace
    retried: bool = True

    @property
    def path(self) -> str:
        """The path of its HTTP/2 requests."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call, ready to be sent any number of times."""

    method: Method
    request: Message
    decode: Callable[[Any], T]


RECOMMEND: Final = Method(RANKING_SERVICE, "Recommend", ranking_service_pb2.RecommendResponse, "lookup")
BATCH_RECOMMEND: Final = Method(RANKING_SERVICE, "BatchRecommend", ranking_service_pb2.BatchRecommendResponse, "batch")
PREDICT_RATINGS: Final = Method(RANKING_SERVICE, "PredictRatings", ranking_service_pb2.PredictRatingsResponse, "lookup")
SIMILAR_PRODUCTS: Final = Method(
    RANKING_SERVICE, "SimilarProducts", ranking_service_pb2.SimilarProductsResponse, "lookup"
)
GET_PRODUCT: Final = Method(RANKING_SERVICE, "GetProduct", ranking_service_pb2.GetProductResponse, "lookup")
LIST_PRODUCTS: Final = Method(RANKING_SERVICE, "ListProducts", ranking_service_pb2.ListProductsResponse, "lookup")
UPSERT_PRODUCTS: Final = Method(RANKING_SERVICE, "UpsertProducts", ranking_service_pb2.UpsertProductsResponse, "batch")

LIST_RELEASES: Final = Method(RELEASE_SERVICE, "ListReleases", release_service_pb2.ListReleasesResponse, "lookup")
# An operator's calls of many seconds: a failure is for the operator to see at once, and a second rollback would go
# forward again.
LOAD_RELEASE: Final = Method(
    RELEASE_SERVICE, "LoadRelease", release_service_pb2.LoadReleaseResponse, "load", retried=False
)
SET_LABEL: Final = Method(RELEASE_SERVICE, "SetLabel", release_service_pb2.SetLabelResponse, "load", retried=False)
ROLLBACK: Final = Method(RELEASE_SERVICE, "Rollback", release_service_pb2.RollbackResponse, "load", retried=False)

# Idempotent by their review ids, which are made before the first attempt.
RECORD_REVIEW: Final = Method(EMBEDDING_SERVICE, "RecordReview", embedding_service_pb2.RecordReviewResponse, "write")
BATCH_RECORD_REVIEWS: Final = Method(
    EMBEDDING_SERVICE, "BatchRecordReviews", embedding_service_pb2.BatchRecordReviewsResponse, "batch"
)
RETRACT_REVIEW: Final = Method(EMBEDDING_SERVICE, "RetractReview", embedding_service_pb2.RetractReviewResponse, "write")
DELETE_USER: Final = Method(EMBEDDING_SERVICE, "DeleteUser", embedding_service_pb2.DeleteUserResponse, "write")
GET_USER_FEATURES: Final = Method(
    EMBEDDING_SERVICE, "GetUserFeatures", embedding_service_pb2.GetUserFeaturesResponse, "lookup"
)
BATCH_GET_USER_FEATURES: Final = Method(
    EMBEDDING_SERVICE, "BatchGetUserFeatures", embedding_service_pb2.BatchGetUserFeaturesResponse, "batch"
)
ENCODE_TEXTS: Final = Method(EMBEDDING_SERVICE, "EncodeTexts", embedding_service_pb2.EncodeTextsResponse, "batch")
GET_POPULARITY: Final = Method(
    EMBEDDING_SERVICE, "GetPopularity", embedding_service_pb2.GetPopularityResponse, "lookup"
)

METHODS: Final = (
    RECOMMEND,
    BATCH_RECOMMEND,
    PREDICT_RATINGS,
    SIMILAR_PRODUCTS,
    GET_PRODUCT,
    LIST_PRODUCTS,
    UPSERT_PRODUCTS,
    LIST_RELEASES,
    LOAD_RELEASE,
    SET_LABEL,
    ROLLBACK,
    RECORD_REVIEW,
    BATCH_RECORD_REVIEWS,
    RETRACT_REVIEW,
    DELETE_USER,
    GET_USER_FEATURES,
    BATCH_GET_USER_FEATURES,
    ENCODE_TEXTS,
    GET_POPULARITY,
)
"""Every method but ImportUsers, the trainer's stream."""
