"""The one table of errors: reason → gRPC code → HTTP status → `error_id` (source: contract, "Errors").

The gateway's configuration is built from the same rows, so the hosts and the gateway cannot disagree.
"""

from dataclasses import dataclass

from google.rpc import code_pb2

from instantaudience_server.errors import Reason


@dataclass(frozen=True, slots=True)
class Row:
    """What a caller sees of a reason: over gRPC the code, over REST the HTTP status and `error_id`."""

    grpc_code: int
    http_status: int
    error_id: str


ROWS: dict[Reason, Row] = {
    Reason.SYNTAX: Row(code_pb2.INVALID_ARGUMENT, 400, "SYNTAX"),
    Reason.NOT_FOUND: Row(code_pb2.NOT_FOUND, 404, "SYNTAX"),
    Reason.NO_SUCH_METHOD: Row(code_pb2.UNIMPLEMENTED, 404, "SYNTAX"),
    Reason.NOAUTH: Row(code_pb2.UNAUTHENTICATED, 401, "NOAUTH"),
    Reason.NOAUTH_DISABLED: Row(code_pb2.UNAUTHENTICATED, 401, "NOAUTH_DISABLED"),
    Reason.UNAUTH: Row(code_pb2.PERMISSION_DENIED, 403, "UNAUTH"),
    Reason.INTEGRITY: Row(code_pb2.ALREADY_EXISTS, 409, "INTEGRITY"),
    Reason.LIMIT: Row(code_pb2.RESOURCE_EXHAUSTED, 413, "LIMIT"),
    Reason.RATE_LIMIT_EXCEEDED: Row(code_pb2.RESOURCE_EXHAUSTED, 429, "RATE_LIMIT_EXCEEDED"),
    Reason.UNAVAILABLE: Row(code_pb2.UNAVAILABLE, 503, "SYSTEM"),
    Reason.INTERNAL: Row(code_pb2.INTERNAL, 500, "SYSTEM"),
}

ERROR_ID_KEY = "error-id"
"""Trailing metadata of every failed call: the row's `error_id`. The gateway reads it, and takes it out of REST answers."""
