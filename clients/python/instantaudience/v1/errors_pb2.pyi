from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_SYNTAX: _ClassVar[ErrorReason]
    ERROR_REASON_NOAUTH: _ClassVar[ErrorReason]
    ERROR_REASON_NOAUTH_DISABLED: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTH: _ClassVar[ErrorReason]
    ERROR_REASON_INTEGRITY: _ClassVar[ErrorReason]
    ERROR_REASON_LIMIT: _ClassVar[ErrorReason]
    ERROR_REASON_RATE_LIMIT_EXCEEDED: _ClassVar[ErrorReason]
    ERROR_REASON_SYSTEM: _ClassVar[ErrorReason]

class ErrorCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CAUSE_UNSPECIFIED: _ClassVar[ErrorCause]
    ERROR_CAUSE_UNREADABLE_REQUEST: _ClassVar[ErrorCause]
    ERROR_CAUSE_INVALID_REQUEST: _ClassVar[ErrorCause]
    ERROR_CAUSE_UNKNOWN_OBJECT: _ClassVar[ErrorCause]
    ERROR_CAUSE_UNKNOWN_METHOD: _ClassVar[ErrorCause]
    ERROR_CAUSE_TOKEN_MISSING: _ClassVar[ErrorCause]
    ERROR_CAUSE_TOKEN_ENDED: _ClassVar[ErrorCause]
    ERROR_CAUSE_WRONG_CREDENTIALS: _ClassVar[ErrorCause]
    ERROR_CAUSE_USER_DEACTIVATED: _ClassVar[ErrorCause]
    ERROR_CAUSE_NOT_PERMITTED: _ClassVar[ErrorCause]
    ERROR_CAUSE_TAKEN: _ClassVar[ErrorCause]
    ERROR_CAUSE_CHANGED_MEANWHILE: _ClassVar[ErrorCause]
    ERROR_CAUSE_IN_USE: _ClassVar[ErrorCause]
    ERROR_CAUSE_TOO_LARGE: _ClassVar[ErrorCause]
    ERROR_CAUSE_TOO_MANY: _ClassVar[ErrorCause]
    ERROR_CAUSE_UNREACHABLE: _ClassVar[ErrorCause]
    ERROR_CAUSE_OVERLOADED: _ClassVar[ErrorCause]
    ERROR_CAUSE_DEFECT: _ClassVar[ErrorCause]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_SYNTAX: ErrorReason
ERROR_REASON_NOAUTH: ErrorReason
ERROR_REASON_NOAUTH_DISABLED: ErrorReason
ERROR_REASON_UNAUTH: ErrorReason
ERROR_REASON_INTEGRITY: ErrorReason
ERROR_REASON_LIMIT: ErrorReason
ERROR_REASON_RATE_LIMIT_EXCEEDED: ErrorReason
ERROR_REASON_SYSTEM: ErrorReason
ERROR_CAUSE_UNSPECIFIED: ErrorCause
ERROR_CAUSE_UNREADABLE_REQUEST: ErrorCause
ERROR_CAUSE_INVALID_REQUEST: ErrorCause
ERROR_CAUSE_UNKNOWN_OBJECT: ErrorCause
ERROR_CAUSE_UNKNOWN_METHOD: ErrorCause
ERROR_CAUSE_TOKEN_MISSING: ErrorCause
ERROR_CAUSE_TOKEN_ENDED: ErrorCause
ERROR_CAUSE_WRONG_CREDENTIALS: ErrorCause
ERROR_CAUSE_USER_DEACTIVATED: ErrorCause
ERROR_CAUSE_NOT_PERMITTED: ErrorCause
ERROR_CAUSE_TAKEN: ErrorCause
ERROR_CAUSE_CHANGED_MEANWHILE: ErrorCause
ERROR_CAUSE_IN_USE: ErrorCause
ERROR_CAUSE_TOO_LARGE: ErrorCause
ERROR_CAUSE_TOO_MANY: ErrorCause
ERROR_CAUSE_UNREACHABLE: ErrorCause
ERROR_CAUSE_OVERLOADED: ErrorCause
ERROR_CAUSE_DEFECT: ErrorCause
