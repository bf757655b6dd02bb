from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UserSegment(_message.Message):
    __slots__ = ("id", "name", "member_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    member_id: int
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., member_id: _Optional[int] = ...) -> None: ...

class GetUserSegmentsRequest(_message.Message):
    __slots__ = ("user_id", "domain", "member_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    domain: str
    member_id: int
    def __init__(self, user_id: _Optional[str] = ..., domain: _Optional[str] = ..., member_id: _Optional[int] = ...) -> None: ...

class GetUserSegmentsResponse(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[UserSegment]
    def __init__(self, segments: _Optional[_Iterable[_Union[UserSegment, _Mapping]]] = ...) -> None: ...

class ForgetUserRequest(_message.Message):
    __slots__ = ("user_id", "domain", "member_id", "suppress_minutes")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_MINUTES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    domain: str
    member_id: int
    suppress_minutes: int
    def __init__(self, user_id: _Optional[str] = ..., domain: _Optional[str] = ..., member_id: _Optional[int] = ..., suppress_minutes: _Optional[int] = ...) -> None: ...

class ForgetUserResponse(_message.Message):
    __slots__ = ("segments",)
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[UserSegment]
    def __init__(self, segments: _Optional[_Iterable[_Union[UserSegment, _Mapping]]] = ...) -> None: ...

class LiftSuppressionRequest(_message.Message):
    __slots__ = ("user_id", "domain", "member_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    domain: str
    member_id: int
    def __init__(self, user_id: _Optional[str] = ..., domain: _Optional[str] = ..., member_id: _Optional[int] = ...) -> None: ...

class LiftSuppressionResponse(_message.Message):
    __slots__ = ("lifted", "still_suppressed")
    LIFTED_FIELD_NUMBER: _ClassVar[int]
    STILL_SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    lifted: bool
    still_suppressed: bool
    def __init__(self, lifted: _Optional[bool] = ..., still_suppressed: _Optional[bool] = ...) -> None: ...
