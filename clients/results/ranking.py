"""What the ranking service answers."""

from dataclasses import dataclass
from enum import StrEnum

from clients.results.users import AlsOrigin, UserKind
from twotower.features import Float32


class PopularitySource(StrEnum):
    """Which popularity the scores hold: the live counters', that of the end of the training period, or none."""

    UNSPECIFIED = "unspecified"
    LIVE = "live"
    RELEASE = "release"
    NONE = "none"


@dataclass(frozen=True)
class UserContext:
    """What an answer for a user was computed from.

    Attributes:
        kind: warm, cold or anonymous.
        review_count: reviews that the features hold.
        als_origin: how the ALS part was obtained.
        feature_age_s: seconds since the user's state last changed; None for a user without state.
        degraded: the embedding service did not answer; cold-start features were used although the user may be known.
        staleness_s: seconds between the look-up of the features and the answer; None if they were looked up for it.
    """

    kind: UserKind
    review_count: int
    als_origin: AlsOrigin
    feature_age_s: float | None
    degraded: bool
    staleness_s: float | None = None


@dataclass(frozen=True)
class Timing:
    """Where the server's time went, in milliseconds."""

    queue_ms: float
    feature_lookup_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Explanation:
    """Why a product has its rank: its score without one of the features; each is a re-scoring, not an estimate.

    Attributes:
        score_without_als: with a zero ALS vector.
        score_without_bert: with the mean review embedding of all users in place of the user's own.
        score_without_popularity: with all products equally popular.
        nearest_reviewed_product_id: the product with the nearest tower among those that the user has reviewed; "" if
            there is none.
        nearest_reviewed_similarity: cosine of the two product towers, -1 to 1; 0 if there is none.
    """

    score_without_als: float
    score_without_bert: float
    score_without_popularity: float
    nearest_reviewed_product_id: str
    nearest_reviewed_similarity: float


@dataclass(frozen=True)
class Recommendation:
    """One product with its numbers.

    Attributes:
        product_id: stable id.
        name: display name.
        brand: "" if unknown.
        score: what products are ordered by; comparable only within one answer.
        predicted_rating: the rating that the user would give, 0 to 5.
        explanation: None unless asked for.
    """

    product_id: str
    name: str
    brand: str
    score: float
    predicted_rating: float
    explanation: Explanation | None = None


@dataclass(frozen=True)
class Recommendations:
    """Products with their numbers for one user: the best first, or given products in the order of the request.

    Attributes:
        release_id: the release that answered.
        products: the products.
        user: what they were computed from.
        timing: where the time went.
        popularity_source: which popularity the scores hold.
        next_page_token: for the next page; "" if there is none or pages were not asked for.
    """

    release_id: str
    products: tuple[Recommendation, ...]
    user: UserContext
    timing: Timing
    popularity_source: PopularitySource
    next_page_token: str = ""


@dataclass(frozen=True, eq=False)
class RankedProducts:
    """The best products of one user in columns, best first.

    Attributes:
        product_ids: (products,) ids.
        scores: (products,) float32.
        predicted_ratings: (products,) float32, 0 to 5.
        user: what they were computed from.
        release_id: the release that answered this user; the canary's for some.
    """

    product_ids: tuple[str, ...]
    scores: Float32
    predicted_ratings: Float32
    user: UserContext
    release_id: str


@dataclass(frozen=True, eq=False)
class BatchRecommendations:
    """The best k of many users.

    Attributes:
        release_id: the stable release; each result names its own.
        results: one per user, in the order of the request.
        timing: where the time went.
        popularity_source: which popularity the scores hold.
    """

    release_id: str
    results: tuple[RankedProducts, ...]
    timing: Timing
    popularity_source: PopularitySource


@dataclass(frozen=True)
class Product:
    """One product of the catalogue.

    Attributes:
        product_id: stable id.
        name: display name.
        brand: "" if unknown.
        categories: comma-separated, most general first; "" if unknown.
        manufacturer: "" if unknown.
        review_count: reviews in the training period; ignored where products are added.
        mean_rating: mean rating in the training period, 0 without a review; ignored where products are added.
    """

    product_id: str
    name: str
    brand: str = ""
    categories: str = ""
    manufacturer: str = ""
    review_count: int = 0
    mean_rating: float = 0.0


@dataclass(frozen=True)
class ProductDetails:
    """One product, the release whose catalogue has it, and whether it is withdrawn and whether it was upserted."""

    release_id: str
    product: Product
    withdrawn: bool = False
    added: bool = False


@dataclass(frozen=True)
class ProductPage:
    """A page of the catalogue, with its products that are withdrawn; `next_page_token` is "" at the end."""

    release_id: str
    products: tuple[Product, ...]
    next_page_token: str
    total_count: int
    withdrawn_product_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class SimilarProduct:
    """One neighbour; `similarity` is the cosine of the two product towers, -1 to 1."""

    product: Product
    similarity: float


@dataclass(frozen=True)
class SimilarProducts:
    """Neighbours of a product, nearest first."""

    release_id: str
    products: tuple[SimilarProduct, ...]


@dataclass(frozen=True)
class UpsertedProducts:
    """What became of added products: how many were new, and how many the release had and got a new tower."""

    release_id: str
    inserted_count: int
    updated_count: int


@dataclass(frozen=True)
class AddedProduct:
    """An upserted product, the stable release when it was, and whether the release that answers now serves it."""

    product: Product
    release_id: str
    served: bool


@dataclass(frozen=True)
class AddedProductPage:
    """A page of the upserted products; `next_page_token` is "" at the end."""

    release_id: str
    products: tuple[AddedProduct, ...]
    next_page_token: str
    total_count: int


@dataclass(frozen=True)
class RemovedProducts:
    """How many upserted products were taken back."""

    release_id: str
    removed_count: int


@dataclass(frozen=True)
class WithdrawnProducts:
    """How many products were withdrawn or brought back, and how many are withdrawn now."""

    release_id: str
    changed_count: int
    withdrawn_count: int
