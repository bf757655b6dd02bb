from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from instantaudience.rest.v1 import answers_pb2 as _answers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentFields(_message.Message):
    __slots__ = ("code", "short_name", "description", "state", "expire_minutes")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_MINUTES_FIELD_NUMBER: _ClassVar[int]
    code: str
    short_name: str
    description: str
    state: str
    expire_minutes: int
    def __init__(self, code: _Optional[str] = ..., short_name: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[str] = ..., expire_minutes: _Optional[int] = ...) -> None: ...

class SegmentEntry(_message.Message):
    __slots__ = ("id", "code", "state", "short_name", "description", "member_id", "expire_minutes", "last_modified", "estimated_users")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LAST_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_USERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: str
    state: str
    short_name: str
    description: str
    member_id: int
    expire_minutes: int
    last_modified: str
    estimated_users: int
    def __init__(self, id: _Optional[int] = ..., code: _Optional[str] = ..., state: _Optional[str] = ..., short_name: _Optional[str] = ..., description: _Optional[str] = ..., member_id: _Optional[int] = ..., expire_minutes: _Optional[int] = ..., last_modified: _Optional[str] = ..., estimated_users: _Optional[int] = ...) -> None: ...

class SegmentResult(_message.Message):
    __slots__ = ("status", "id", "count", "start_element", "num_elements", "segment", "segments", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    id: int
    count: int
    start_element: int
    num_elements: int
    segment: SegmentEntry
    segments: _struct_pb2.ListValue
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., id: _Optional[int] = ..., count: _Optional[int] = ..., start_element: _Optional[int] = ..., num_elements: _Optional[int] = ..., segment: _Optional[_Union[SegmentEntry, _Mapping]] = ..., segments: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class AddSegmentRequest(_message.Message):
    __slots__ = ("member_id", "segment")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    segment: SegmentFields
    def __init__(self, member_id: _Optional[int] = ..., segment: _Optional[_Union[SegmentFields, _Mapping]] = ...) -> None: ...

class AddSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class FindSegmentsRequest(_message.Message):
    __slots__ = ("id", "code", "search", "member_id", "start_element", "num_elements")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    code: str
    search: str
    member_id: int
    start_element: int
    num_elements: int
    def __init__(self, id: _Optional[str] = ..., code: _Optional[str] = ..., search: _Optional[str] = ..., member_id: _Optional[int] = ..., start_element: _Optional[int] = ..., num_elements: _Optional[int] = ...) -> None: ...

class FindSegmentsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class ChangeSegmentRequest(_message.Message):
    __slots__ = ("id", "segment")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    segment: SegmentFields
    def __init__(self, id: _Optional[int] = ..., segment: _Optional[_Union[SegmentFields, _Mapping]] = ...) -> None: ...

class ChangeSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class RemoveSegmentRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class RemoveSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...
