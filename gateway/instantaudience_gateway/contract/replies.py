"""The gateway's own error responses, in the contract's format (source: contract, "Errors").

Envoy's own messages reveal internals, so they are all replaced.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.sign_in import tokens
from instantaudience_server.transport.status import (
    ERROR_ID_KEY,
    PUSHBACK_KEY,
    ROWS,
    STATUS_DETAILS_KEY,
    describe,
    error_body,
)

from instantaudience_gateway.files.served import CONTENT_TYPES

RETRY_AFTER_SECONDS = range(1, 4)
"""Possible `Retry-After` values of an overload; drawn per request, so that callers do not all return at once."""

GRPC_ROUTE = "grpc"
"""Name of the route of gRPC calls. (The content type cannot tell them apart: the transcoder sets gRPC's.)"""

EARLY_REQUEST_ID = {"header": {"key": "x-request-id", "value": "%UNIQUE_ID%"}, "append_action": "ADD_IF_ABSENT"}
"""A request ID for responses to requests that have none yet, since they were refused early."""

_SAME_BODY = "%LOCAL_REPLY_BODY%"

ENDS = ("connection", "close")
"""Tells the Lua filter that the connection is closed after this response: what was received is not HTTP."""

TRANSCODER_ERROR = "text/x-transcoder-error"
"""Content type that marks the transcoder's own errors for the Lua filter, which rewrites them."""

NO_SUCH_CODING = 501
"""Envoy's status for an unknown transfer coding, which is the caller's error."""


def file_route(content_type: str) -> str:
    """Name of the routes of files of this type that Envoy itself serves."""
    return f"file {content_type}"


@dataclass(frozen=True, slots=True)
class Reply:
    """An error as a REST caller sees it."""

    http_status: int
    error_id: str
    text: str

    def body(self) -> str:
        """The JSON body."""
        return error_body(self.error_id, None, json.dumps(self.text))


def _reply(reason: Reason, text: str) -> Reply:
    row = ROWS[reason]
    return Reply(row.http_status, row.error_id, text)


UNREADABLE = _reply(Reason.SYNTAX, "The request cannot be read.")
EMPTY = _reply(Reason.SYNTAX, "The body is empty.")
NO_PATH = _reply(Reason.NO_SUCH_METHOD, "There is no such path.")
NO_SUCH_METHOD = _reply(Reason.NO_SUCH_METHOD, "There is no such method.")
FOR_GATEWAY = _reply(
    Reason.NO_SUCH_METHOD, "This port takes POST /rt-segment without parameters; all else is for the HTTP port."
)
NO_METHOD = Reply(405, "SYNTAX", "The path does not take this method.")
NO_SIGN_IN_BY_URL = Reply(
    405, "SYNTAX", "A password does not belong in a URL, which logs and browsers keep: sign in with POST /auth."
)
NO_TOKEN = _reply(Reason.NOAUTH, tokens.MISSING)
UNKNOWN_TOKEN = _reply(Reason.NOAUTH, tokens.UNKNOWN)
TOO_SLOW = Reply(408, "SYNTAX", "The request did not arrive in time.")
UNAVAILABLE = _reply(Reason.UNAVAILABLE, "The service is out of reach; send the request again.")
INTERNAL = _reply(Reason.INTERNAL, "Internal error.")


def too_large(limit_bytes: int) -> Reply:
    """The reply for a body over the limit."""
    return _reply(Reason.LIMIT, f"The body has more than {limit_bytes} bytes.")


def _grpc_headers(reason: Reason, reply: Reply, after: int | None = None) -> tuple[tuple[str, str], ...]:
    """The gRPC headers of a failed call, as the servers would send them."""
    failure = describe(AudienceError(reason, reply.text, retry_after_seconds=after))
    encoded = base64.b64encode(failure.status.SerializeToString()).decode().rstrip("=")
    said = [(key, value) for key, value in failure.metadata if key in (ERROR_ID_KEY, PUSHBACK_KEY)]
    return (("grpc-status", str(failure.code)), *said, (STATUS_DETAILS_KEY, encoded))


def _status(operator: str, value: int) -> dict[str, Any]:
    comparison = {"op": operator, "value": {"default_value": value, "runtime_key": "gateway.unused"}}
    return {"status_code_filter": {"comparison": comparison}}


def _cel(expression: str) -> dict[str, Any]:
    filter_type = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {"@type": filter_type, "expression": expression},
        }
    }


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}}


def _any_of(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"or_filter": {"filters": list(filters)}}


def set_header(name: str, value: str) -> dict[str, Any]:
    """A header mutation that replaces existing headers of this name."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _mapper(
    condition: dict[str, Any],
    text: str,
    *,
    status: int | None = None,
    content_type: str = "application/json",
    headers: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    mapper: dict[str, Any] = {
        "filter": condition,
        "body_format_override": {"text_format_source": {"inline_string": text}, "content_type": content_type},
        "headers_to_add": [*(set_header(name, value) for name, value in headers), EARLY_REQUEST_ID],
    }
    if status is not None:
        mapper["status_code"] = status
    return mapper


_CLIENT_ERROR = _all(_status("GE", 400), _status("LE", 499))
_UNAVAILABLE = _any_of(_status("EQ", 408), _all(_status("GE", 502), _status("LE", 504)))


def _retry_after(seconds: int) -> tuple[str, str]:
    return ("retry-after", str(seconds))


def _drawn(seconds: int) -> dict[str, Any]:
    """A condition that holds for one value of `RETRY_AFTER_SECONDS` per request, chosen by the millisecond of its
    arrival."""
    number = RETRY_AFTER_SECONDS.index(seconds)
    return _cel(f"request.time.getMilliseconds() % {len(RETRY_AFTER_SECONDS)} == {number}")


def local_replies(body_limit_bytes: int) -> dict[str, Any]:
    """Envoy's `local_reply_config`: the first mapper whose condition holds makes the response.

    Responses of the Lua filter, and files, are left as they are. The transcoder's messages get the content type
    `TRANSCODER_ERROR`, for the Lua filter to parse. Envoy turns the HTTP status of a response to a gRPC call into a
    gRPC code (503 → UNAVAILABLE) and the text into `grpc-message`.
    """
    # Refused before routing, when the content type is still the caller's.
    early = "response.code_details == 'overload' && request.headers['content-type'].startsWith('application/grpc')"
    grpc = _cel(f"xds.route_name == '{GRPC_ROUTE}' || ({early})")
    lua = _cel("response.code_details == 'lua_response'")
    grpc_internal = _grpc_headers(Reason.INTERNAL, INTERNAL)
    grpc_unknown = _grpc_headers(Reason.NO_SUCH_METHOD, NO_SUCH_METHOD)
    transcoder = _cel("response.code_details.contains('grpc_json_transcode_failure')")
    broken = _cel("response.code_details.contains('codec')")
    grpc_type = "application/grpc"
    fixed = [
        (_status("EQ", 413), too_large(body_limit_bytes), ()),
        (_status("EQ", TOO_SLOW.http_status), TOO_SLOW, ()),
        *((_all(_UNAVAILABLE, _drawn(after)), UNAVAILABLE, (_retry_after(after),)) for after in RETRY_AFTER_SECONDS),
        (_status("EQ", 404), NO_PATH, ()),
        (_status("EQ", NO_SUCH_CODING), UNREADABLE, ()),
        (_CLIENT_ERROR, UNREADABLE, ()),
        (_status("GE", 0), INTERNAL, ()),
    ]
    return {
        "mappers": [
            *(
                _mapper(
                    _all(grpc, _UNAVAILABLE, _drawn(after)),
                    UNAVAILABLE.text,
                    status=503,
                    content_type=grpc_type,
                    headers=_grpc_headers(Reason.UNAVAILABLE, UNAVAILABLE, after),
                )
                for after in RETRY_AFTER_SECONDS
            ),
            _mapper(_all(grpc, _status("EQ", 404)), NO_SUCH_METHOD.text, content_type=grpc_type, headers=grpc_unknown),
            _mapper(_all(grpc, _CLIENT_ERROR), UNREADABLE.text, content_type=grpc_type),
            _mapper(grpc, INTERNAL.text, content_type=grpc_type, headers=grpc_internal),
            _mapper(_all(_CLIENT_ERROR, broken), UNREADABLE.body(), status=UNREADABLE.http_status, headers=(ENDS,)),
            _mapper(lua, _SAME_BODY),
            *(
                _mapper(_cel(f"xds.route_name == '{file_route(content_type)}'"), _SAME_BODY, content_type=content_type)
                for content_type in sorted(set(CONTENT_TYPES.values()))
            ),
            _mapper(_all(_status("EQ", 400), transcoder), _SAME_BODY, content_type=TRANSCODER_ERROR),
            *(_mapper(cond, reply.body(), status=reply.http_status, headers=extra) for cond, reply, extra in fixed),
        ]
    }
