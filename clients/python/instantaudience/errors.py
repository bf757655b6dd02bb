"""What a call fails with: one exception for each kind of failure that a caller treats differently."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import grpc
from google.protobuf.any_pb2 import Any as Detail
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from instantaudience.rules import KIND_OF_CODE, KIND_OF_REASON, KIND_OTHERWISE, KIND_WITHOUT_REASON

_STATUS_DETAILS_KEY = "grpc-status-details-bin"
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class AudienceError(Exception):
    """A call failed.

    Attributes:
        code: gRPC's status code.
        reason: the reason of `google.rpc.ErrorInfo`, as listed in errors.proto; "" where the transport has failed.
        request_id: what the service's log names the call by.
        retry_after_seconds: when the service asks to try again; None where it does not.
        metadata: what ErrorInfo says besides: `cause`, as listed in errors.proto, and often `field`, the field that is
            meant.
        kind: the name that the kind of error has in the clients of all languages: `InvalidRequest`.
    """

    kind: ClassVar[str]
    code_otherwise: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    """The code of what the client itself says."""

    def __init_subclass__(cls) -> None:
        cls.kind = cls.__name__.removesuffix("Error")

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        request_id: str = "",
        retry_after_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.code_otherwise if code is None else code
        self.reason = reason
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.metadata: dict[str, str] = dict(metadata or {})

    def __str__(self) -> str:
        """The message, with what finds the call in the service's log."""
        name = self.reason or self.code.name
        return f"{name}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")


class InvalidRequestError(AudienceError):
    """The request cannot be read, or breaks a rule: sending it again does not help."""

    code_otherwise = grpc.StatusCode.INVALID_ARGUMENT


class UnauthenticatedError(AudienceError):
    """Wrong name, password, key or token, or the account is deactivated."""


class PermissionDeniedError(AudienceError):
    """The account may not do this."""


class NotFoundError(AudienceError):
    """There is no such object or method."""


class ConflictError(AudienceError):
    """The change contradicts what is there: taken, changed meanwhile, or in use."""


class TooLargeError(AudienceError):
    """One user's changes are larger than a request may be, or the answer is larger than this client takes."""


class RateLimitedError(AudienceError):
    """The member's quota is used up, and there was no time left to wait for the next window."""


class UnavailableError(AudienceError):
    """The service is out of reach or overloaded; what was sent may be applied in part, and can be sent again."""

    code_otherwise = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(UnavailableError):
    """The time that the caller gave is over."""

    code_otherwise = grpc.StatusCode.DEADLINE_EXCEEDED


class InternalError(AudienceError):
    """A defect of the service, or an answer that is none of its."""

    code_otherwise = grpc.StatusCode.INTERNAL


_CLASSES: dict[str, type[AudienceError]] = {
    kind.kind: kind
    for kind in (
        InvalidRequestError,
        UnauthenticatedError,
        PermissionDeniedError,
        NotFoundError,
        ConflictError,
        TooLargeError,
        RateLimitedError,
        UnavailableError,
        DeadlineExceededError,
        InternalError,
    )
}


def of_call(error: grpc.aio.AioRpcError, request_id: str) -> AudienceError:
    """What a failed call means."""
    metadata: Any = error.trailing_metadata() or ()
    status = status_pb2.Status()
    for key, value in metadata:
        if key == _STATUS_DETAILS_KEY:
            with suppress(DecodeError):
                status = status_pb2.Status.FromString(value)
    return _error(error.code(), error.details() or "", request_id, status.details)


def of_status(status: status_pb2.Status, request_id: str) -> AudienceError:
    """What the status of a call, or of a request of a stream, means."""
    return _error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, request_id, status.details)


def unreadable(request_id: str) -> AudienceError:
    """An answer came that is no message, or none at all: gRPC gives None in its place."""
    return UnavailableError("an answer that cannot be read", code=grpc.StatusCode.INTERNAL, request_id=request_id)


def says_nothing(request_id: str) -> AudienceError:
    """An answer came without what every answer has."""
    return InternalError("an answer that says nothing", request_id=request_id)


def _fields(details: Iterable[Detail]) -> dict[str, Any]:
    """What the details of a status say; one that cannot be read says nothing."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    fields: dict[str, Any] = {}
    for detail in details:
        with suppress(DecodeError):
            if detail.Unpack(info):
                fields |= {"reason": info.reason, "metadata": dict(info.metadata)}
            elif detail.Unpack(retry) and (nanoseconds := retry.retry_delay.ToNanoseconds()) >= 0:
                fields["retry_after_seconds"] = nanoseconds / 1e9
    return fields


def _error(code: grpc.StatusCode, message: str, request_id: str, details: Iterable[Detail]) -> AudienceError:
    fields = _fields(details)
    number, reason = code.value[0], fields.get("reason", "")
    by_code = KIND_OF_CODE.get(number, KIND_OTHERWISE)
    kind = KIND_OF_REASON.get(reason, by_code) if reason else KIND_WITHOUT_REASON.get(number, by_code)
    return _CLASSES[kind](message, code=code, request_id=request_id, **fields)
