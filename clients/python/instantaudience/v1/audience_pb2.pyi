from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import visibility_pb2 as _visibility_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WarningEntities(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_ENTITIES_UNSPECIFIED: _ClassVar[WarningEntities]
    WARNING_ENTITIES_NONE: _ClassVar[WarningEntities]

class WarningCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_CODE_UNSPECIFIED: _ClassVar[WarningCode]
    WARNING_CODE_TOO_MANY_USERS: _ClassVar[WarningCode]
    WARNING_CODE_USER_ID_REQUIRED: _ClassVar[WarningCode]
    WARNING_CODE_SEG_BLOCK_REQUIRED: _ClassVar[WarningCode]
    WARNING_CODE_INVALID_DOMAIN: _ClassVar[WarningCode]
    WARNING_CODE_INVALID_USER_ID: _ClassVar[WarningCode]
    WARNING_CODE_NO_VALID_SEGMENTS: _ClassVar[WarningCode]
    WARNING_CODE_SEGMENT_REQUIRED: _ClassVar[WarningCode]
    WARNING_CODE_SEGMENT_AMBIGUOUS: _ClassVar[WarningCode]
    WARNING_CODE_INVALID_EXPIRATION: _ClassVar[WarningCode]
    WARNING_CODE_TOO_MANY_SEGMENTS: _ClassVar[WarningCode]
    WARNING_CODE_NO_VALID_USERS: _ClassVar[WarningCode]
    WARNING_CODE_UNKNOWN_SEGMENT: _ClassVar[WarningCode]
    WARNING_CODE_UNAUTHORIZED_SEGMENT: _ClassVar[WarningCode]
    WARNING_CODE_INACTIVE_SEGMENT: _ClassVar[WarningCode]
    WARNING_CODE_UNKNOWN_USER_ID: _ClassVar[WarningCode]
    WARNING_CODE_LEFT_OUT: _ClassVar[WarningCode]
    WARNING_CODE_SUPPRESSED_USER_ID: _ClassVar[WarningCode]
WARNING_ENTITIES_UNSPECIFIED: WarningEntities
WARNING_ENTITIES_NONE: WarningEntities
WARNING_CODE_UNSPECIFIED: WarningCode
WARNING_CODE_TOO_MANY_USERS: WarningCode
WARNING_CODE_USER_ID_REQUIRED: WarningCode
WARNING_CODE_SEG_BLOCK_REQUIRED: WarningCode
WARNING_CODE_INVALID_DOMAIN: WarningCode
WARNING_CODE_INVALID_USER_ID: WarningCode
WARNING_CODE_NO_VALID_SEGMENTS: WarningCode
WARNING_CODE_SEGMENT_REQUIRED: WarningCode
WARNING_CODE_SEGMENT_AMBIGUOUS: WarningCode
WARNING_CODE_INVALID_EXPIRATION: WarningCode
WARNING_CODE_TOO_MANY_SEGMENTS: WarningCode
WARNING_CODE_NO_VALID_USERS: WarningCode
WARNING_CODE_UNKNOWN_SEGMENT: WarningCode
WARNING_CODE_UNAUTHORIZED_SEGMENT: WarningCode
WARNING_CODE_INACTIVE_SEGMENT: WarningCode
WARNING_CODE_UNKNOWN_USER_ID: WarningCode
WARNING_CODE_LEFT_OUT: WarningCode
WARNING_CODE_SUPPRESSED_USER_ID: WarningCode

class SegBlock(_message.Message):
    __slots__ = ("seg_id", "seg_code", "value", "expiration", "member_id")
    SEG_ID_FIELD_NUMBER: _ClassVar[int]
    SEG_CODE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    seg_id: int
    seg_code: str
    value: int
    expiration: int
    member_id: int
    def __init__(self, seg_id: _Optional[int] = ..., seg_code: _Optional[str] = ..., value: _Optional[int] = ..., expiration: _Optional[int] = ..., member_id: _Optional[int] = ...) -> None: ...

class RtSegment(_message.Message):
    __slots__ = ("user_id", "seg_block", "domain")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEG_BLOCK_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    seg_block: _containers.RepeatedCompositeFieldContainer[SegBlock]
    domain: str
    def __init__(self, user_id: _Optional[str] = ..., seg_block: _Optional[_Iterable[_Union[SegBlock, _Mapping]]] = ..., domain: _Optional[str] = ...) -> None: ...

class ApplySegmentsRequest(_message.Message):
    __slots__ = ("rt_segment", "validate_only", "detail", "warning_entities")
    RT_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    WARNING_ENTITIES_FIELD_NUMBER: _ClassVar[int]
    rt_segment: _containers.RepeatedCompositeFieldContainer[RtSegment]
    validate_only: bool
    detail: bool
    warning_entities: WarningEntities
    def __init__(self, rt_segment: _Optional[_Iterable[_Union[RtSegment, _Mapping]]] = ..., validate_only: _Optional[bool] = ..., detail: _Optional[bool] = ..., warning_entities: _Optional[_Union[WarningEntities, str]] = ...) -> None: ...

class ApplySegmentsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: ApplySegmentsResult
    def __init__(self, response: _Optional[_Union[ApplySegmentsResult, _Mapping]] = ...) -> None: ...

class ApplySegmentsResult(_message.Message):
    __slots__ = ("status", "message", "warnings")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    status: str
    message: RequestCounts
    warnings: _containers.RepeatedCompositeFieldContainer[ApplyWarning]
    def __init__(self, status: _Optional[str] = ..., message: _Optional[_Union[RequestCounts, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[ApplyWarning, _Mapping]]] = ...) -> None: ...

class RequestCounts(_message.Message):
    __slots__ = ("users_in_request", "segments_in_request")
    USERS_IN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_IN_REQUEST_FIELD_NUMBER: _ClassVar[int]
    users_in_request: int
    segments_in_request: int
    def __init__(self, users_in_request: _Optional[int] = ..., segments_in_request: _Optional[int] = ...) -> None: ...

class ApplyWarning(_message.Message):
    __slots__ = ("message", "entity", "code", "path")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    message: str
    entity: _struct_pb2.Struct
    code: WarningCode
    path: str
    def __init__(self, message: _Optional[str] = ..., entity: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., code: _Optional[_Union[WarningCode, str]] = ..., path: _Optional[str] = ...) -> None: ...

class StreamSegmentsRequest(_message.Message):
    __slots__ = ("rt_segment", "validate_only", "detail", "warning_entities")
    RT_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    WARNING_ENTITIES_FIELD_NUMBER: _ClassVar[int]
    rt_segment: _containers.RepeatedCompositeFieldContainer[RtSegment]
    validate_only: bool
    detail: bool
    warning_entities: WarningEntities
    def __init__(self, rt_segment: _Optional[_Iterable[_Union[RtSegment, _Mapping]]] = ..., validate_only: _Optional[bool] = ..., detail: _Optional[bool] = ..., warning_entities: _Optional[_Union[WarningEntities, str]] = ...) -> None: ...

class StreamSegmentsResponse(_message.Message):
    __slots__ = ("response", "error", "request_id")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    response: ApplySegmentsResult
    error: _status_pb2.Status
    request_id: str
    def __init__(self, response: _Optional[_Union[ApplySegmentsResult, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetMembershipsRequest(_message.Message):
    __slots__ = ("user_id", "domain")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    domain: str
    def __init__(self, user_id: _Optional[str] = ..., domain: _Optional[str] = ...) -> None: ...

class GetMembershipsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: GetMembershipsResult
    def __init__(self, response: _Optional[_Union[GetMembershipsResult, _Mapping]] = ...) -> None: ...

class GetMembershipsResult(_message.Message):
    __slots__ = ("status", "rt_segment")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RT_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    status: str
    rt_segment: _containers.RepeatedCompositeFieldContainer[UserMemberships]
    def __init__(self, status: _Optional[str] = ..., rt_segment: _Optional[_Iterable[_Union[UserMemberships, _Mapping]]] = ...) -> None: ...

class UserMemberships(_message.Message):
    __slots__ = ("user_id", "domain", "seg_block")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SEG_BLOCK_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    domain: str
    seg_block: _containers.RepeatedCompositeFieldContainer[Membership]
    def __init__(self, user_id: _Optional[str] = ..., domain: _Optional[str] = ..., seg_block: _Optional[_Iterable[_Union[Membership, _Mapping]]] = ...) -> None: ...

class Membership(_message.Message):
    __slots__ = ("seg_id", "seg_code", "member_id", "value", "expiration")
    SEG_ID_FIELD_NUMBER: _ClassVar[int]
    SEG_CODE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    seg_id: int
    seg_code: str
    member_id: int
    value: int
    expiration: int
    def __init__(self, seg_id: _Optional[int] = ..., seg_code: _Optional[str] = ..., member_id: _Optional[int] = ..., value: _Optional[int] = ..., expiration: _Optional[int] = ...) -> None: ...

class BatchGetMembershipsRequest(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[GetMembershipsRequest]
    def __init__(self, users: _Optional[_Iterable[_Union[GetMembershipsRequest, _Mapping]]] = ...) -> None: ...

class BatchGetMembershipsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: GetMembershipsResult
    def __init__(self, response: _Optional[_Union[GetMembershipsResult, _Mapping]] = ...) -> None: ...
