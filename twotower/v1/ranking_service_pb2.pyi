import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from twotower.v1 import access_pb2 as _access_pb2
from twotower.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PopularitySource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POPULARITY_SOURCE_UNSPECIFIED: _ClassVar[PopularitySource]
    POPULARITY_SOURCE_LIVE: _ClassVar[PopularitySource]
    POPULARITY_SOURCE_RELEASE: _ClassVar[PopularitySource]
    POPULARITY_SOURCE_NONE: _ClassVar[PopularitySource]
POPULARITY_SOURCE_UNSPECIFIED: PopularitySource
POPULARITY_SOURCE_LIVE: PopularitySource
POPULARITY_SOURCE_RELEASE: PopularitySource
POPULARITY_SOURCE_NONE: PopularitySource

class UserContext(_message.Message):
    __slots__ = ("kind", "review_count", "als_origin", "feature_age", "degraded", "staleness")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FEATURE_AGE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    kind: _types_pb2.UserKind
    review_count: int
    als_origin: _types_pb2.AlsOrigin
    feature_age: _duration_pb2.Duration
    degraded: bool
    staleness: _duration_pb2.Duration
    def __init__(self, kind: _Optional[_Union[_types_pb2.UserKind, str]] = ..., review_count: _Optional[int] = ..., als_origin: _Optional[_Union[_types_pb2.AlsOrigin, str]] = ..., feature_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., degraded: _Optional[bool] = ..., staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ProductFilter(_message.Message):
    __slots__ = ("allowed_product_ids", "denied_product_ids", "categories", "brands", "min_predicted_rating")
    ALLOWED_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    DENIED_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    BRANDS_FIELD_NUMBER: _ClassVar[int]
    MIN_PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    allowed_product_ids: _containers.RepeatedScalarFieldContainer[str]
    denied_product_ids: _containers.RepeatedScalarFieldContainer[str]
    categories: _containers.RepeatedScalarFieldContainer[str]
    brands: _containers.RepeatedScalarFieldContainer[str]
    min_predicted_rating: float
    def __init__(self, allowed_product_ids: _Optional[_Iterable[str]] = ..., denied_product_ids: _Optional[_Iterable[str]] = ..., categories: _Optional[_Iterable[str]] = ..., brands: _Optional[_Iterable[str]] = ..., min_predicted_rating: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("score_without_als", "score_without_bert", "score_without_popularity", "nearest_reviewed_product_id", "nearest_reviewed_similarity")
    SCORE_WITHOUT_ALS_FIELD_NUMBER: _ClassVar[int]
    SCORE_WITHOUT_BERT_FIELD_NUMBER: _ClassVar[int]
    SCORE_WITHOUT_POPULARITY_FIELD_NUMBER: _ClassVar[int]
    NEAREST_REVIEWED_PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    NEAREST_REVIEWED_SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    score_without_als: float
    score_without_bert: float
    score_without_popularity: float
    nearest_reviewed_product_id: str
    nearest_reviewed_similarity: float
    def __init__(self, score_without_als: _Optional[float] = ..., score_without_bert: _Optional[float] = ..., score_without_popularity: _Optional[float] = ..., nearest_reviewed_product_id: _Optional[str] = ..., nearest_reviewed_similarity: _Optional[float] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue", "feature_lookup", "compute")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LOOKUP_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    queue: _duration_pb2.Duration
    feature_lookup: _duration_pb2.Duration
    compute: _duration_pb2.Duration
    def __init__(self, queue: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., feature_lookup: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., compute: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("product_id", "name", "brand", "score", "predicted_rating", "explanation")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BRAND_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    name: str
    brand: str
    score: float
    predicted_rating: float
    explanation: Explanation
    def __init__(self, product_id: _Optional[str] = ..., name: _Optional[str] = ..., brand: _Optional[str] = ..., score: _Optional[float] = ..., predicted_rating: _Optional[float] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "k", "include_seen", "filter", "max_per_brand", "diversity_strength", "page_token", "paginate", "explain", "max_staleness")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_BRAND_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGINATE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    k: int
    include_seen: bool
    filter: ProductFilter
    max_per_brand: int
    diversity_strength: float
    page_token: str
    paginate: bool
    explain: bool
    max_staleness: _duration_pb2.Duration
    def __init__(self, user_id: _Optional[str] = ..., k: _Optional[int] = ..., include_seen: _Optional[bool] = ..., filter: _Optional[_Union[ProductFilter, _Mapping]] = ..., max_per_brand: _Optional[int] = ..., diversity_strength: _Optional[float] = ..., page_token: _Optional[str] = ..., paginate: _Optional[bool] = ..., explain: _Optional[bool] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("release_id", "recommendations", "user", "timing", "next_page_token", "popularity_source")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    user: UserContext
    timing: Timing
    next_page_token: str
    popularity_source: PopularitySource
    def __init__(self, release_id: _Optional[str] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., next_page_token: _Optional[str] = ..., popularity_source: _Optional[_Union[PopularitySource, str]] = ...) -> None: ...

class BatchRecommendRequest(_message.Message):
    __slots__ = ("user_ids", "k", "include_seen", "filter", "max_per_brand", "diversity_strength", "max_staleness")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_BRAND_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_STRENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    k: int
    include_seen: bool
    filter: ProductFilter
    max_per_brand: int
    diversity_strength: float
    max_staleness: _duration_pb2.Duration
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., k: _Optional[int] = ..., include_seen: _Optional[bool] = ..., filter: _Optional[_Union[ProductFilter, _Mapping]] = ..., max_per_brand: _Optional[int] = ..., diversity_strength: _Optional[float] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RankedProducts(_message.Message):
    __slots__ = ("product_ids", "scores", "predicted_ratings", "user", "release_id")
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATINGS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    scores: _types_pb2.Vector
    predicted_ratings: _types_pb2.Vector
    user: UserContext
    release_id: str
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., predicted_ratings: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., release_id: _Optional[str] = ...) -> None: ...

class BatchRecommendResponse(_message.Message):
    __slots__ = ("release_id", "results", "timing", "popularity_source")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    results: _containers.RepeatedCompositeFieldContainer[RankedProducts]
    timing: Timing
    popularity_source: PopularitySource
    def __init__(self, release_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[RankedProducts, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., popularity_source: _Optional[_Union[PopularitySource, str]] = ...) -> None: ...

class PredictRatingsRequest(_message.Message):
    __slots__ = ("user_id", "product_ids", "max_staleness")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    max_staleness: _duration_pb2.Duration
    def __init__(self, user_id: _Optional[str] = ..., product_ids: _Optional[_Iterable[str]] = ..., max_staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PredictRatingsResponse(_message.Message):
    __slots__ = ("release_id", "predictions", "user", "timing", "popularity_source")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    POPULARITY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    predictions: _containers.RepeatedCompositeFieldContainer[Recommendation]
    user: UserContext
    timing: Timing
    popularity_source: PopularitySource
    def __init__(self, release_id: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., popularity_source: _Optional[_Union[PopularitySource, str]] = ...) -> None: ...

class SimilarProductsRequest(_message.Message):
    __slots__ = ("product_id", "k")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    k: int
    def __init__(self, product_id: _Optional[str] = ..., k: _Optional[int] = ...) -> None: ...

class SimilarProductsResponse(_message.Message):
    __slots__ = ("release_id", "products")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    products: _containers.RepeatedCompositeFieldContainer[SimilarProduct]
    def __init__(self, release_id: _Optional[str] = ..., products: _Optional[_Iterable[_Union[SimilarProduct, _Mapping]]] = ...) -> None: ...

class SimilarProduct(_message.Message):
    __slots__ = ("product", "similarity")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    product: _types_pb2.Product
    similarity: float
    def __init__(self, product: _Optional[_Union[_types_pb2.Product, _Mapping]] = ..., similarity: _Optional[float] = ...) -> None: ...

class GetProductRequest(_message.Message):
    __slots__ = ("product_id",)
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    def __init__(self, product_id: _Optional[str] = ...) -> None: ...

class GetProductResponse(_message.Message):
    __slots__ = ("release_id", "product", "withdrawn", "added")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    product: _types_pb2.Product
    withdrawn: bool
    added: bool
    def __init__(self, release_id: _Optional[str] = ..., product: _Optional[_Union[_types_pb2.Product, _Mapping]] = ..., withdrawn: _Optional[bool] = ..., added: _Optional[bool] = ...) -> None: ...

class ListProductsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProductsResponse(_message.Message):
    __slots__ = ("release_id", "products", "next_page_token", "total_count", "withdrawn_product_ids")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    products: _containers.RepeatedCompositeFieldContainer[_types_pb2.Product]
    next_page_token: str
    total_count: int
    withdrawn_product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, release_id: _Optional[str] = ..., products: _Optional[_Iterable[_Union[_types_pb2.Product, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ..., withdrawn_product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class UpsertProductsRequest(_message.Message):
    __slots__ = ("products",)
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    products: _containers.RepeatedCompositeFieldContainer[_types_pb2.Product]
    def __init__(self, products: _Optional[_Iterable[_Union[_types_pb2.Product, _Mapping]]] = ...) -> None: ...

class UpsertProductsResponse(_message.Message):
    __slots__ = ("release_id", "inserted_count", "updated_count")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    INSERTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    inserted_count: int
    updated_count: int
    def __init__(self, release_id: _Optional[str] = ..., inserted_count: _Optional[int] = ..., updated_count: _Optional[int] = ...) -> None: ...

class ListAddedProductsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAddedProductsResponse(_message.Message):
    __slots__ = ("release_id", "products", "next_page_token", "total_count")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    products: _containers.RepeatedCompositeFieldContainer[AddedProduct]
    next_page_token: str
    total_count: int
    def __init__(self, release_id: _Optional[str] = ..., products: _Optional[_Iterable[_Union[AddedProduct, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

class AddedProduct(_message.Message):
    __slots__ = ("product", "release_id", "served")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    product: _types_pb2.Product
    release_id: str
    served: bool
    def __init__(self, product: _Optional[_Union[_types_pb2.Product, _Mapping]] = ..., release_id: _Optional[str] = ..., served: _Optional[bool] = ...) -> None: ...

class RemoveAddedProductsRequest(_message.Message):
    __slots__ = ("product_ids",)
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RemoveAddedProductsResponse(_message.Message):
    __slots__ = ("release_id", "removed_count")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REMOVED_COUNT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    removed_count: int
    def __init__(self, release_id: _Optional[str] = ..., removed_count: _Optional[int] = ...) -> None: ...

class WithdrawProductsRequest(_message.Message):
    __slots__ = ("product_ids", "restore")
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    restore: bool
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ..., restore: _Optional[bool] = ...) -> None: ...

class WithdrawProductsResponse(_message.Message):
    __slots__ = ("release_id", "changed_count", "withdrawn_count")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    changed_count: int
    withdrawn_count: int
    def __init__(self, release_id: _Optional[str] = ..., changed_count: _Optional[int] = ..., withdrawn_count: _Optional[int] = ...) -> None: ...
