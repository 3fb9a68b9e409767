"""Calls of the embedding service."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from clients import decoding, results
from clients.calls.fields import instance, instances, number, text, texts, timestamp
from clients.calls.methods import Call
from twotower.v1 import embedding_service_pb2, types_pb2


def new_review_id() -> str:
    """A random idempotency key."""
    return uuid4().hex


@dataclass(frozen=True)
class Review:
    """A review to record; it may be sent any number of times and counts once.

    Attributes:
        user_id: the author.
        product_id: the product; it need not be in the catalogue.
        rating: stars, 0 to 5.
        title: "No Title" if empty.
        text: "No Review" if empty.
        review_id: idempotency key, unique per user; a random one is made if none is given.
        review_time: when it was written, with its time zone; the time of arrival if None.
    """

    user_id: str
    product_id: str
    rating: float
    title: str = ""
    text: str = ""
    review_id: str = field(default_factory=new_review_id)
    review_time: datetime | None = None


def record_review(review: Review) -> Call[results.RecordedReview]:
    """Add one review.

    Raises:
        InvalidArgument: a value is of another type, a text is not UTF-8, or the time has no time zone.
    """
    message = _review(instance(review, Review, "review"), "review")
    request = embedding_service_pb2.RecordReviewRequest(review=message)
    return Call(request, lambda message: decoding.recorded_review(message, review.review_id))


def batch_record_reviews(reviews: Sequence[Review]) -> Call[tuple[results.RecordedReview, ...]]:
    """Add many reviews; each is answered by itself, in the order sent."""
    reviews = instances(reviews, Review, "reviews")
    messages = [_review(review, f"reviews[{index}]") for index, review in enumerate(reviews)]
    request = embedding_service_pb2.BatchRecordReviewsRequest(reviews=messages)
    review_ids = [review.review_id for review in messages]
    return Call(request, lambda message: decoding.recorded_reviews(message, review_ids))


def retract_review(user_id: str, review_id: str) -> Call[results.RetractedReview]:
    """Take one review back."""
    request = embedding_service_pb2.RetractReviewRequest(
        user_id=text(user_id, "user_id"), review_id=text(review_id, "review_id")
    )
    return Call(request, decoding.retracted_review)


def delete_user(user_id: str) -> Call[results.DeletedUser]:
    """Forget a user."""
    request = embedding_service_pb2.DeleteUserRequest(user_id=text(user_id, "user_id"))
    return Call(request, decoding.deleted_user)


def export_user(user_id: str, page_token: str = "") -> Call[results.UserPage]:
    """A page of all that is kept of a user."""
    request = embedding_service_pb2.ExportUserRequest(
        user_id=text(user_id, "user_id"), page_token=text(page_token, "page_token")
    )
    return Call(request, decoding.user_page)


def get_user_features(user_id: str, space: results.EmbeddingSpace | None = None) -> Call[results.UserFeatures]:
    """One user's features, in the active release's spaces by default."""
    request = embedding_service_pb2.GetUserFeaturesRequest(user_id=text(user_id, "user_id"), space=_space(space))
    return Call(request, decoding.user_features)


def batch_get_user_features(
    user_ids: Sequence[str], space: results.EmbeddingSpace | None = None
) -> Call[tuple[results.UserFeatures, ...]]:
    """Many users' features, in the order of `user_ids`."""
    request = embedding_service_pb2.BatchGetUserFeaturesRequest(
        user_ids=texts(user_ids, "user_ids"), space=_space(space)
    )
    return Call(request, decoding.batch_user_features)


def list_spaces() -> Call[tuple[results.LoadedSpace, ...]]:
    """The spaces that the embedding service can be asked for."""
    return Call(embedding_service_pb2.ListSpacesRequest(), decoding.loaded_spaces)


def prepare_space(release_id: str, space: results.EmbeddingSpace) -> Call[results.LoadedSpace]:
    """Let a release's space be asked for."""
    request = embedding_service_pb2.PrepareSpaceRequest(release_id=text(release_id, "release_id"), space=_space(space))
    return Call(request, decoding.loaded_space)


def activate_release(release_id: str) -> Call[results.LoadedSpace]:
    """Make a release the active one of the embedding service."""
    request = embedding_service_pb2.ActivateReleaseRequest(release_id=text(release_id, "release_id"))
    return Call(request, decoding.loaded_space)


def encode_texts(values: Sequence[str]) -> Call[results.TextEmbeddings]:
    """Embed texts with the active release's encoder."""
    request = embedding_service_pb2.EncodeTextsRequest(texts=texts(values, "texts"))
    return Call(request, decoding.text_embeddings)


def get_popularity(als_id: str = "") -> Call[results.Popularity]:
    """Time-decayed review counts."""
    request = embedding_service_pb2.GetPopularityRequest(als_id=text(als_id, "als_id"))
    return Call(request, decoding.popularity)


def _review(review: Review, path: str) -> types_pb2.Review:
    return types_pb2.Review(
        review_id=text(review.review_id, f"{path}.review_id"),
        user_id=text(review.user_id, f"{path}.user_id"),
        product_id=text(review.product_id, f"{path}.product_id"),
        rating=number(review.rating, f"{path}.rating"),
        title=text(review.title, f"{path}.title"),
        text=text(review.text, f"{path}.text"),
        review_time=timestamp(review.review_time, f"{path}.review_time"),
    )


def _space(space: results.EmbeddingSpace | None) -> types_pb2.EmbeddingSpace | None:
    if space is None:
        return None
    space = instance(space, results.EmbeddingSpace, "space")
    encoder_id, als_id = text(space.encoder_id, "space.encoder_id"), text(space.als_id, "space.als_id")
    return types_pb2.EmbeddingSpace(encoder_id=encoder_id, als_id=als_id)
