"""The exceptions of failed calls, one for each kind of failure that callers treat differently."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

import grpc
from google.protobuf.any_pb2 import Any as Detail
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from instantaudience.rules import KIND_OF_CODE, KIND_OF_REASON, KIND_OTHERWISE, KIND_WITHOUT_REASON

_STATUS_DETAILS_KEY = "grpc-status-details-bin"
_REFUSED = "TSI_DATA_CORRUPTED"
"""What gRPC says of a connection that ends with a TLS alert, whatever that tells."""
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class AudienceError(Exception):
    """A call failed.

    Attributes:
        code: gRPC's status code.
        reason: the reason of `google.rpc.ErrorInfo`, as listed in errors.proto; "" if the transport failed.
        request_id: the ID of the call in the service's log.
        retry_after_seconds: when the service asks to try again; None if it does not.
        metadata: the metadata of ErrorInfo: `cause`, as listed in errors.proto, and often `field`, the field concerned.
        kind: the name of this kind of error in the clients of all languages: `InvalidRequest`.
    """

    kind: ClassVar[str]
    code_otherwise: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    """The code of errors that the client itself raises."""

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
        """The message, with the reason and the request ID."""
        name = self.reason or self.code.name
        return f"{name}: {self.message}" + (f" (request {self.request_id})" if self.request_id else "")


class InvalidRequestError(AudienceError):
    """The request is malformed or breaks a rule: sending it again does not help."""

    code_otherwise = grpc.StatusCode.INVALID_ARGUMENT


class UnauthenticatedError(AudienceError):
    """Wrong user name, password, key or token, or the account is deactivated."""


class PermissionDeniedError(AudienceError):
    """The account may not do this."""


class NotFoundError(AudienceError):
    """There is no such object or method."""


class ConflictError(AudienceError):
    """The change conflicts with the current state: taken, changed meanwhile, or in use."""


class TooLargeError(AudienceError):
    """One user's changes exceed the size of a request, or an answer exceeds what this client accepts."""


class RateLimitedError(AudienceError):
    """The member's quota is used up, and there was no time left to wait for the next window."""


class UnavailableError(AudienceError):
    """The service is unreachable or overloaded; the request may have been applied in part, and can be sent again."""

    code_otherwise = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(UnavailableError):
    """The caller's deadline has passed."""

    code_otherwise = grpc.StatusCode.DEADLINE_EXCEEDED


class InternalError(AudienceError):
    """A defect of the service, or an answer that is not the service's."""

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


def of_call(error: grpc.aio.AioRpcError, request_id: str, certificate_end: datetime | None = None) -> AudienceError:
    """The exception for a failed call. `certificate_end` is when the connection's client certificate ends (UTC)."""
    metadata: Any = error.trailing_metadata() or ()
    status = status_pb2.Status()
    for key, value in metadata:
        if key == _STATUS_DETAILS_KEY:
            with suppress(DecodeError):
                status = status_pb2.Status.FromString(value)
    message = error.details() or ""
    if _REFUSED in message and certificate_end is not None and certificate_end <= datetime.now(UTC):
        message = f"the service refuses the client certificate, which ended at {certificate_end:%Y-%m-%d %H:%M} UTC"
    return _error(error.code(), message, request_id, status.details)


def of_status(status: status_pb2.Status, request_id: str) -> AudienceError:
    """The exception for the status of a call, or of a request in a stream."""
    return _error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, request_id, status.details)


def unreadable(request_id: str) -> AudienceError:
    """The exception for an answer that cannot be parsed, for which gRPC returns None."""
    return UnavailableError("an answer that cannot be read", code=grpc.StatusCode.INTERNAL, request_id=request_id)


def says_nothing(request_id: str) -> AudienceError:
    """The exception for an answer without its mandatory content."""
    return InternalError("an answer that does not say what was asked for", request_id=request_id)


def _fields(details: Iterable[Detail]) -> dict[str, Any]:
    """The constructor arguments from a status's details; details that cannot be parsed are ignored."""
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
