"""The calls of the API as values: which method, with which request, within what time, and how its answer is read.

Both clients send these, so a call is written down once. Building one checks only what protobuf could not carry (a number out of range, text
that is not UTF-8); every other rule is the server's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar
from uuid import uuid4

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from clients import decoding, results
from clients.errors import FieldViolation, InvalidArgument
from twotower.v1 import embedding_service_pb2, ranking_service_pb2, release_service_pb2, types_pb2

T = TypeVar("T")

EMBEDDING_SERVICE: Final = embedding_service_pb2.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
RANKING_SERVICE: Final = ranking_service_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
RELEASE_SERVICE: Final = release_service_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name

_MAX_UINT32: Final = 2**32 - 1

Pace = Literal["lookup", "batch", "write", "load"]


@dataclass(frozen=True)
class Deadlines:
    """How long a call may take, all its attempts included, in seconds.

    Attributes:
        lookup_s: one user or one page.
        batch_s: up to 1,024 users or 256 texts.
        write_s: recording a review, its encoding included.
        load_s: loading a release: verification, golden replay and compilation included.
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


RECOMMEND: Final = Method(RANKING_SERVICE, "Recommend", ranking_service_pb2.RecommendResponse, "lookup")
BATCH_RECOMMEND: Final = Method(RANKING_SERVICE, "BatchRecommend", ranking_service_pb2.BatchRecommendResponse, "batch")
PREDICT_RATINGS: Final = Method(RANKING_SERVICE, "PredictRatings", ranking_service_pb2.PredictRatingsResponse, "lookup")
GET_PRODUCT: Final = Method(RANKING_SERVICE, "GetProduct", ranking_service_pb2.GetProductResponse, "lookup")
LIST_PRODUCTS: Final = Method(RANKING_SERVICE, "ListProducts", ranking_service_pb2.ListProductsResponse, "lookup")
LIST_RELEASES: Final = Method(RELEASE_SERVICE, "ListReleases", release_service_pb2.ListReleasesResponse, "lookup")
# An operator's call of many seconds: a failure is for the operator to see at once.
LOAD_RELEASE: Final = Method(RELEASE_SERVICE, "LoadRelease", release_service_pb2.LoadReleaseResponse, "load", retried=False)
# Idempotent by its review id, which is made before the first attempt.
RECORD_REVIEW: Final = Method(EMBEDDING_SERVICE, "RecordReview", embedding_service_pb2.RecordReviewResponse, "write")
GET_USER_FEATURES: Final = Method(EMBEDDING_SERVICE, "GetUserFeatures", embedding_service_pb2.GetUserFeaturesResponse, "lookup")
ENCODE_TEXTS: Final = Method(EMBEDDING_SERVICE, "EncodeTexts", embedding_service_pb2.EncodeTextsResponse, "batch")

METHODS: Final = (
    RECOMMEND,
    BATCH_RECOMMEND,
    PREDICT_RATINGS,
    GET_PRODUCT,
    LIST_PRODUCTS,
    LIST_RELEASES,
    LOAD_RELEASE,
    RECORD_REVIEW,
    GET_USER_FEATURES,
    ENCODE_TEXTS,
)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call, ready to be sent any number of times."""

    method: Method
    request: Message
    decode: Callable[[Any], T]


def recommend(user_id: str, k: int, include_seen: bool) -> Call[results.Recommendations]:
    """The best k products for one user."""
    request = ranking_service_pb2.RecommendRequest(user_id=_text(user_id, "user_id"), k=_uint32(k, "k"), include_seen=include_seen)
    return Call(RECOMMEND, request, decoding.recommendations)


def batch_recommend(user_ids: Sequence[str], k: int, include_seen: bool) -> Call[results.BatchRecommendations]:
    """The best k products for each of many users."""
    request = ranking_service_pb2.BatchRecommendRequest(user_ids=_texts(user_ids, "user_ids"), k=_uint32(k, "k"), include_seen=include_seen)
    return Call(BATCH_RECOMMEND, request, decoding.batch_recommendations)


def predict_ratings(user_id: str, product_ids: Sequence[str]) -> Call[results.Recommendations]:
    """Scores and predicted ratings of given products."""
    request = ranking_service_pb2.PredictRatingsRequest(user_id=_text(user_id, "user_id"), product_ids=_texts(product_ids, "product_ids"))
    return Call(PREDICT_RATINGS, request, decoding.predictions)


def get_product(product_id: str) -> Call[results.ProductDetails]:
    """One product of the catalogue."""
    request = ranking_service_pb2.GetProductRequest(product_id=_text(product_id, "product_id"))
    return Call(GET_PRODUCT, request, decoding.product_details)


def list_products(page_size: int, page_token: str) -> Call[results.ProductPage]:
    """A page of the catalogue."""
    request = ranking_service_pb2.ListProductsRequest(page_size=_uint32(page_size, "page_size"), page_token=_text(page_token, "page_token"))
    return Call(LIST_PRODUCTS, request, decoding.product_page)


def list_releases() -> Call[tuple[results.ReleaseInfo, ...]]:
    """The releases in the ranking server's folder."""
    return Call(LIST_RELEASES, release_service_pb2.ListReleasesRequest(), decoding.releases)


def load_release(release_id: str) -> Call[results.ReleaseInfo]:
    """Load a release and make it answer."""
    request = release_service_pb2.LoadReleaseRequest(release_id=_text(release_id, "release_id"))
    return Call(LOAD_RELEASE, request, lambda message: decoding.release_info(message.release))


def record_review(
    user_id: str,
    product_id: str,
    rating: float,
    *,
    title: str = "",
    text: str = "",
    review_id: str | None = None,
    review_time: datetime | None = None,
) -> Call[results.RecordedReview]:
    """Add one review.

    Args:
        user_id: the author.
        product_id: the product.
        rating: stars, 0 to 5.
        title: "No Title" if empty.
        text: "No Review" if empty.
        review_id: idempotency key, unique per user; a random one is made, once for all attempts of this call, if None.
        review_time: when it was written, with its time zone; the time of arrival if None.

    Raises:
        InvalidArgument: text that is not UTF-8, or a time without a time zone.
    """
    key = uuid4().hex if review_id is None else review_id
    review = types_pb2.Review(
        review_id=_text(key, "review.review_id"),
        user_id=_text(user_id, "review.user_id"),
        product_id=_text(product_id, "review.product_id"),
        rating=rating,
        title=_text(title, "review.title"),
        text=_text(text, "review.text"),
        review_time=_timestamp(review_time, "review.review_time"),
    )
    request = embedding_service_pb2.RecordReviewRequest(review=review)
    return Call(RECORD_REVIEW, request, lambda message: decoding.recorded_review(message, key))


def get_user_features(user_id: str) -> Call[results.UserFeatures]:
    """One user's features in the active release's spaces."""
    request = embedding_service_pb2.GetUserFeaturesRequest(user_id=_text(user_id, "user_id"))
    return Call(GET_USER_FEATURES, request, decoding.user_features)


def encode_texts(texts: Sequence[str]) -> Call[results.TextEmbeddings]:
    """Embed texts with the active release's encoder."""
    return Call(ENCODE_TEXTS, embedding_service_pb2.EncodeTextsRequest(texts=_texts(texts, "texts")), decoding.text_embeddings)


def _uint32(value: int, field: str) -> int:
    if not 0 <= value <= _MAX_UINT32:
        raise InvalidArgument([FieldViolation(field, f"must be 0 to {_MAX_UINT32}, got {value}")])
    return value


def _text(value: str, field: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument([FieldViolation(field, "must be valid UTF-8")]) from error
    return value


def _texts(values: Sequence[str], field: str) -> list[str]:
    if isinstance(values, str):  # a text is a sequence of texts too, and one user would become a batch of letters
        raise InvalidArgument([FieldViolation(field, "must be a list of texts, not one text")])
    return [_text(value, f"{field}[{index}]") for index, value in enumerate(values)]


def _timestamp(value: datetime | None, field: str) -> Timestamp | None:
    if value is None:
        return None
    if value.utcoffset() is None:
        raise InvalidArgument([FieldViolation(field, "must have a time zone")])
    timestamp = Timestamp()
    timestamp.FromDatetime(value)
    return timestamp
