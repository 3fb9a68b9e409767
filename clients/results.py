"""What the calls answer: immutable values, free of protobuf."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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


class ReleaseLabel(StrEnum):
    """What a release is used for."""

    UNSPECIFIED = "unspecified"
    STABLE = "stable"
    CANARY = "canary"
    SHADOW = "shadow"


@dataclass(frozen=True)
class UserContext:
    """What an answer was computed from.

    Attributes:
        kind: warm, cold or anonymous.
        review_count: reviews that the features hold.
        als_origin: how the ALS part was obtained.
        feature_age_s: seconds since the user's state last changed; None for a user without state.
        degraded: the embedding service did not answer; cold-start features were used although the user may be known.
    """

    kind: UserKind
    review_count: int
    als_origin: AlsOrigin
    feature_age_s: float | None
    degraded: bool


@dataclass(frozen=True)
class Timing:
    """Where the server's time went, in milliseconds."""

    queue_ms: float
    feature_lookup_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Recommendation:
    """One product with its numbers.

    Attributes:
        product_id: stable id.
        name: display name.
        brand: "" if unknown.
        score: what the order is by; comparable only within one answer.
        predicted_rating: the rating that the user would give, 0 to 5.
    """

    product_id: str
    name: str
    brand: str
    score: float
    predicted_rating: float


@dataclass(frozen=True)
class Recommendations:
    """Products with their numbers for one user: the best first, or in the order asked where given products were."""

    release_id: str
    products: tuple[Recommendation, ...]
    user: UserContext
    timing: Timing


@dataclass(frozen=True, eq=False)
class RankedProducts:
    """The best products of one user in columns, best first.

    Attributes:
        product_ids: (products,) ids.
        scores: (products,) float32.
        predicted_ratings: (products,) float32, 0 to 5.
        user: what they were computed from.
    """

    product_ids: tuple[str, ...]
    scores: Float32
    predicted_ratings: Float32
    user: UserContext


@dataclass(frozen=True, eq=False)
class BatchRecommendations:
    """The best k of many users, in the order asked."""

    release_id: str
    results: tuple[RankedProducts, ...]
    timing: Timing


@dataclass(frozen=True)
class Product:
    """One product of the catalogue; `review_count` and `mean_rating` (0 without a review) are of the training period."""

    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str
    review_count: int
    mean_rating: float


@dataclass(frozen=True)
class ProductDetails:
    """One product and the release whose catalogue it is of."""

    release_id: str
    product: Product


@dataclass(frozen=True)
class ProductPage:
    """A page of the catalogue; `next_page_token` is "" at the end."""

    release_id: str
    products: tuple[Product, ...]
    next_page_token: str
    total_count: int


@dataclass(frozen=True)
class RecordedReview:
    """What became of a review.

    Attributes:
        review_id: the id that it was sent under; sending it again under this id counts once.
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
class EmbeddingSpace:
    """The pair of vector spaces that features live in."""

    encoder_id: str
    als_id: str


@dataclass(frozen=True, eq=False)
class UserFeatures:
    """A user's features.

    Attributes:
        user_id: as asked for.
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


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Embedded texts.

    Attributes:
        vectors: (texts, 384) float32, the rounded unit vectors.
        truncated: whether each text was longer than the encoder takes.
        token_counts: tokens of each text that counted.
        encoder_id: the encoder used.
    """

    vectors: Float32
    truncated: tuple[bool, ...]
    token_counts: tuple[int, ...]
    encoder_id: str


@dataclass(frozen=True)
class ReleaseInfo:
    """One release of the ranking server's folder."""

    release_id: str
    preset: str
    create_time: datetime
    product_count: int
    space: EmbeddingSpace
    label: ReleaseLabel
