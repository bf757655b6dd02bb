import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchJobPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_JOB_PHASE_UNSPECIFIED: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_STARTING: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_UPLOADING: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_VALIDATING: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_PROCESSING: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_COMPLETED: _ClassVar[BatchJobPhase]
    BATCH_JOB_PHASE_ERROR: _ClassVar[BatchJobPhase]
BATCH_JOB_PHASE_UNSPECIFIED: BatchJobPhase
BATCH_JOB_PHASE_STARTING: BatchJobPhase
BATCH_JOB_PHASE_UPLOADING: BatchJobPhase
BATCH_JOB_PHASE_VALIDATING: BatchJobPhase
BATCH_JOB_PHASE_PROCESSING: BatchJobPhase
BATCH_JOB_PHASE_COMPLETED: BatchJobPhase
BATCH_JOB_PHASE_ERROR: BatchJobPhase

class BatchJob(_message.Message):
    __slots__ = ("job_id", "id", "member_id", "phase", "percent_complete", "error_code", "file_bytes", "created", "modified", "started", "uploaded", "validated", "completed", "counters", "error_lines", "segment_lines")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_FIELD_NUMBER: _ClassVar[int]
    VALIDATED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    ERROR_LINES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_LINES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    id: int
    member_id: int
    phase: BatchJobPhase
    percent_complete: int
    error_code: str
    file_bytes: int
    created: _timestamp_pb2.Timestamp
    modified: _timestamp_pb2.Timestamp
    started: _timestamp_pb2.Timestamp
    uploaded: _timestamp_pb2.Timestamp
    validated: _timestamp_pb2.Timestamp
    completed: _timestamp_pb2.Timestamp
    counters: BatchCounters
    error_lines: _containers.RepeatedScalarFieldContainer[str]
    segment_lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_id: _Optional[str] = ..., id: _Optional[int] = ..., member_id: _Optional[int] = ..., phase: _Optional[_Union[BatchJobPhase, str]] = ..., percent_complete: _Optional[int] = ..., error_code: _Optional[str] = ..., file_bytes: _Optional[int] = ..., created: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., modified: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., uploaded: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., validated: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counters: _Optional[_Union[BatchCounters, _Mapping]] = ..., error_lines: _Optional[_Iterable[str]] = ..., segment_lines: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchCounters(_message.Message):
    __slots__ = ("num_valid", "num_valid_user", "num_invalid_user", "num_invalid_format", "num_invalid_segment", "num_unauth_segment", "num_inactive_segment", "num_past_expiration", "num_invalid_timestamp", "num_other_error")
    NUM_VALID_FIELD_NUMBER: _ClassVar[int]
    NUM_VALID_USER_FIELD_NUMBER: _ClassVar[int]
    NUM_INVALID_USER_FIELD_NUMBER: _ClassVar[int]
    NUM_INVALID_FORMAT_FIELD_NUMBER: _ClassVar[int]
    NUM_INVALID_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_UNAUTH_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_INACTIVE_SEGMENT_FIELD_NUMBER: _ClassVar[int]
    NUM_PAST_EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    NUM_INVALID_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    NUM_OTHER_ERROR_FIELD_NUMBER: _ClassVar[int]
    num_valid: int
    num_valid_user: int
    num_invalid_user: int
    num_invalid_format: int
    num_invalid_segment: int
    num_unauth_segment: int
    num_inactive_segment: int
    num_past_expiration: int
    num_invalid_timestamp: int
    num_other_error: int
    def __init__(self, num_valid: _Optional[int] = ..., num_valid_user: _Optional[int] = ..., num_invalid_user: _Optional[int] = ..., num_invalid_format: _Optional[int] = ..., num_invalid_segment: _Optional[int] = ..., num_unauth_segment: _Optional[int] = ..., num_inactive_segment: _Optional[int] = ..., num_past_expiration: _Optional[int] = ..., num_invalid_timestamp: _Optional[int] = ..., num_other_error: _Optional[int] = ...) -> None: ...

class CreateBatchJobRequest(_message.Message):
    __slots__ = ("member_id",)
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    def __init__(self, member_id: _Optional[int] = ...) -> None: ...

class CreateBatchJobResponse(_message.Message):
    __slots__ = ("job", "upload_path")
    JOB_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_PATH_FIELD_NUMBER: _ClassVar[int]
    job: BatchJob
    upload_path: str
    def __init__(self, job: _Optional[_Union[BatchJob, _Mapping]] = ..., upload_path: _Optional[str] = ...) -> None: ...

class UploadBatchFileRequest(_message.Message):
    __slots__ = ("member_id", "data")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    data: bytes
    def __init__(self, member_id: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadBatchFileResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: BatchJob
    def __init__(self, job: _Optional[_Union[BatchJob, _Mapping]] = ...) -> None: ...

class GetBatchJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetBatchJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: BatchJob
    def __init__(self, job: _Optional[_Union[BatchJob, _Mapping]] = ...) -> None: ...

class ListBatchJobsRequest(_message.Message):
    __slots__ = ("member_id", "page_size", "page_token")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    page_size: int
    page_token: str
    def __init__(self, member_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBatchJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token", "total")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[BatchJob]
    next_page_token: str
    total: int
    def __init__(self, jobs: _Optional[_Iterable[_Union[BatchJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class CancelBatchJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelBatchJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: BatchJob
    def __init__(self, job: _Optional[_Union[BatchJob, _Mapping]] = ...) -> None: ...

class GetBatchUsageRequest(_message.Message):
    __slots__ = ("member_id", "start", "end")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    def __init__(self, member_id: _Optional[int] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BatchUsageHour(_message.Message):
    __slots__ = ("hour", "completed_jobs", "failed_jobs", "file_bytes", "counters")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_JOBS_FIELD_NUMBER: _ClassVar[int]
    FAILED_JOBS_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    hour: _timestamp_pb2.Timestamp
    completed_jobs: int
    failed_jobs: int
    file_bytes: int
    counters: BatchCounters
    def __init__(self, hour: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_jobs: _Optional[int] = ..., failed_jobs: _Optional[int] = ..., file_bytes: _Optional[int] = ..., counters: _Optional[_Union[BatchCounters, _Mapping]] = ...) -> None: ...

class GetBatchUsageResponse(_message.Message):
    __slots__ = ("hours", "total")
    HOURS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    hours: _containers.RepeatedCompositeFieldContainer[BatchUsageHour]
    total: BatchUsageHour
    def __init__(self, hours: _Optional[_Iterable[_Union[BatchUsageHour, _Mapping]]] = ..., total: _Optional[_Union[BatchUsageHour, _Mapping]] = ...) -> None: ...
