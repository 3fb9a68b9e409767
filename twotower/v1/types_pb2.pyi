import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USER_KIND_UNSPECIFIED: _ClassVar[UserKind]
    USER_KIND_WARM: _ClassVar[UserKind]
    USER_KIND_COLD: _ClassVar[UserKind]
    USER_KIND_ANONYMOUS: _ClassVar[UserKind]

class AlsOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALS_ORIGIN_UNSPECIFIED: _ClassVar[AlsOrigin]
    ALS_ORIGIN_TRAINED: _ClassVar[AlsOrigin]
    ALS_ORIGIN_FOLDED_IN: _ClassVar[AlsOrigin]
    ALS_ORIGIN_NONE: _ClassVar[AlsOrigin]
USER_KIND_UNSPECIFIED: UserKind
USER_KIND_WARM: UserKind
USER_KIND_COLD: UserKind
USER_KIND_ANONYMOUS: UserKind
ALS_ORIGIN_UNSPECIFIED: AlsOrigin
ALS_ORIGIN_TRAINED: AlsOrigin
ALS_ORIGIN_FOLDED_IN: AlsOrigin
ALS_ORIGIN_NONE: AlsOrigin

class Vector(_message.Message):
    __slots__ = ("values", "dimension")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    values: bytes
    dimension: int
    def __init__(self, values: _Optional[bytes] = ..., dimension: _Optional[int] = ...) -> None: ...

class EmbeddingSpace(_message.Message):
    __slots__ = ("encoder_id", "als_id")
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    ALS_ID_FIELD_NUMBER: _ClassVar[int]
    encoder_id: str
    als_id: str
    def __init__(self, encoder_id: _Optional[str] = ..., als_id: _Optional[str] = ...) -> None: ...

class UserFeatures(_message.Message):
    __slots__ = ("user_id", "kind", "bert_mean", "als", "als_origin", "review_count", "age", "seen_product_ids", "space")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BERT_MEAN_FIELD_NUMBER: _ClassVar[int]
    ALS_FIELD_NUMBER: _ClassVar[int]
    ALS_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    SEEN_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    kind: UserKind
    bert_mean: Vector
    als: Vector
    als_origin: AlsOrigin
    review_count: int
    age: _duration_pb2.Duration
    seen_product_ids: _containers.RepeatedScalarFieldContainer[str]
    space: EmbeddingSpace
    def __init__(self, user_id: _Optional[str] = ..., kind: _Optional[_Union[UserKind, str]] = ..., bert_mean: _Optional[_Union[Vector, _Mapping]] = ..., als: _Optional[_Union[Vector, _Mapping]] = ..., als_origin: _Optional[_Union[AlsOrigin, str]] = ..., review_count: _Optional[int] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., seen_product_ids: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[EmbeddingSpace, _Mapping]] = ...) -> None: ...

class Product(_message.Message):
    __slots__ = ("product_id", "name", "brand", "categories", "manufacturer", "review_count", "mean_rating")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BRAND_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    MANUFACTURER_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_RATING_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str
    review_count: int
    mean_rating: float
    def __init__(self, product_id: _Optional[str] = ..., name: _Optional[str] = ..., brand: _Optional[str] = ..., categories: _Optional[str] = ..., manufacturer: _Optional[str] = ..., review_count: _Optional[int] = ..., mean_rating: _Optional[float] = ...) -> None: ...

class Review(_message.Message):
    __slots__ = ("review_id", "user_id", "product_id", "rating", "title", "text", "review_time")
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REVIEW_TIME_FIELD_NUMBER: _ClassVar[int]
    review_id: str
    user_id: str
    product_id: str
    rating: float
    title: str
    text: str
    review_time: _timestamp_pb2.Timestamp
    def __init__(self, review_id: _Optional[str] = ..., user_id: _Optional[str] = ..., product_id: _Optional[str] = ..., rating: _Optional[float] = ..., title: _Optional[str] = ..., text: _Optional[str] = ..., review_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
