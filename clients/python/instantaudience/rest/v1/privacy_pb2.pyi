from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AnswerConsumerRequest(_message.Message):
    __slots__ = ("request", "member_id")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    request: ConsumerRequest
    member_id: int
    def __init__(self, request: _Optional[_Union[ConsumerRequest, _Mapping]] = ..., member_id: _Optional[int] = ...) -> None: ...

class ConsumerRequest(_message.Message):
    __slots__ = ("identifier", "identifier_type", "request_type", "suppress_minutes", "member_id")
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TYPE_FIELD_NUMBER: _ClassVar[int]
    SUPPRESS_MINUTES_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    identifier: str
    identifier_type: str
    request_type: str
    suppress_minutes: int
    member_id: int
    def __init__(self, identifier: _Optional[str] = ..., identifier_type: _Optional[str] = ..., request_type: _Optional[str] = ..., suppress_minutes: _Optional[int] = ..., member_id: _Optional[int] = ...) -> None: ...

class AnswerConsumerResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: ConsumerResult
    def __init__(self, response: _Optional[_Union[ConsumerResult, _Mapping]] = ...) -> None: ...

class ConsumerResult(_message.Message):
    __slots__ = ("status", "segments", "lifted", "still_suppressed")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LIFTED_FIELD_NUMBER: _ClassVar[int]
    STILL_SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    status: str
    segments: _containers.RepeatedCompositeFieldContainer[ConsumerSegment]
    lifted: bool
    still_suppressed: bool
    def __init__(self, status: _Optional[str] = ..., segments: _Optional[_Iterable[_Union[ConsumerSegment, _Mapping]]] = ..., lifted: _Optional[bool] = ..., still_suppressed: _Optional[bool] = ...) -> None: ...

class ConsumerSegment(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...
