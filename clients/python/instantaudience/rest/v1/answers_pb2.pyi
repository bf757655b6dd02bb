from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DebugInfo(_message.Message):
    __slots__ = ("output_term",)
    OUTPUT_TERM_FIELD_NUMBER: _ClassVar[int]
    output_term: str
    def __init__(self, output_term: _Optional[str] = ...) -> None: ...

class Meta(_message.Message):
    __slots__ = ("status", "fields", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    fields: _containers.RepeatedCompositeFieldContainer[MetaField]
    dbg_info: DebugInfo
    def __init__(self, status: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[MetaField, _Mapping]]] = ..., dbg_info: _Optional[_Union[DebugInfo, _Mapping]] = ...) -> None: ...

class MetaField(_message.Message):
    __slots__ = ("name", "type", "sort_by", "filter_by", "read_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SORT_BY_FIELD_NUMBER: _ClassVar[int]
    FILTER_BY_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    sort_by: bool
    filter_by: bool
    read_only: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., sort_by: _Optional[bool] = ..., filter_by: _Optional[bool] = ..., read_only: _Optional[bool] = ...) -> None: ...
