"""The Connect protocol (source: https://connectrpc.com/docs/protocol): its errors, and Lua filters."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from google.rpc import code_pb2
from instantaudience_server.transport.status import BODY_BYTES_KEY, STATUS_DETAILS_KEY, Failure

from instantaudience_gateway.contract.bodies import MAX_DEPTH
from instantaudience_gateway.contract.lua import Literal, lua_literal

HTTP_STATUSES: Mapping[int, int] = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}
"""gRPC code → HTTP status ("Error codes")."""

GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding", STATUS_DETAILS_KEY)
"""Headers and trailers that any gRPC server sends, and that only gRPC callers should see."""

_BODY, _ERRORS, _UNARY, _STREAMS, _DETAILS = (
    Path(__file__).with_name(f"{name}.lua")
    for name in ("body", "connect_errors", "connect", "connect_streams", "connect_details")
)


def code_name(code: int) -> str:
    """Connect's name of a gRPC code."""
    return "canceled" if code == code_pb2.CANCELLED else code_pb2.Code.Name(code_pb2.Code.ValueType(code)).lower()


def connect_error(failure: Failure) -> str:
    """The JSON of a failure ("Error end-stream")."""
    details = [
        {"type": detail.TypeName(), "value": base64.b64encode(detail.value).decode().rstrip("=")}
        for detail in failure.status.details
    ]
    return json.dumps({"code": code_name(failure.code), "message": failure.message, "details": details})


def connect_script(body_limit_bytes: int) -> str:
    """The source of the Lua filter for unary calls with JSON."""
    return _script(_UNARY, {"longest_body": body_limit_bytes, "body_bytes_key": BODY_BYTES_KEY})


def connect_streams_script(body_limit_bytes: int, failures: Mapping[str, Failure]) -> str:
    """The source of the Lua filter for streams with JSON; `failures` are those of `replies.stream_failures`."""
    faults = {name: connect_error(failure) for name, failure in failures.items()}
    script = _script(_STREAMS, {"longest_body": body_limit_bytes, "faults": faults})
    any_object: Literal = {"messages": {}, "types": {}, "depth": MAX_DEPTH}
    return "\n".join((f"local CONTRACT = {lua_literal(any_object)}", _BODY.read_text(encoding="utf-8"), script))


def connect_details_script() -> str:
    """The source of the Lua filter for calls with protobuf messages."""
    return _script(_DETAILS, {})


def _script(source: Path, own: Mapping[str, Literal]) -> str:
    errors: dict[str, Literal] = {
        str(code): {"name": code_name(code), "status": status} for code, status in HTTP_STATUSES.items()
    }
    tables: Literal = {
        "errors": errors,
        "unknown": errors[str(code_pb2.UNKNOWN)],
        "details_key": STATUS_DETAILS_KEY,
        "hidden_headers": GRPC_HEADERS,
        **own,
    }
    parts = (path.read_text(encoding="utf-8") for path in (_ERRORS, source))
    return "\n".join((f"local CONNECT = {lua_literal(tables)}", *parts))
