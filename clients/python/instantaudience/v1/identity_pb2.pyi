import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserMapping(_message.Message):
    __slots__ = ("member_id", "user_id", "external_ids")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    user_id: str
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, member_id: _Optional[int] = ..., user_id: _Optional[str] = ..., external_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class MapUserRequest(_message.Message):
    __slots__ = ("mapuid",)
    MAPUID_FIELD_NUMBER: _ClassVar[int]
    mapuid: UserMapping
    def __init__(self, mapuid: _Optional[_Union[UserMapping, _Mapping]] = ...) -> None: ...

class MapUserResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: MappingResult
    def __init__(self, response: _Optional[_Union[MappingResult, _Mapping]] = ...) -> None: ...

class MappingResult(_message.Message):
    __slots__ = ("status", "count")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    status: str
    count: int
    def __init__(self, status: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ResolveUserRequest(_message.Message):
    __slots__ = ("member_id", "external_ids")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, member_id: _Optional[int] = ..., external_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ResolveUserResponse(_message.Message):
    __slots__ = ("users",)
    USERS_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[ResolvedUser]
    def __init__(self, users: _Optional[_Iterable[_Union[ResolvedUser, _Mapping]]] = ...) -> None: ...

class ResolvedUser(_message.Message):
    __slots__ = ("external_id", "user_id", "end")
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    external_id: str
    user_id: str
    end: _timestamp_pb2.Timestamp
    def __init__(self, external_id: _Optional[str] = ..., user_id: _Optional[str] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UnmapUserRequest(_message.Message):
    __slots__ = ("member_id", "external_ids")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, member_id: _Optional[int] = ..., external_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class UnmapUserResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: MappingResult
    def __init__(self, response: _Optional[_Union[MappingResult, _Mapping]] = ...) -> None: ...
