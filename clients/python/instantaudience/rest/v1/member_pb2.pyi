from google.api import annotations_pb2 as _annotations_pb2
from instantaudience.rest.v1 import answers_pb2 as _answers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ShowMemberRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShowMemberResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: MemberResult
    def __init__(self, response: _Optional[_Union[MemberResult, _Mapping]] = ...) -> None: ...

class MemberResult(_message.Message):
    __slots__ = ("status", "member", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    member: MemberEntry
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., member: _Optional[_Union[MemberEntry, _Mapping]] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class MemberEntry(_message.Message):
    __slots__ = ("id", "name", "state", "default_expiration_minutes", "longest_expiration_minutes", "limits")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_EXPIRATION_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LONGEST_EXPIRATION_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    state: str
    default_expiration_minutes: int
    longest_expiration_minutes: int
    limits: MemberLimits
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., state: _Optional[str] = ..., default_expiration_minutes: _Optional[int] = ..., longest_expiration_minutes: _Optional[int] = ..., limits: _Optional[_Union[MemberLimits, _Mapping]] = ...) -> None: ...

class MemberLimits(_message.Message):
    __slots__ = ("posts_per_second", "gets_per_second", "users_per_second", "users_per_call", "segments_per_user", "body_bytes")
    POSTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    GETS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    USERS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    USERS_PER_CALL_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_PER_USER_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    posts_per_second: int
    gets_per_second: int
    users_per_second: int
    users_per_call: int
    segments_per_user: int
    body_bytes: int
    def __init__(self, posts_per_second: _Optional[int] = ..., gets_per_second: _Optional[int] = ..., users_per_second: _Optional[int] = ..., users_per_call: _Optional[int] = ..., segments_per_user: _Optional[int] = ..., body_bytes: _Optional[int] = ...) -> None: ...
