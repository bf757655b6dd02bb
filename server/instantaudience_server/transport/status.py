"""The one table of errors: reason → gRPC code → HTTP status → `error_id` (source: contract, "Errors").

The gateway's configuration is built from the same rows, so the hosts and the gateway cannot disagree.
"""

from dataclasses import dataclass
from functools import lru_cache

from google.rpc import code_pb2, error_details_pb2, status_pb2

from instantaudience_server.errors import AudienceError, Cause, Reason


@dataclass(frozen=True, slots=True)
class Row:
    """What a caller sees of a reason: over gRPC the code and the cause, unless the error has a cause of its own; over
    REST the HTTP status, the `error_id`, and the `error_code` if there is one."""

    grpc_code: int
    http_status: int
    error_id: str
    cause: Cause
    error_code: str | None = None


ROWS: dict[Reason, Row] = {
    Reason.SYNTAX: Row(code_pb2.INVALID_ARGUMENT, 400, "SYNTAX", Cause.INVALID_REQUEST),
    Reason.INVALID: Row(code_pb2.OUT_OF_RANGE, 422, "SYNTAX", Cause.INVALID_REQUEST),
    Reason.NOT_FOUND: Row(code_pb2.NOT_FOUND, 404, "SYNTAX", Cause.UNKNOWN_OBJECT),
    Reason.NO_SUCH_METHOD: Row(code_pb2.UNIMPLEMENTED, 404, "SYNTAX", Cause.UNKNOWN_METHOD),
    Reason.NOAUTH: Row(code_pb2.UNAUTHENTICATED, 401, "NOAUTH", Cause.TOKEN_ENDED),
    Reason.INVALID_LOGIN: Row(code_pb2.UNAUTHENTICATED, 401, "NOAUTH", Cause.WRONG_CREDENTIALS, "INVALID_LOGIN"),
    Reason.NOAUTH_DISABLED: Row(code_pb2.UNAUTHENTICATED, 401, "NOAUTH_DISABLED", Cause.USER_DEACTIVATED),
    Reason.UNAUTH: Row(code_pb2.PERMISSION_DENIED, 403, "UNAUTH", Cause.NOT_PERMITTED),
    Reason.INTEGRITY: Row(code_pb2.ALREADY_EXISTS, 409, "INTEGRITY", Cause.TAKEN),
    Reason.CHANGED_MEANWHILE: Row(code_pb2.ABORTED, 409, "INTEGRITY", Cause.CHANGED_MEANWHILE),
    Reason.IN_USE: Row(code_pb2.FAILED_PRECONDITION, 409, "INTEGRITY", Cause.IN_USE),
    Reason.LIMIT: Row(code_pb2.RESOURCE_EXHAUSTED, 413, "LIMIT", Cause.TOO_LARGE),
    Reason.RATE_LIMIT_EXCEEDED: Row(
        code_pb2.RESOURCE_EXHAUSTED, 429, "RATE_LIMIT_EXCEEDED", Cause.TOO_MANY, "RATE_EXCEEDED"
    ),
    Reason.UNAVAILABLE: Row(code_pb2.UNAVAILABLE, 503, "SYSTEM", Cause.UNREACHABLE),
    Reason.INTERNAL: Row(code_pb2.INTERNAL, 500, "SYSTEM", Cause.DEFECT),
}

HTTP_STATUSES = {(row.grpc_code, row.error_id): row.http_status for row in ROWS.values()} | {
    (code_pb2.DEADLINE_EXCEEDED, ROWS[Reason.UNAVAILABLE].error_id): ROWS[Reason.UNAVAILABLE].http_status
}
"""gRPC code and `error_id` → HTTP status."""

ERROR_ID_KEY = "error-id"
"""Trailing metadata of every failed call: the row's `error_id`. The gateway removes it from REST answers."""

ERROR_CODE_KEY = "error-code"
"""Trailing metadata of failed calls whose row has an `error_code`. The gateway removes it from REST answers."""

UNAUTHORIZED = 401
CHALLENGE = {"www-authenticate": "Bearer"}
"""Header of every REST answer that asks for a token (RFC 9110, section 11.6.1)."""

START_KEY = "x-request-start"
"""Metadata that the gateway sets on every call: when it came in; see `Call.waited_seconds`."""
BODY_BYTES_KEY = "x-request-body-bytes"
"""Metadata that the gateway sets on unary calls in JSON: the size of the body. It removes a caller's own."""

ADDRESS_KEY = "x-caller-address"
"""Metadata that the gateway sets on every call: the caller's IP address, in place of a caller's own."""

CERTIFICATE_KEY = "x-client-certificate"
"""Metadata that the gateway sets: the URI and the DNS name in the caller's certificate, as `uri=… dns=…`, with nothing
or `-` for none; see `call.credential`."""

TRACE_PARENT_KEY = "traceparent"
"""Metadata that says which trace a call belongs to (https://www.w3.org/TR/trace-context/)."""

STATUS_DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata of every failed call: the serialised `google.rpc.Status`."""

ERROR_DOMAIN = "instantaudience"
"""The `domain` of every `google.rpc.ErrorInfo`."""
CAUSE, OBJECT, FIELD = "cause", "object", "field"
"""Keys of ErrorInfo's metadata: the cause, the faulty part of the request, and the path of the field in it."""
PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata that gRPC libraries obey (source: gRFC A6, "Pushback")."""
DEFECT_TEXT = "internal error"
LONGEST_TEXT_BYTES = 1000
"""The limit of an error's text, which may repeat what the caller sent. The text goes into headers two or three times;
the default limit of headers is 8 KB in gRPC libraries (`grpc.max_metadata_size`) and 60 KB in Envoy."""


def error_body(error_id: str, error_code: str | None, text: str) -> str:
    """The JSON body of a REST error; `text` is already encoded as JSON (source: contract, "Errors";
    contract-neighbours, "error_code")."""
    code = "" if error_code is None else f'"error_code":"{error_code}",'
    return f'{{"response":{{"status":"ERROR","error_id":"{error_id}",{code}"error":{text}}}}}'


def retry_after(seconds: int) -> tuple[error_details_pb2.RetryInfo, list[tuple[str, str]]]:
    """Tell the caller when to retry: a detail for the status, and metadata."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromSeconds(seconds)
    return retry, [(PUSHBACK_KEY, str(1000 * seconds)), ("retry-after", str(seconds))]


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """What the caller of a failed call sees: gRPC code, text, `google.rpc.Status` with details, and trailing metadata.

    Metadata keys are in lower case; `retry-after` and `x-ratelimit-…` become headers of a REST answer.
    """

    code: int
    message: str
    status: status_pb2.Status
    metadata: tuple[tuple[str, str], ...]


_OVER = "Deadline Exceeded"
DEADLINE_EXCEEDED = Failure(
    code_pb2.DEADLINE_EXCEEDED,
    _OVER,
    status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message=_OVER),
    ((ERROR_ID_KEY, ROWS[Reason.UNAVAILABLE].error_id),),
)
"""What the caller of a stream sees whose time is over: what gRPC's libraries say themselves, without details."""


def describe(error: AudienceError) -> Failure:
    """The failure that a caller sees for an error."""
    if error.reason is Reason.UNAVAILABLE and not error.metadata:
        return _unavailable(error.message, error.retry_after_seconds, error.cause)
    return _describe(error)


@lru_cache(maxsize=100)
def _unavailable(message: str, retry_after_seconds: int | None, cause: Cause | None) -> Failure:
    """As `_describe`, cached: an overloaded service has to refuse many calls in little time."""
    return _describe(AudienceError(Reason.UNAVAILABLE, message, retry_after_seconds=retry_after_seconds, cause=cause))


def _describe(error: AudienceError) -> Failure:
    row = ROWS[error.reason]
    text = _shortened(error.message)
    status = status_pb2.Status(code=row.grpc_code, message=text)
    cause = error.cause or row.cause
    said = {CAUSE: cause.name, **error.metadata}
    info = error_details_pb2.ErrorInfo(reason=row.error_id, domain=ERROR_DOMAIN, metadata=said)
    status.details.add().Pack(info)
    if cause is Cause.INVALID_REQUEST and FIELD in error.metadata:
        path = ".".join(error.metadata[key] for key in (OBJECT, FIELD) if key in error.metadata)
        violation = error_details_pb2.BadRequest.FieldViolation(field=path, description=text, reason=cause.name)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    metadata = [(ERROR_ID_KEY, row.error_id)]
    if row.error_code is not None:
        metadata.append((ERROR_CODE_KEY, row.error_code))
    if error.retry_after_seconds is not None:
        retry, headers = retry_after(error.retry_after_seconds)
        status.details.add().Pack(retry)
        metadata += headers
    if error.reason is Reason.RATE_LIMIT_EXCEEDED:
        exceeded = error_details_pb2.QuotaFailure.Violation(subject=error.metadata.get("subject", ""), description=text)
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[exceeded]))
        metadata.append(("x-ratelimit-code", "429"))
        if "count" in error.metadata:
            metadata.append(("x-ratelimit-count", error.metadata["count"]))
    return Failure(row.grpc_code, text, status, tuple(metadata))


def _shortened(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= LONGEST_TEXT_BYTES else f"{encoded[:LONGEST_TEXT_BYTES].decode(errors='ignore')}…"
