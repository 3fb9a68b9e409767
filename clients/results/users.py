"""What the embedding service answers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from twotower.features import Float32


class UserKind(StrEnum):
    """How much is known of a user."""

    UNSPECIFIED = "unspecified"
    WARM = "warm"
    COLD = "cold"
    ANONYMOUS = "anonymous"


class AlsOrigin(StrEnum):
    """Where the ALS part of a user's features came from."""

    UNSPECIFIED = "unspecified"
    TRAINED = "trained"
    FOLDED_IN = "folded_in"
    NONE = "none"


class RecordOutcome(StrEnum):
    """What became of a review."""

    UNSPECIFIED = "unspecified"
    RECORDED = "recorded"
    DUPLICATE = "duplicate"
    REPLACED = "replaced"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class EmbeddingSpace:
    """The pair of vector spaces that features live in."""

    encoder_id: str
    als_id: str


@dataclass(frozen=True, eq=False)
class UserFeatures:
    """A user's features.

    Attributes:
        user_id: the user, as in the request.
        kind: warm, cold or anonymous.
        bert_mean: (384,) float32 running mean of the embeddings of all reviews.
        als: (64,) float32.
        als_origin: how `als` was obtained.
        review_count: reviews that `bert_mean` is the mean of.
        age_s: seconds since the user's state last changed; None for a user without state.
        seen_product_ids: products that the user has reviewed, sorted, each once.
        space: the spaces of `bert_mean` and `als`.
        release_id: the release whose factors and global mean were used.
    """

    user_id: str
    kind: UserKind
    bert_mean: Float32
    als: Float32
    als_origin: AlsOrigin
    review_count: int
    age_s: float | None
    seen_product_ids: tuple[str, ...]
    space: EmbeddingSpace
    release_id: str


@dataclass(frozen=True)
class RecordedReview:
    """What became of a review.

    Attributes:
        review_id: the id under which it was sent; sent again under this id it counts once.
        outcome: what was done.
        review_count: reviews that the user's state now holds.
        text_truncated: the text was longer than the encoder takes; the rest did not count.
        product_known: the product has ALS factors in the active release.
        release_id: the embedding service's active release.
    """

    review_id: str
    outcome: RecordOutcome
    review_count: int
    text_truncated: bool
    product_known: bool
    release_id: str


@dataclass(frozen=True)
class RetractedReview:
    """What became of a retraction.

    Attributes:
        retracted: False if no such review was there, also because an earlier attempt had taken it back and its answer
            was lost.
        review_count: reviews that the user's state now holds.
        release_id: the embedding service's active release.
    """

    retracted: bool
    review_count: int
    release_id: str


@dataclass(frozen=True)
class UserPage:
    """A page of all that is kept of a user.

    Attributes:
        states: per encoder the number of reviews, their mean embedding, the products and the last change; first page.
        als: the vector in each ALS space; first page.
        tombstones: what was taken back, and when; first page.
        reviews: reviews as they are kept: ids, stars, time and the embedding of the text, which is itself not kept.
        next_page_token: "" on the last page.
    """

    states: tuple[dict[str, Any], ...]
    als: tuple[dict[str, Any], ...]
    tombstones: tuple[dict[str, Any], ...]
    reviews: tuple[dict[str, Any], ...]
    next_page_token: str


@dataclass(frozen=True)
class DeletedUser:
    """What became of a deletion.

    Attributes:
        deleted: False if the user had no state, also because an earlier attempt had deleted it and its answer was lost.
    """

    deleted: bool


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Embedded texts.

    Attributes:
        vectors: (texts, 384) float32, the rounded unit vectors.
        truncated: for each text, whether it was longer than the encoder takes.
        token_counts: for each text, the tokens that counted.
        encoder_id: the encoder used.
    """

    vectors: Float32
    truncated: tuple[bool, ...]
    token_counts: tuple[int, ...]
    encoder_id: str


@dataclass(frozen=True, eq=False)
class Popularity:
    """Time-decayed review counts.

    Attributes:
        product_ids: products with any weight, those of the catalogue first and in its order.
        weights: (products,) float32, one per product id.
        half_life_s: seconds after which a review counts half.
        as_of_time: the moment that the weights are decayed to, in UTC.
    """

    product_ids: tuple[str, ...]
    weights: Float32
    half_life_s: float
    as_of_time: datetime
