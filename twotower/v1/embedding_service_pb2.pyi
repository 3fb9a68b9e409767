import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from twotower.v1 import access_pb2 as _access_pb2
from twotower.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_LAYOUT_UNSPECIFIED: _ClassVar[FeatureLayout]
    FEATURE_LAYOUT_MESSAGES: _ClassVar[FeatureLayout]
    FEATURE_LAYOUT_COLUMNS: _ClassVar[FeatureLayout]

class RecordOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_OUTCOME_UNSPECIFIED: _ClassVar[RecordOutcome]
    RECORD_OUTCOME_RECORDED: _ClassVar[RecordOutcome]
    RECORD_OUTCOME_DUPLICATE: _ClassVar[RecordOutcome]
    RECORD_OUTCOME_REPLACED: _ClassVar[RecordOutcome]
    RECORD_OUTCOME_ANONYMOUS: _ClassVar[RecordOutcome]

class SpaceState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPACE_STATE_UNSPECIFIED: _ClassVar[SpaceState]
    SPACE_STATE_ACTIVE: _ClassVar[SpaceState]
    SPACE_STATE_PREVIOUS: _ClassVar[SpaceState]
    SPACE_STATE_PREPARED: _ClassVar[SpaceState]
FEATURE_LAYOUT_UNSPECIFIED: FeatureLayout
FEATURE_LAYOUT_MESSAGES: FeatureLayout
FEATURE_LAYOUT_COLUMNS: FeatureLayout
RECORD_OUTCOME_UNSPECIFIED: RecordOutcome
RECORD_OUTCOME_RECORDED: RecordOutcome
RECORD_OUTCOME_DUPLICATE: RecordOutcome
RECORD_OUTCOME_REPLACED: RecordOutcome
RECORD_OUTCOME_ANONYMOUS: RecordOutcome
SPACE_STATE_UNSPECIFIED: SpaceState
SPACE_STATE_ACTIVE: SpaceState
SPACE_STATE_PREVIOUS: SpaceState
SPACE_STATE_PREPARED: SpaceState

class GetUserFeaturesRequest(_message.Message):
    __slots__ = ("user_id", "space")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    space: _types_pb2.EmbeddingSpace
    def __init__(self, user_id: _Optional[str] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ...) -> None: ...

class GetUserFeaturesResponse(_message.Message):
    __slots__ = ("features", "release_id")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    features: _types_pb2.UserFeatures
    release_id: str
    def __init__(self, features: _Optional[_Union[_types_pb2.UserFeatures, _Mapping]] = ..., release_id: _Optional[str] = ...) -> None: ...

class BatchGetUserFeaturesRequest(_message.Message):
    __slots__ = ("user_ids", "space", "layout")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    space: _types_pb2.EmbeddingSpace
    layout: FeatureLayout
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ..., layout: _Optional[_Union[FeatureLayout, str]] = ...) -> None: ...

class StreamUserFeaturesRequest(_message.Message):
    __slots__ = ("user_ids", "space")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    space: _types_pb2.EmbeddingSpace
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ...) -> None: ...

class StreamUserFeaturesResponse(_message.Message):
    __slots__ = ("columns", "release_id")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    columns: UserFeatureColumns
    release_id: str
    def __init__(self, columns: _Optional[_Union[UserFeatureColumns, _Mapping]] = ..., release_id: _Optional[str] = ...) -> None: ...

class BatchGetUserFeaturesResponse(_message.Message):
    __slots__ = ("features", "release_id", "columns")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[_types_pb2.UserFeatures]
    release_id: str
    columns: UserFeatureColumns
    def __init__(self, features: _Optional[_Iterable[_Union[_types_pb2.UserFeatures, _Mapping]]] = ..., release_id: _Optional[str] = ..., columns: _Optional[_Union[UserFeatureColumns, _Mapping]] = ...) -> None: ...

class UserFeatureColumns(_message.Message):
    __slots__ = ("kinds", "bert_means", "als", "als_origins", "review_counts", "ages_us", "seen_counts", "seen_product_ids", "space")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    BERT_MEANS_FIELD_NUMBER: _ClassVar[int]
    ALS_FIELD_NUMBER: _ClassVar[int]
    ALS_ORIGINS_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNTS_FIELD_NUMBER: _ClassVar[int]
    AGES_US_FIELD_NUMBER: _ClassVar[int]
    SEEN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SEEN_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[_types_pb2.UserKind]
    bert_means: bytes
    als: bytes
    als_origins: _containers.RepeatedScalarFieldContainer[_types_pb2.AlsOrigin]
    review_counts: _containers.RepeatedScalarFieldContainer[int]
    ages_us: _containers.RepeatedScalarFieldContainer[int]
    seen_counts: _containers.RepeatedScalarFieldContainer[int]
    seen_product_ids: _containers.RepeatedScalarFieldContainer[str]
    space: _types_pb2.EmbeddingSpace
    def __init__(self, kinds: _Optional[_Iterable[_Union[_types_pb2.UserKind, str]]] = ..., bert_means: _Optional[bytes] = ..., als: _Optional[bytes] = ..., als_origins: _Optional[_Iterable[_Union[_types_pb2.AlsOrigin, str]]] = ..., review_counts: _Optional[_Iterable[int]] = ..., ages_us: _Optional[_Iterable[int]] = ..., seen_counts: _Optional[_Iterable[int]] = ..., seen_product_ids: _Optional[_Iterable[str]] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ...) -> None: ...

class RecordReviewRequest(_message.Message):
    __slots__ = ("review",)
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    review: _types_pb2.Review
    def __init__(self, review: _Optional[_Union[_types_pb2.Review, _Mapping]] = ...) -> None: ...

class RecordReviewResponse(_message.Message):
    __slots__ = ("outcome", "review_count", "text_truncated", "product_known", "release_id")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    TEXT_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_KNOWN_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    outcome: RecordOutcome
    review_count: int
    text_truncated: bool
    product_known: bool
    release_id: str
    def __init__(self, outcome: _Optional[_Union[RecordOutcome, str]] = ..., review_count: _Optional[int] = ..., text_truncated: _Optional[bool] = ..., product_known: _Optional[bool] = ..., release_id: _Optional[str] = ...) -> None: ...

class BatchRecordReviewsRequest(_message.Message):
    __slots__ = ("reviews",)
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[_types_pb2.Review]
    def __init__(self, reviews: _Optional[_Iterable[_Union[_types_pb2.Review, _Mapping]]] = ...) -> None: ...

class BatchRecordReviewsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RecordReviewResponse]
    def __init__(self, results: _Optional[_Iterable[_Union[RecordReviewResponse, _Mapping]]] = ...) -> None: ...

class RetractReviewRequest(_message.Message):
    __slots__ = ("user_id", "review_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    review_id: str
    def __init__(self, user_id: _Optional[str] = ..., review_id: _Optional[str] = ...) -> None: ...

class RetractReviewResponse(_message.Message):
    __slots__ = ("retracted", "review_count", "release_id")
    RETRACTED_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    retracted: bool
    review_count: int
    release_id: str
    def __init__(self, retracted: _Optional[bool] = ..., review_count: _Optional[int] = ..., release_id: _Optional[str] = ...) -> None: ...

class DeleteUserRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class DeleteUserResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...

class ImportUsersRequest(_message.Message):
    __slots__ = ("header", "batch")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    header: ImportHeader
    batch: ImportBatch
    def __init__(self, header: _Optional[_Union[ImportHeader, _Mapping]] = ..., batch: _Optional[_Union[ImportBatch, _Mapping]] = ...) -> None: ...

class ImportHeader(_message.Message):
    __slots__ = ("release_id", "space", "user_count", "prepare_only", "force")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    PREPARE_ONLY_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    space: _types_pb2.EmbeddingSpace
    user_count: int
    prepare_only: bool
    force: bool
    def __init__(self, release_id: _Optional[str] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ..., user_count: _Optional[int] = ..., prepare_only: _Optional[bool] = ..., force: _Optional[bool] = ...) -> None: ...

class ImportBatch(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[ImportedUser]
    def __init__(self, users: _Optional[_Iterable[_Union[ImportedUser, _Mapping]]] = ...) -> None: ...

class ImportedUser(_message.Message):
    __slots__ = ("user_id", "reviews", "als")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    ALS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    reviews: _containers.RepeatedCompositeFieldContainer[ImportedReview]
    als: _types_pb2.Vector
    def __init__(self, user_id: _Optional[str] = ..., reviews: _Optional[_Iterable[_Union[ImportedReview, _Mapping]]] = ..., als: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ...) -> None: ...

class ImportedReview(_message.Message):
    __slots__ = ("review_id", "product_id", "rating", "review_time", "fixed_point")
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    REVIEW_TIME_FIELD_NUMBER: _ClassVar[int]
    FIXED_POINT_FIELD_NUMBER: _ClassVar[int]
    review_id: str
    product_id: str
    rating: float
    review_time: _timestamp_pb2.Timestamp
    fixed_point: bytes
    def __init__(self, review_id: _Optional[str] = ..., product_id: _Optional[str] = ..., rating: _Optional[float] = ..., review_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., fixed_point: _Optional[bytes] = ...) -> None: ...

class ImportUsersResponse(_message.Message):
    __slots__ = ("user_count", "review_count", "anonymous_skipped_count", "release_id")
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    user_count: int
    review_count: int
    anonymous_skipped_count: int
    release_id: str
    def __init__(self, user_count: _Optional[int] = ..., review_count: _Optional[int] = ..., anonymous_skipped_count: _Optional[int] = ..., release_id: _Optional[str] = ...) -> None: ...

class LoadedSpace(_message.Message):
    __slots__ = ("release_id", "space", "state")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    space: _types_pb2.EmbeddingSpace
    state: SpaceState
    def __init__(self, release_id: _Optional[str] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ..., state: _Optional[_Union[SpaceState, str]] = ...) -> None: ...

class ListSpacesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSpacesResponse(_message.Message):
    __slots__ = ("spaces",)
    SPACES_FIELD_NUMBER: _ClassVar[int]
    spaces: _containers.RepeatedCompositeFieldContainer[LoadedSpace]
    def __init__(self, spaces: _Optional[_Iterable[_Union[LoadedSpace, _Mapping]]] = ...) -> None: ...

class PrepareSpaceRequest(_message.Message):
    __slots__ = ("release_id", "space")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    space: _types_pb2.EmbeddingSpace
    def __init__(self, release_id: _Optional[str] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ...) -> None: ...

class PrepareSpaceResponse(_message.Message):
    __slots__ = ("space",)
    SPACE_FIELD_NUMBER: _ClassVar[int]
    space: LoadedSpace
    def __init__(self, space: _Optional[_Union[LoadedSpace, _Mapping]] = ...) -> None: ...

class ActivateReleaseRequest(_message.Message):
    __slots__ = ("release_id",)
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    def __init__(self, release_id: _Optional[str] = ...) -> None: ...

class ActivateReleaseResponse(_message.Message):
    __slots__ = ("space",)
    SPACE_FIELD_NUMBER: _ClassVar[int]
    space: LoadedSpace
    def __init__(self, space: _Optional[_Union[LoadedSpace, _Mapping]] = ...) -> None: ...

class RetireSpacesRequest(_message.Message):
    __slots__ = ("release_id", "served_release_ids")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_RELEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    served_release_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, release_id: _Optional[str] = ..., served_release_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class RetireSpacesResponse(_message.Message):
    __slots__ = ("encoder_ids", "als_ids")
    ENCODER_IDS_FIELD_NUMBER: _ClassVar[int]
    ALS_IDS_FIELD_NUMBER: _ClassVar[int]
    encoder_ids: _containers.RepeatedScalarFieldContainer[str]
    als_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, encoder_ids: _Optional[_Iterable[str]] = ..., als_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ExportUserRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ExportUserResponse(_message.Message):
    __slots__ = ("states", "als", "tombstones", "reviews", "next_page_token")
    STATES_FIELD_NUMBER: _ClassVar[int]
    ALS_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[ExportedState]
    als: _containers.RepeatedCompositeFieldContainer[ExportedAls]
    tombstones: _containers.RepeatedCompositeFieldContainer[ExportedTombstone]
    reviews: _containers.RepeatedCompositeFieldContainer[ExportedReview]
    next_page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[ExportedState, _Mapping]]] = ..., als: _Optional[_Iterable[_Union[ExportedAls, _Mapping]]] = ..., tombstones: _Optional[_Iterable[_Union[ExportedTombstone, _Mapping]]] = ..., reviews: _Optional[_Iterable[_Union[ExportedReview, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExportedState(_message.Message):
    __slots__ = ("encoder_id", "review_count", "change_time", "bert_mean", "seen_product_ids")
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    BERT_MEAN_FIELD_NUMBER: _ClassVar[int]
    SEEN_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    encoder_id: str
    review_count: int
    change_time: _timestamp_pb2.Timestamp
    bert_mean: _types_pb2.Vector
    seen_product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, encoder_id: _Optional[str] = ..., review_count: _Optional[int] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bert_mean: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., seen_product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ExportedAls(_message.Message):
    __slots__ = ("als_id", "origin", "als")
    ALS_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ALS_FIELD_NUMBER: _ClassVar[int]
    als_id: str
    origin: _types_pb2.AlsOrigin
    als: _types_pb2.Vector
    def __init__(self, als_id: _Optional[str] = ..., origin: _Optional[_Union[_types_pb2.AlsOrigin, str]] = ..., als: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ...) -> None: ...

class ExportedTombstone(_message.Message):
    __slots__ = ("review_id", "time")
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    review_id: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, review_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExportedReview(_message.Message):
    __slots__ = ("encoder_id", "review_id", "product_id", "rating", "review_time", "embedding")
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    REVIEW_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    REVIEW_TIME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    encoder_id: str
    review_id: str
    product_id: str
    rating: float
    review_time: _timestamp_pb2.Timestamp
    embedding: _types_pb2.Vector
    def __init__(self, encoder_id: _Optional[str] = ..., review_id: _Optional[str] = ..., product_id: _Optional[str] = ..., rating: _Optional[float] = ..., review_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., embedding: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ...) -> None: ...

class EncodeTextsRequest(_message.Message):
    __slots__ = ("texts",)
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...

class EncodeTextsResponse(_message.Message):
    __slots__ = ("embeddings", "encoder_id")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[TextEmbedding]
    encoder_id: str
    def __init__(self, embeddings: _Optional[_Iterable[_Union[TextEmbedding, _Mapping]]] = ..., encoder_id: _Optional[str] = ...) -> None: ...

class TextEmbedding(_message.Message):
    __slots__ = ("embedding", "truncated", "token_count")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    embedding: _types_pb2.Vector
    truncated: bool
    token_count: int
    def __init__(self, embedding: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., truncated: _Optional[bool] = ..., token_count: _Optional[int] = ...) -> None: ...

class GetPopularityRequest(_message.Message):
    __slots__ = ("als_id",)
    ALS_ID_FIELD_NUMBER: _ClassVar[int]
    als_id: str
    def __init__(self, als_id: _Optional[str] = ...) -> None: ...

class GetPopularityResponse(_message.Message):
    __slots__ = ("product_ids", "weights", "half_life", "as_of_time")
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    HALF_LIFE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    weights: _types_pb2.Vector
    half_life: _duration_pb2.Duration
    as_of_time: _timestamp_pb2.Timestamp
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ..., weights: _Optional[_Union[_types_pb2.Vector, _Mapping]] = ..., half_life: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
