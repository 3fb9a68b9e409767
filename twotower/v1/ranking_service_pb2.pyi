import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from twotower.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserContext(_message.Message):
    __slots__ = ("kind", "review_count", "als_origin", "feature_age", "degraded")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FEATURE_AGE_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    kind: _types_pb2.UserKind
    review_count: int
    als_origin: _types_pb2.AlsOrigin
    feature_age: _duration_pb2.Duration
    degraded: bool
    def __init__(self, kind: _Optional[_Union[_types_pb2.UserKind, str]] = ..., review_count: _Optional[int] = ..., als_origin: _Optional[_Union[_types_pb2.AlsOrigin, str]] = ..., feature_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., degraded: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("product_id", "name", "brand", "score", "predicted_rating")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BRAND_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATING_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    name: str
    brand: str
    score: float
    predicted_rating: float
    def __init__(self, product_id: _Optional[str] = ..., name: _Optional[str] = ..., brand: _Optional[str] = ..., score: _Optional[float] = ..., predicted_rating: _Optional[float] = ...) -> None: ...

class RecommendRequest(_message.Message):
    __slots__ = ("user_id", "k", "include_seen")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    k: int
    include_seen: bool
    def __init__(self, user_id: _Optional[str] = ..., k: _Optional[int] = ..., include_seen: _Optional[bool] = ...) -> None: ...

class RecommendResponse(_message.Message):
    __slots__ = ("release_id", "recommendations", "user", "timing")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    user: UserContext
    timing: Timing
    def __init__(self, release_id: _Optional[str] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class BatchRecommendRequest(_message.Message):
    __slots__ = ("user_ids", "k", "include_seen")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SEEN_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    k: int
    include_seen: bool
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., k: _Optional[int] = ..., include_seen: _Optional[bool] = ...) -> None: ...

class RankedProducts(_message.Message):
    __slots__ = ("product_ids", "scores", "predicted_ratings", "user")
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_RATINGS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    scores: _types_pb2.Vector
    predicted_ratings: _types_pb2.Vector
    user: UserContext
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ..., scores: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., predicted_ratings: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ...) -> None: ...

class BatchRecommendResponse(_message.Message):
    __slots__ = ("release_id", "results", "timing")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    results: _containers.RepeatedCompositeFieldContainer[RankedProducts]
    timing: Timing
    def __init__(self, release_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[RankedProducts, _Mapping]]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class PredictRatingsRequest(_message.Message):
    __slots__ = ("user_id", "product_ids")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user_id: _Optional[str] = ..., product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PredictRatingsResponse(_message.Message):
    __slots__ = ("release_id", "predictions", "user", "timing")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    predictions: _containers.RepeatedCompositeFieldContainer[Recommendation]
    user: UserContext
    timing: Timing
    def __init__(self, release_id: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., user: _Optional[_Union[UserContext, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("release_id", "product")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    product: _types_pb2.Product
    def __init__(self, release_id: _Optional[str] = ..., product: _Optional[_Union[_types_pb2.Product, _Mapping]] = ...) -> None: ...

class ListProductsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProductsResponse(_message.Message):
    __slots__ = ("release_id", "products", "next_page_token", "total_count")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    products: _containers.RepeatedCompositeFieldContainer[_types_pb2.Product]
    next_page_token: str
    total_count: int
    def __init__(self, release_id: _Optional[str] = ..., products: _Optional[_Iterable[_Union[_types_pb2.Product, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

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
