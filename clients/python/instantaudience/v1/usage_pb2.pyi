import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from instantaudience.v1 import audience_pb2 as _audience_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallFailure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_FAILURE_UNSPECIFIED: _ClassVar[CallFailure]
    CALL_FAILURE_SYNTAX: _ClassVar[CallFailure]
    CALL_FAILURE_INVALID: _ClassVar[CallFailure]
    CALL_FAILURE_NOAUTH: _ClassVar[CallFailure]
    CALL_FAILURE_UNAUTH: _ClassVar[CallFailure]
    CALL_FAILURE_NOT_FOUND: _ClassVar[CallFailure]
    CALL_FAILURE_METHOD: _ClassVar[CallFailure]
    CALL_FAILURE_TIMEOUT: _ClassVar[CallFailure]
    CALL_FAILURE_INTEGRITY: _ClassVar[CallFailure]
    CALL_FAILURE_LIMIT: _ClassVar[CallFailure]
    CALL_FAILURE_RATE_LIMIT: _ClassVar[CallFailure]
    CALL_FAILURE_UNAVAILABLE: _ClassVar[CallFailure]
    CALL_FAILURE_INTERNAL: _ClassVar[CallFailure]
CALL_FAILURE_UNSPECIFIED: CallFailure
CALL_FAILURE_SYNTAX: CallFailure
CALL_FAILURE_INVALID: CallFailure
CALL_FAILURE_NOAUTH: CallFailure
CALL_FAILURE_UNAUTH: CallFailure
CALL_FAILURE_NOT_FOUND: CallFailure
CALL_FAILURE_METHOD: CallFailure
CALL_FAILURE_TIMEOUT: CallFailure
CALL_FAILURE_INTEGRITY: CallFailure
CALL_FAILURE_LIMIT: CallFailure
CALL_FAILURE_RATE_LIMIT: CallFailure
CALL_FAILURE_UNAVAILABLE: CallFailure
CALL_FAILURE_INTERNAL: CallFailure

class GetProcessedRequest(_message.Message):
    __slots__ = ("member_id", "start", "end", "agg", "gzip")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    AGG_FIELD_NUMBER: _ClassVar[int]
    GZIP_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    start: str
    end: str
    agg: bool
    gzip: bool
    def __init__(self, member_id: _Optional[int] = ..., start: _Optional[str] = ..., end: _Optional[str] = ..., agg: _Optional[bool] = ..., gzip: _Optional[bool] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("member_id", "start", "end", "hours", "without_lines")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_LINES_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    hours: int
    without_lines: bool
    def __init__(self, member_id: _Optional[int] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hours: _Optional[int] = ..., without_lines: _Optional[bool] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("hours", "total")
    HOURS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    hours: _containers.RepeatedCompositeFieldContainer[UsageHour]
    total: UsageHour
    def __init__(self, hours: _Optional[_Iterable[_Union[UsageHour, _Mapping]]] = ..., total: _Optional[_Union[UsageHour, _Mapping]] = ...) -> None: ...

class UsageHour(_message.Message):
    __slots__ = ("hour", "member_id", "calls", "valid_users", "valid_adds", "valid_removes", "invalid_users", "invalid_segments", "unauth_segments", "inactive_segments", "other_errors", "match_rate", "error_lines", "segment_lines", "failed_calls", "skipped_parts")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    VALID_USERS_FIELD_NUMBER: _ClassVar[int]
    VALID_ADDS_FIELD_NUMBER: _ClassVar[int]
    VALID_REMOVES_FIELD_NUMBER: _ClassVar[int]
    INVALID_USERS_FIELD_NUMBER: _ClassVar[int]
    INVALID_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    UNAUTH_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    INACTIVE_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    OTHER_ERRORS_FIELD_NUMBER: _ClassVar[int]
    MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_LINES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_LINES_FIELD_NUMBER: _ClassVar[int]
    FAILED_CALLS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_PARTS_FIELD_NUMBER: _ClassVar[int]
    hour: _timestamp_pb2.Timestamp
    member_id: int
    calls: int
    valid_users: int
    valid_adds: int
    valid_removes: int
    invalid_users: int
    invalid_segments: int
    unauth_segments: int
    inactive_segments: int
    other_errors: int
    match_rate: float
    error_lines: _containers.RepeatedScalarFieldContainer[str]
    segment_lines: _containers.RepeatedScalarFieldContainer[str]
    failed_calls: _containers.RepeatedCompositeFieldContainer[FailedCalls]
    skipped_parts: _containers.RepeatedCompositeFieldContainer[SkippedParts]
    def __init__(self, hour: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., member_id: _Optional[int] = ..., calls: _Optional[int] = ..., valid_users: _Optional[int] = ..., valid_adds: _Optional[int] = ..., valid_removes: _Optional[int] = ..., invalid_users: _Optional[int] = ..., invalid_segments: _Optional[int] = ..., unauth_segments: _Optional[int] = ..., inactive_segments: _Optional[int] = ..., other_errors: _Optional[int] = ..., match_rate: _Optional[float] = ..., error_lines: _Optional[_Iterable[str]] = ..., segment_lines: _Optional[_Iterable[str]] = ..., failed_calls: _Optional[_Iterable[_Union[FailedCalls, _Mapping]]] = ..., skipped_parts: _Optional[_Iterable[_Union[SkippedParts, _Mapping]]] = ...) -> None: ...

class FailedCalls(_message.Message):
    __slots__ = ("failure", "calls")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    failure: CallFailure
    calls: int
    def __init__(self, failure: _Optional[_Union[CallFailure, str]] = ..., calls: _Optional[int] = ...) -> None: ...

class SkippedParts(_message.Message):
    __slots__ = ("code", "parts")
    CODE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    code: _audience_pb2.WarningCode
    parts: int
    def __init__(self, code: _Optional[_Union[_audience_pb2.WarningCode, str]] = ..., parts: _Optional[int] = ...) -> None: ...

class GetOverviewRequest(_message.Message):
    __slots__ = ("member_id",)
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    def __init__(self, member_id: _Optional[int] = ...) -> None: ...

class GetOverviewResponse(_message.Message):
    __slots__ = ("username", "is_admin", "member_id", "member_name", "posts", "users", "gets")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    IS_ADMIN_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    POSTS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    GETS_FIELD_NUMBER: _ClassVar[int]
    username: str
    is_admin: bool
    member_id: int
    member_name: str
    posts: QuotaUse
    users: QuotaUse
    gets: QuotaUse
    def __init__(self, username: _Optional[str] = ..., is_admin: _Optional[bool] = ..., member_id: _Optional[int] = ..., member_name: _Optional[str] = ..., posts: _Optional[_Union[QuotaUse, _Mapping]] = ..., users: _Optional[_Union[QuotaUse, _Mapping]] = ..., gets: _Optional[_Union[QuotaUse, _Mapping]] = ...) -> None: ...

class QuotaUse(_message.Message):
    __slots__ = ("used", "limit")
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    used: int
    limit: int
    def __init__(self, used: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...
