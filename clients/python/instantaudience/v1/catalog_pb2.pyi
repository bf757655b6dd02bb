import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_PRIMARY: _ClassVar[Durability]
    DURABILITY_REPLICA: _ClassVar[Durability]
    DURABILITY_DISK: _ClassVar[Durability]

class BatchField(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BATCH_FIELD_UNSPECIFIED: _ClassVar[BatchField]
    BATCH_FIELD_SEG_ID: _ClassVar[BatchField]
    BATCH_FIELD_SEG_CODE: _ClassVar[BatchField]
    BATCH_FIELD_MEMBER_ID: _ClassVar[BatchField]
    BATCH_FIELD_EXPIRATION: _ClassVar[BatchField]
    BATCH_FIELD_TIMESTAMP: _ClassVar[BatchField]
    BATCH_FIELD_VALUE: _ClassVar[BatchField]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_MEMBER: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]

class SegmentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEGMENT_STATE_UNSPECIFIED: _ClassVar[SegmentState]
    SEGMENT_STATE_ACTIVE: _ClassVar[SegmentState]
    SEGMENT_STATE_INACTIVE: _ClassVar[SegmentState]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_PRIMARY: Durability
DURABILITY_REPLICA: Durability
DURABILITY_DISK: Durability
BATCH_FIELD_UNSPECIFIED: BatchField
BATCH_FIELD_SEG_ID: BatchField
BATCH_FIELD_SEG_CODE: BatchField
BATCH_FIELD_MEMBER_ID: BatchField
BATCH_FIELD_EXPIRATION: BatchField
BATCH_FIELD_TIMESTAMP: BatchField
BATCH_FIELD_VALUE: BatchField
ROLE_UNSPECIFIED: Role
ROLE_MEMBER: Role
ROLE_ADMIN: Role
SEGMENT_STATE_UNSPECIFIED: SegmentState
SEGMENT_STATE_ACTIVE: SegmentState
SEGMENT_STATE_INACTIVE: SegmentState

class Member(_message.Message):
    __slots__ = ("id", "name", "default_expiration", "segment_access", "use_external_uids", "external_member_uid", "limits", "etag", "longest_expiration_minutes", "batch", "durability")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_ACCESS_FIELD_NUMBER: _ClassVar[int]
    USE_EXTERNAL_UIDS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_MEMBER_UID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    LONGEST_EXPIRATION_MINUTES_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    default_expiration: int
    segment_access: _containers.RepeatedScalarFieldContainer[int]
    use_external_uids: bool
    external_member_uid: int
    limits: Limits
    etag: str
    longest_expiration_minutes: int
    batch: BatchSettings
    durability: Durability
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., default_expiration: _Optional[int] = ..., segment_access: _Optional[_Iterable[int]] = ..., use_external_uids: _Optional[bool] = ..., external_member_uid: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., etag: _Optional[str] = ..., longest_expiration_minutes: _Optional[int] = ..., batch: _Optional[_Union[BatchSettings, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ...) -> None: ...

class BatchSettings(_message.Message):
    __slots__ = ("user_separator", "segment_separator", "field_separator", "removal_separator", "domain_separator", "fields", "file_bytes", "segments_per_line", "waiting_jobs", "uploads_at_once", "upload_minutes", "bytes_per_hour", "bytes_per_day", "lines_per_hour", "lines_per_day", "num_invalid_before_error", "error_lines", "batch_job_as_list")
    USER_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    FIELD_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    REMOVAL_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_PER_LINE_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    UPLOADS_AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_MINUTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    LINES_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    LINES_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    NUM_INVALID_BEFORE_ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_LINES_FIELD_NUMBER: _ClassVar[int]
    BATCH_JOB_AS_LIST_FIELD_NUMBER: _ClassVar[int]
    user_separator: str
    segment_separator: str
    field_separator: str
    removal_separator: str
    domain_separator: str
    fields: _containers.RepeatedScalarFieldContainer[BatchField]
    file_bytes: int
    segments_per_line: int
    waiting_jobs: int
    uploads_at_once: int
    upload_minutes: int
    bytes_per_hour: int
    bytes_per_day: int
    lines_per_hour: int
    lines_per_day: int
    num_invalid_before_error: int
    error_lines: int
    batch_job_as_list: bool
    def __init__(self, user_separator: _Optional[str] = ..., segment_separator: _Optional[str] = ..., field_separator: _Optional[str] = ..., removal_separator: _Optional[str] = ..., domain_separator: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[BatchField, str]]] = ..., file_bytes: _Optional[int] = ..., segments_per_line: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., uploads_at_once: _Optional[int] = ..., upload_minutes: _Optional[int] = ..., bytes_per_hour: _Optional[int] = ..., bytes_per_day: _Optional[int] = ..., lines_per_hour: _Optional[int] = ..., lines_per_day: _Optional[int] = ..., num_invalid_before_error: _Optional[int] = ..., error_lines: _Optional[int] = ..., batch_job_as_list: _Optional[bool] = ...) -> None: ...

class Limits(_message.Message):
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

class User(_message.Message):
    __slots__ = ("id", "username", "member_id", "role", "deactivated", "token_generation", "etag", "public_keys", "certificate_names")
    ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DEACTIVATED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEYS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NAMES_FIELD_NUMBER: _ClassVar[int]
    id: int
    username: str
    member_id: int
    role: Role
    deactivated: bool
    token_generation: int
    etag: str
    public_keys: _containers.RepeatedCompositeFieldContainer[PublicKey]
    certificate_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., username: _Optional[str] = ..., member_id: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., deactivated: _Optional[bool] = ..., token_generation: _Optional[int] = ..., etag: _Optional[str] = ..., public_keys: _Optional[_Iterable[_Union[PublicKey, _Mapping]]] = ..., certificate_names: _Optional[_Iterable[str]] = ...) -> None: ...

class PublicKey(_message.Message):
    __slots__ = ("id", "name", "pem", "active", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PEM_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    pem: str
    active: bool
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., pem: _Optional[str] = ..., active: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("id", "member_id", "code", "short_name", "description", "state", "expire_minutes", "last_modified", "etag", "original_fields", "estimated_users")
    ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SHORT_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LAST_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_USERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    member_id: int
    code: str
    short_name: str
    description: str
    state: SegmentState
    expire_minutes: int
    last_modified: _timestamp_pb2.Timestamp
    etag: str
    original_fields: _struct_pb2.Struct
    estimated_users: int
    def __init__(self, id: _Optional[int] = ..., member_id: _Optional[int] = ..., code: _Optional[str] = ..., short_name: _Optional[str] = ..., description: _Optional[str] = ..., state: _Optional[_Union[SegmentState, str]] = ..., expire_minutes: _Optional[int] = ..., last_modified: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., original_fields: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., estimated_users: _Optional[int] = ...) -> None: ...

class CreateMemberRequest(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: Member
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ...) -> None: ...

class CreateMemberResponse(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: Member
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ...) -> None: ...

class GetMemberRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetMemberResponse(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: Member
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ...) -> None: ...

class ListMembersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMembersResponse(_message.Message):
    __slots__ = ("members", "next_page_token")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    next_page_token: str
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateMemberRequest(_message.Message):
    __slots__ = ("member", "update_mask")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    member: Member
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateMemberResponse(_message.Message):
    __slots__ = ("member",)
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    member: Member
    def __init__(self, member: _Optional[_Union[Member, _Mapping]] = ...) -> None: ...

class DeleteMemberRequest(_message.Message):
    __slots__ = ("id", "etag")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: int
    etag: str
    def __init__(self, id: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteMemberResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateUserRequest(_message.Message):
    __slots__ = ("user", "password")
    USER_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    user: User
    password: str
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., password: _Optional[str] = ...) -> None: ...

class CreateUserResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: User
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ...) -> None: ...

class GetUserRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetUserResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: User
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ...) -> None: ...

class ListUsersRequest(_message.Message):
    __slots__ = ("member_id", "page_size", "page_token")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    page_size: int
    page_token: str
    def __init__(self, member_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUsersResponse(_message.Message):
    __slots__ = ("users", "next_page_token")
    USERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    users: _containers.RepeatedCompositeFieldContainer[User]
    next_page_token: str
    def __init__(self, users: _Optional[_Iterable[_Union[User, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateUserRequest(_message.Message):
    __slots__ = ("user", "update_mask")
    USER_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    user: User
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateUserResponse(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: User
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ...) -> None: ...

class DeleteUserRequest(_message.Message):
    __slots__ = ("id", "etag")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: int
    etag: str
    def __init__(self, id: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteUserResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangePasswordRequest(_message.Message):
    __slots__ = ("id", "current_password", "new_password")
    ID_FIELD_NUMBER: _ClassVar[int]
    CURRENT_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    NEW_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    id: int
    current_password: str
    new_password: str
    def __init__(self, id: _Optional[int] = ..., current_password: _Optional[str] = ..., new_password: _Optional[str] = ...) -> None: ...

class ChangePasswordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeTokensRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class RevokeTokensResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddPublicKeyRequest(_message.Message):
    __slots__ = ("user_id", "name", "pem")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PEM_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    name: str
    pem: str
    def __init__(self, user_id: _Optional[int] = ..., name: _Optional[str] = ..., pem: _Optional[str] = ...) -> None: ...

class AddPublicKeyResponse(_message.Message):
    __slots__ = ("public_key",)
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: PublicKey
    def __init__(self, public_key: _Optional[_Union[PublicKey, _Mapping]] = ...) -> None: ...

class ListPublicKeysRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    def __init__(self, user_id: _Optional[int] = ...) -> None: ...

class ListPublicKeysResponse(_message.Message):
    __slots__ = ("public_keys",)
    PUBLIC_KEYS_FIELD_NUMBER: _ClassVar[int]
    public_keys: _containers.RepeatedCompositeFieldContainer[PublicKey]
    def __init__(self, public_keys: _Optional[_Iterable[_Union[PublicKey, _Mapping]]] = ...) -> None: ...

class UpdatePublicKeyRequest(_message.Message):
    __slots__ = ("user_id", "key_id", "active")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    user_id: int
    key_id: int
    active: bool
    def __init__(self, user_id: _Optional[int] = ..., key_id: _Optional[int] = ..., active: _Optional[bool] = ...) -> None: ...

class UpdatePublicKeyResponse(_message.Message):
    __slots__ = ("public_key",)
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: PublicKey
    def __init__(self, public_key: _Optional[_Union[PublicKey, _Mapping]] = ...) -> None: ...

class CreateSegmentRequest(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ...) -> None: ...

class CreateSegmentResponse(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ...) -> None: ...

class GetSegmentRequest(_message.Message):
    __slots__ = ("id", "code", "member_id", "with_estimated_users")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    WITH_ESTIMATED_USERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: str
    member_id: int
    with_estimated_users: bool
    def __init__(self, id: _Optional[int] = ..., code: _Optional[str] = ..., member_id: _Optional[int] = ..., with_estimated_users: _Optional[bool] = ...) -> None: ...

class GetSegmentResponse(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ...) -> None: ...

class ListSegmentsRequest(_message.Message):
    __slots__ = ("member_id", "search", "page_size", "page_token", "with_estimated_users")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_ESTIMATED_USERS_FIELD_NUMBER: _ClassVar[int]
    member_id: int
    search: str
    page_size: int
    page_token: str
    with_estimated_users: bool
    def __init__(self, member_id: _Optional[int] = ..., search: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_estimated_users: _Optional[bool] = ...) -> None: ...

class ListSegmentsResponse(_message.Message):
    __slots__ = ("segments", "next_page_token")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    next_page_token: str
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateSegmentRequest(_message.Message):
    __slots__ = ("segment", "update_mask")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateSegmentResponse(_message.Message):
    __slots__ = ("segment",)
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    segment: Segment
    def __init__(self, segment: _Optional[_Union[Segment, _Mapping]] = ...) -> None: ...

class DeleteSegmentRequest(_message.Message):
    __slots__ = ("id", "etag")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: int
    etag: str
    def __init__(self, id: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteSegmentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ImportCatalogRequest(_message.Message):
    __slots__ = ("members", "users", "segments")
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    users: _containers.RepeatedCompositeFieldContainer[ImportedUser]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., users: _Optional[_Iterable[_Union[ImportedUser, _Mapping]]] = ..., segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class ImportedUser(_message.Message):
    __slots__ = ("user", "password", "password_hash")
    USER_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_HASH_FIELD_NUMBER: _ClassVar[int]
    user: User
    password: str
    password_hash: str
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., password: _Optional[str] = ..., password_hash: _Optional[str] = ...) -> None: ...

class ImportCatalogResponse(_message.Message):
    __slots__ = ("created", "changed", "unchanged", "problems")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    created: int
    changed: int
    unchanged: int
    problems: _containers.RepeatedCompositeFieldContainer[ImportProblem]
    def __init__(self, created: _Optional[int] = ..., changed: _Optional[int] = ..., unchanged: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[ImportProblem, _Mapping]]] = ...) -> None: ...

class ImportProblem(_message.Message):
    __slots__ = ("path", "message")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    path: str
    message: str
    def __init__(self, path: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
