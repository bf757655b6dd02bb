from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from instantaudience.rest.v1 import answers_pb2 as _answers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobResult(_message.Message):
    __slots__ = ("status", "id", "batch_segment_upload_job", "start_element", "count", "num_elements", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEGMENT_UPLOAD_JOB_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    id: int
    batch_segment_upload_job: _struct_pb2.Value
    start_element: int
    count: int
    num_elements: int
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., id: _Optional[int] = ..., batch_segment_upload_job: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., start_element: _Optional[int] = ..., count: _Optional[int] = ..., num_elements: _Optional[int] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class AddJobRequest(_message.Message):
    __slots__ = ("member_id", "origin")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    origin: str
    def __init__(self, member_id: _Optional[int] = ..., origin: _Optional[str] = ...) -> None: ...

class AddJobResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: JobResult
    def __init__(self, response: _Optional[_Union[JobResult, _Mapping]] = ...) -> None: ...

class FindJobsRequest(_message.Message):
    __slots__ = ("member_id", "job_id", "start_element", "num_elements", "sort")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    START_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    SORT_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    job_id: str
    start_element: int
    num_elements: int
    sort: str
    def __init__(self, member_id: _Optional[int] = ..., job_id: _Optional[str] = ..., start_element: _Optional[int] = ..., num_elements: _Optional[int] = ..., sort: _Optional[str] = ...) -> None: ...

class FindJobsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: JobResult
    def __init__(self, response: _Optional[_Union[JobResult, _Mapping]] = ...) -> None: ...

class DescribeJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeJobsResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: _answers_pb2.Meta
    def __init__(self, response: _Optional[_Union[_answers_pb2.Meta, _Mapping]] = ...) -> None: ...

class BatchConfig(_message.Message):
    __slots__ = ("member_id", "separator_1", "separator_2", "separator_3", "separator_4", "separator_5", "segment_fields")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_1_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_2_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_3_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_4_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_5_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELDS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    separator_1: str
    separator_2: str
    separator_3: str
    separator_4: str
    separator_5: str
    segment_fields: str
    def __init__(self, member_id: _Optional[int] = ..., separator_1: _Optional[str] = ..., separator_2: _Optional[str] = ..., separator_3: _Optional[str] = ..., separator_4: _Optional[str] = ..., separator_5: _Optional[str] = ..., segment_fields: _Optional[str] = ...) -> None: ...

class FindConfigRequest(_message.Message):
    __slots__ = ("member_id",)
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    def __init__(self, member_id: _Optional[int] = ...) -> None: ...

class ConfigResult(_message.Message):
    __slots__ = ("status", "batch_segment_config", "dbg_info")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEGMENT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    DBG_INFO_FIELD_NUMBER: _ClassVar[int]
    status: str
    batch_segment_config: BatchConfig
    dbg_info: _answers_pb2.DebugInfo
    def __init__(self, status: _Optional[str] = ..., batch_segment_config: _Optional[_Union[BatchConfig, _Mapping]] = ..., dbg_info: _Optional[_Union[_answers_pb2.DebugInfo, _Mapping]] = ...) -> None: ...

class FindConfigResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: ConfigResult
    def __init__(self, response: _Optional[_Union[ConfigResult, _Mapping]] = ...) -> None: ...

class ChangeConfigRequest(_message.Message):
    __slots__ = ("member_id", "batch_segment_config")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_SEGMENT_CONFIG_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    batch_segment_config: BatchConfig
    def __init__(self, member_id: _Optional[int] = ..., batch_segment_config: _Optional[_Union[BatchConfig, _Mapping]] = ...) -> None: ...

class ChangeConfigResponse(_message.Message):
    __slots__ = ("response",)
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    response: ConfigResult
    def __init__(self, response: _Optional[_Union[ConfigResult, _Mapping]] = ...) -> None: ...
