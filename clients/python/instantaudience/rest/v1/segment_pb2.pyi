from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from instantaudience.rest.v1 import answers_pb2 as _answers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentFields(_message.Message):
    __slots__ = ("id", "member_id", "code", "short_name", "description", "state", "expire_minutes", "advertiser_id", "category", "provider_id", "price", "piggyback_pixels", "querystring_mapping", "querystring_mapping_key_value", "enable_rm_piggyback", "max_usersync_pixels", "object_type")
    ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_MINUTES_FIELD_NUMBER: _ClassVar[int]
    ADVERTISER_ID_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    PIGGYBACK_PIXELS_FIELD_NUMBER: _ClassVar[int]
    QUERYSTRING_MAPPING_FIELD_NUMBER: _ClassVar[int]
    QUERYSTRING_MAPPING_KEY_VALUE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_RM_PIGGYBACK_FIELD_NUMBER: _ClassVar[int]
    MAX_USERSYNC_PIXELS_FIELD_NUMBER: _ClassVar[int]
    OBJECT_TYPE_FIELD_NUMBER: _ClassVar[int]
    id: int
    member_id: int
    code: _struct_pb2.Value
    short_name: str
    description: _struct_pb2.Value
    state: str
    expire_minutes: _struct_pb2.Value
    advertiser_id: _struct_pb2.Value
    category: _struct_pb2.Value
    provider_id: _struct_pb2.Value
    price: _struct_pb2.Value
    piggyback_pixels: _struct_pb2.Value
    querystring_mapping: _struct_pb2.Value
    querystring_mapping_key_value: _struct_pb2.Value
    enable_rm_piggyback: _struct_pb2.Value
    max_usersync_pixels: _struct_pb2.Value
    object_type: _struct_pb2.Value
    def __init__(self, id: _Optional[int] = ..., member_id: _Optional[int] = ..., code: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., short_name: _Optional[str] = ..., description: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., state: _Optional[str] = ..., expire_minutes: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., advertiser_id: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., category: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., provider_id: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., price: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., piggyback_pixels: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., querystring_mapping: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., querystring_mapping_key_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., enable_rm_piggyback: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., max_usersync_pixels: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., object_type: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class SegmentResult(_message.Message):
    __slots__ = ("status", "id", "count", "start_element", "num_elements", "segment", "segments", "ids", "failures", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    id: int
    count: int
    start_element: int
    num_elements: int
    segment: _struct_pb2.Struct
    segments: _struct_pb2.ListValue
    ids: _struct_pb2.ListValue
    failures: _struct_pb2.ListValue
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., id: _Optional[int] = ..., count: _Optional[int] = ..., start_element: _Optional[int] = ..., num_elements: _Optional[int] = ..., segment: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., segments: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., ids: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., failures: _Optional[_Union[_struct_pb2.ListValue, _Mapping]] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class AddSegmentRequest(_message.Message):
    __slots__ = ("member_id", "segment", "segments")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    segment: SegmentFields
    segments: _containers.RepeatedCompositeFieldContainer[SegmentFields]
    def __init__(self, member_id: _Optional[int] = ..., segment: _Optional[_Union[SegmentFields, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[SegmentFields, _Mapping]]] = ...) -> None: ...

class AddSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class FindSegmentsRequest(_message.Message):
    __slots__ = ("id", "code", "search", "member_id", "start_element", "num_elements", "state", "min_last_modified", "sort", "fields", "active")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MIN_LAST_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    id: str
    code: str
    search: str
    member_id: int
    start_element: int
    num_elements: int
    state: str
    min_last_modified: str
    sort: str
    fields: str
    active: bool
    def __init__(self, id: _Optional[str] = ..., code: _Optional[str] = ..., search: _Optional[str] = ..., member_id: _Optional[int] = ..., start_element: _Optional[int] = ..., num_elements: _Optional[int] = ..., state: _Optional[str] = ..., min_last_modified: _Optional[str] = ..., sort: _Optional[str] = ..., fields: _Optional[str] = ..., active: _Optional[bool] = ...) -> None: ...

class FindSegmentsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class ChangeSegmentRequest(_message.Message):
    __slots__ = ("id", "code", "member_id", "segment", "segments")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: str
    member_id: int
    segment: SegmentFields
    segments: _containers.RepeatedCompositeFieldContainer[SegmentFields]
    def __init__(self, id: _Optional[int] = ..., code: _Optional[str] = ..., member_id: _Optional[int] = ..., segment: _Optional[_Union[SegmentFields, _Mapping]] = ..., segments: _Optional[_Iterable[_Union[SegmentFields, _Mapping]]] = ...) -> None: ...

class ChangeSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class RemoveSegmentRequest(_message.Message):
    __slots__ = ("id", "code", "member_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: str
    member_id: int
    def __init__(self, id: _Optional[int] = ..., code: _Optional[str] = ..., member_id: _Optional[int] = ...) -> None: ...

class RemoveSegmentResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: SegmentResult
    def __init__(self, response: _Optional[_Union[SegmentResult, _Mapping]] = ...) -> None: ...

class DescribeSegmentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeSegmentsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: _answers_pb2.Meta
    def __init__(self, response: _Optional[_Union[_answers_pb2.Meta, _Mapping]] = ...) -> None: ...
