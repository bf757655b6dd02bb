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
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_SYNTAX: ErrorReason
ERROR_REASON_NOAUTH: ErrorReason
ERROR_REASON_NOAUTH_DISABLED: ErrorReason
ERROR_REASON_UNAUTH: ErrorReason
ERROR_REASON_INTEGRITY: ErrorReason
ERROR_REASON_LIMIT: ErrorReason
ERROR_REASON_RATE_LIMIT_EXCEEDED: ErrorReason
ERROR_REASON_SYSTEM: ErrorReason
