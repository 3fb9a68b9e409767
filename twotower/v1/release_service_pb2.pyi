import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from twotower.v1 import access_pb2 as _access_pb2
from twotower.v1 import embedding_service_pb2 as _embedding_service_pb2
from twotower.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReleaseLabel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELEASE_LABEL_UNSPECIFIED: _ClassVar[ReleaseLabel]
    RELEASE_LABEL_STABLE: _ClassVar[ReleaseLabel]
    RELEASE_LABEL_CANARY: _ClassVar[ReleaseLabel]
    RELEASE_LABEL_SHADOW: _ClassVar[ReleaseLabel]
RELEASE_LABEL_UNSPECIFIED: ReleaseLabel
RELEASE_LABEL_STABLE: ReleaseLabel
RELEASE_LABEL_CANARY: ReleaseLabel
RELEASE_LABEL_SHADOW: ReleaseLabel

class ReleaseInfo(_message.Message):
    __slots__ = ("release_id", "preset", "create_time", "product_count", "space", "label", "canary_share", "shadow_comparison", "previous", "space_state", "space_loaded")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_COMPARISON_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    SPACE_STATE_FIELD_NUMBER: _ClassVar[int]
    SPACE_LOADED_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    preset: str
    create_time: _timestamp_pb2.Timestamp
    product_count: int
    space: _types_pb2.EmbeddingSpace
    label: ReleaseLabel
    canary_share: float
    shadow_comparison: ShadowComparison
    previous: bool
    space_state: _embedding_service_pb2.SpaceState
    space_loaded: bool
    def __init__(self, release_id: _Optional[str] = ..., preset: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., product_count: _Optional[int] = ..., space: _Optional[_Union[_types_pb2.EmbeddingSpace, _Mapping]] = ..., label: _Optional[_Union[ReleaseLabel, str]] = ..., canary_share: _Optional[float] = ..., shadow_comparison: _Optional[_Union[ShadowComparison, _Mapping]] = ..., previous: _Optional[bool] = ..., space_state: _Optional[_Union[_embedding_service_pb2.SpaceState, str]] = ..., space_loaded: _Optional[bool] = ...) -> None: ...

class ShadowComparison(_message.Message):
    __slots__ = ("user_count", "rank_overlap_at_10", "mean_score_difference")
    USER_COUNT_FIELD_NUMBER: _ClassVar[int]
    RANK_OVERLAP_AT_10_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    user_count: int
    rank_overlap_at_10: float
    mean_score_difference: float
    def __init__(self, user_count: _Optional[int] = ..., rank_overlap_at_10: _Optional[float] = ..., mean_score_difference: _Optional[float] = ...) -> None: ...

class ListReleasesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReleasesResponse(_message.Message):
    __slots__ = ("releases",)
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    releases: _containers.RepeatedCompositeFieldContainer[ReleaseInfo]
    def __init__(self, releases: _Optional[_Iterable[_Union[ReleaseInfo, _Mapping]]] = ...) -> None: ...

class LoadReleaseRequest(_message.Message):
    __slots__ = ("release_id",)
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    def __init__(self, release_id: _Optional[str] = ...) -> None: ...

class PrepareReleaseRequest(_message.Message):
    __slots__ = ("release_id",)
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    def __init__(self, release_id: _Optional[str] = ...) -> None: ...

class PrepareReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: ReleaseInfo
    def __init__(self, release: _Optional[_Union[ReleaseInfo, _Mapping]] = ...) -> None: ...

class LoadReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: ReleaseInfo
    def __init__(self, release: _Optional[_Union[ReleaseInfo, _Mapping]] = ...) -> None: ...

class SetLabelRequest(_message.Message):
    __slots__ = ("release_id", "label", "canary_share")
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    release_id: str
    label: ReleaseLabel
    canary_share: float
    def __init__(self, release_id: _Optional[str] = ..., label: _Optional[_Union[ReleaseLabel, str]] = ..., canary_share: _Optional[float] = ...) -> None: ...

class SetLabelResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: ReleaseInfo
    def __init__(self, release: _Optional[_Union[ReleaseInfo, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: ReleaseInfo
    def __init__(self, release: _Optional[_Union[ReleaseInfo, _Mapping]] = ...) -> None: ...
