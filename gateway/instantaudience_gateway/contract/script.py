"""Assembles the gateway's Lua filter: its parts (`SOURCES`), after the tables that they use (`CONTRACT`)."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from google.rpc import code_pb2
from google.rpc.http_pb2 import HttpResponse
from instantaudience_server.catalog.original_fields import MOST_LEVELS, TOO_DEEP
from instantaudience_server.sign_in.tokens import LIFETIME_MS, LONGEST_AUTHORIZATION
from instantaudience_server.transport.framing import frame
from instantaudience_server.transport.methods.gateway_refusals import COUNT_PATH
from instantaudience_server.transport.status import (
    BODY_BYTES_KEY,
    CERTIFICATE_KEY,
    CHALLENGE,
    ERROR_CODE_KEY,
    ERROR_ID_KEY,
    PUSHBACK_KEY,
    ROWS,
    START_KEY,
    STATUS_DETAILS_KEY,
)
from instantaudience_server.usage.failures import REFUSALS

from instantaudience_gateway.console import files as console
from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.bodies import DEFAULTS, MAX_DEPTH, SCALAR_RULES
from instantaudience_gateway.contract.lua import Literal, lua_literal
from instantaudience_gateway.contract.replies import (
    EMPTY,
    INTERNAL,
    NO_METHOD,
    NO_PATH,
    NO_SIGN_IN_BY_URL,
    NO_TOKEN,
    TOO_SLOW,
    TRANSCODER_ERROR,
    UNAVAILABLE,
    UNKNOWN_TOKEN,
    UNREADABLE,
    Reply,
    too_large,
)
from instantaudience_gateway.files.served import HEADERS
from instantaudience_gateway.reference import files as reference

_PACKAGES = Path(__file__).parents[1]

_PARTS = (
    *("contract/body.lua", "contract/parameters.lua", "files/files.lua", "contract/cookies.lua"),
    "contract/refusals.lua",
    "contract/contract.lua",
)
SOURCES = tuple(_PACKAGES / name for name in _PARTS)
"""The filter's parts, in the order in which they are concatenated."""

HIDDEN_HEADERS = (
    *("grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding", STATUS_DETAILS_KEY),
    *(ERROR_ID_KEY, ERROR_CODE_KEY, PUSHBACK_KEY),
)
"""Headers that the service sends for gRPC callers only, or for the gateway."""

BARE_GRPC_ERRORS = {
    code_pb2.INVALID_ARGUMENT: UNREADABLE,
    code_pb2.UNIMPLEMENTED: NO_PATH,
    code_pb2.UNAVAILABLE: UNAVAILABLE,
    code_pb2.RESOURCE_EXHAUSTED: UNAVAILABLE,
    code_pb2.DEADLINE_EXCEEDED: UNAVAILABLE,
    code_pb2.CANCELLED: UNAVAILABLE,
}
"""gRPC errors without an `error_id`: they come from grpc itself, and their messages reveal internals."""

SHORT_BODY_BYTES = 16_384
"""Bodies up to this size are awaited before a request is refused: HTTP/1.1 would close the connection otherwise, and
opening a new one costs more."""

HEAVY_BODY_BYTES = 262_144
"""After a body over this size, the Lua garbage is collected at once; otherwise it would stay for long after a flood."""

HOPELESS_BODIES = 8
"""A body whose announced length is this many times the limit is refused before it arrives. For shorter ones, the
gateway reads up to the limit: many clients do not look for a response before they have sent everything."""

FILE_METHODS = "GET, HEAD"
"""The methods of paths of pages."""

PAGES = {**console.files(), **reference.files()}
"""The files of all pages, by path."""

COOKIE = {
    "name": "instant_audience_token",
    "path": "/auth",
    "attributes": "; Path=/; HttpOnly; SameSite=Strict",
    "set": f"; Max-Age={LIFETIME_MS // 1000}",
    "unset": "; Max-Age=0",
}
"""The session cookie (RFC 6265, section 4.1): scripts cannot read it, and browsers do not send it from other sites."""
REFUSAL_MESSAGES = {status: frame(HttpResponse(status=status).SerializeToString()) for status in REFUSALS}
"""HTTP status → the message that reports a refused call to the service."""
UNKNOWN_TOKEN_FIRST = (400, 408, 413, 422)
"""For these statuses, an unknown token is reported instead: tokens are checked before bodies."""

_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
"""A parameter in a path template; all of them are IDs."""

UNREADABLE_STATUSES = {"/privacy/consumer-request": 422}
"""HTTP status instead of 400, by path (source: contract-neighbours, "Privacy")."""


DELIBERATELY_NOT = {"GET /auth": NO_SIGN_IN_BY_URL}
"""Replies for methods that the original platform has and this service deliberately does not (source:
contract-neighbours)."""


MEANINGLESS = ("start_element", "num_elements", "batch_size", "StartElement", "NumElements", "Active")
"""Parameters that clients of the original platform send with every GET, in the query or the body. They are ignored
where they are no parameters: paging of what has no pages, and spellings that the original ignores (see tests/legacy/).
"""

COUNTS = ("num_elements",)
"""Parameters whose values are limited instead of rejected when too large (source: contract-neighbours, "lists")."""


def _defaults(endpoint: descriptor.Endpoint) -> Mapping[str, Literal]:
    defaults = DEFAULTS.get((endpoint.http_method, endpoint.path), {})
    return {name: str(value).lower() for name, value in defaults.items()}


def _spellings(field: descriptor.Field) -> set[str]:
    """The accepted spellings of a key: as documented, in lowerCamelCase (source: contract-neighbours, "spelling"), and
    as in the proto file, which the transcoder reads, too."""
    return {field.name, field.json_name, _proto_name(field)}


def _proto_name(field: descriptor.Field) -> str:
    return field.name.replace("-", "_")


def _endpoints() -> Mapping[str, Literal]:
    paths: dict[str, dict[str, Literal]] = {}
    for endpoint in descriptor.endpoints():
        method: Literal = {
            "parameters": {spelling: each.name for each in endpoint.parameters for spelling in _spellings(each)},
            "defaults": _defaults(endpoint),
            "body": endpoint.body.full_name if endpoint.body else None,
            "text": endpoint.text,
            "gzip": endpoint.gzip,
            "origin": endpoint.origin,
            "public": endpoint.public,
            "strict": endpoint.strict,
            "unreadable": UNREADABLE_STATUSES.get(endpoint.path),
            "within": endpoint.within,
        }
        methods = paths.setdefault(endpoint.path, {})
        methods[endpoint.http_method] = method
        if endpoint.public and endpoint.http_method == "GET":  # health, which load balancers ask for with HEAD
            methods["HEAD"] = method
    endpoints: dict[str, Literal] = {
        path: {"allow": FILE_METHODS, "methods": {}} for path in (*PAGES, console.ALIAS_PATH, reference.ALIAS_PATH)
    }
    return endpoints | {
        path: {"allow": ", ".join(sorted(methods)), "methods": methods} for path, methods in paths.items()
    }


def _files() -> Mapping[str, Literal]:
    return {
        path: {
            "type": file.content_type,
            "etag": file.etag,
            "body": file.body,
            "gzip": file.gzip_body,
            "policy": file.policy,
        }
        for path, file in PAGES.items()
        if not file.is_large
    }


def _messages() -> Mapping[str, Literal]:
    whole = {endpoint.request.full_name for endpoint in descriptor.endpoints() if endpoint.body is endpoint.request}
    return {
        message: {
            spelling: {
                "key": field.name,
                "bit": 1 << number,
                "list": field.is_list,
                "message": field.message,
                "type": field.scalar_type,
                # Scalars of a request are parameters (see `descriptor.endpoints`).
                "parameter": _parameter(field) if message in whole and field.scalar_type else None,
            }
            for number, field in enumerate(fields)
            for spelling in _spellings(field)
        }
        for message, fields in descriptor.shapes().items()
    }


def _parameter(field: descriptor.Field) -> str:
    return "both" if field.name in descriptor.BODY_TOO else "query"


def _aliases() -> Sequence[Literal]:
    """Patterns of paths with parameters, and the plain paths that they stand for."""
    return [
        {
            "pattern": f"^{_PATH_PARAMETER.sub('([0-9]+)', template)}$",
            "path": path,
            "parameters": _PATH_PARAMETER.findall(template),
        }
        for template, path in descriptor.aliases().items()
    ]


def _scalar_rules() -> Mapping[str, Literal]:
    parameters = (endpoint.parameters for endpoint in descriptor.endpoints())
    fields = chain.from_iterable((*descriptor.shapes().values(), *parameters))
    used = {field.scalar_type for field in fields if field.scalar_type}
    return {name: SCALAR_RULES[name] for name in used | SCALAR_RULES.keys()}


def _reply(reply: Reply) -> Mapping[str, Literal]:
    return {"status": reply.http_status, "id": reply.error_id, "text": reply.text}


def _grpc_errors() -> Mapping[str, Literal]:
    """HTTP statuses by gRPC code and `error_id`. If rows with the same pair have different `error_code`s, the response
    names its own."""
    codes: dict[str, set[str | None]] = {}
    statuses = {f"{row.grpc_code} {row.error_id}": row.http_status for row in ROWS.values()}
    for row in ROWS.values():
        codes.setdefault(f"{row.grpc_code} {row.error_id}", set()).add(row.error_code)
    return {
        pair: {"status": status, "code": next(iter(codes[pair])) if len(codes[pair]) == 1 else None}
        for pair, status in statuses.items()
    }


ANSWERS_ALONE = "function envoy_on_request(handle) note_token(handle) end"
"""The end of a filter that only processes responses, since the service reads the bodies itself."""


def contract_script(
    body_limit_bytes: int,
    call_timeout_seconds: float,
    cluster: str,
    *,
    answers_alone: bool = False,
) -> str:
    """The source of the Lua filter.

    `cluster` is the Envoy cluster of the service; the first arguments are those of `GatewaySettings`.
    """
    bare = {str(code): _reply(reply) for code, reply in BARE_GRPC_ERRORS.items()}
    tables: Literal = {
        "endpoints": _endpoints(),
        "aliases": _aliases(),
        "meaningless": dict.fromkeys(MEANINGLESS, True),
        "counts": dict.fromkeys(COUNTS, True),
        "most": str(2**31 - 1),
        "files": {} if answers_alone else _files(),
        "file_headers": HEADERS,
        "file_aliases": {page.ALIAS_PATH: f"..{page.PAGE_PATH}" for page in (console, reference)},
        "home": {
            "path": console.HOME_PATH,
            "page": console.PAGE_PATH.removeprefix("/"),
            "policy": console.CONTENT_SECURITY_POLICY,
        },
        "messages": _messages(),
        "keys": {_proto_name(each): each.name for fields in descriptor.shapes().values() for each in fields},
        "types": _scalar_rules(),
        "depth": MAX_DEPTH,
        "kept_levels": MOST_LEVELS,
        "too_deep": TOO_DEEP,
        "grpc_errors": _grpc_errors(),
        "bare_grpc_errors": bare | {"default": _reply(INTERNAL)},
        "unreadable": _reply(UNREADABLE),
        "empty": _reply(EMPTY),
        "no_path": _reply(NO_PATH),
        "no_method": _reply(NO_METHOD),
        "deliberately_not": {call: _reply(reply) for call, reply in DELIBERATELY_NOT.items()},
        "no_token": _reply(NO_TOKEN),
        "unknown_token": _reply(UNKNOWN_TOKEN),
        "too_slow": _reply(TOO_SLOW),
        "too_large": _reply(too_large(body_limit_bytes)),
        "refusals": {str(status): message for status, message in REFUSAL_MESSAGES.items()},
        "unknown_token_first": {str(status): True for status in UNKNOWN_TOKEN_FIRST},
        "count_path": COUNT_PATH,
        "count_ms": round(call_timeout_seconds * 500),
        "cluster": cluster,
        "longest_authorization": LONGEST_AUTHORIZATION,
        "short_body": SHORT_BODY_BYTES,
        "heavy_body": HEAVY_BODY_BYTES,
        "longest_body": body_limit_bytes,
        "hopeless_body": HOPELESS_BODIES * body_limit_bytes,
        "sending_ms": round(call_timeout_seconds * 1000),
        "start_key": START_KEY,
        "error_id_key": ERROR_ID_KEY,
        "error_code_key": ERROR_CODE_KEY,
        "challenge": CHALLENGE,
        "cookie": COOKIE,
        "body_bytes_key": BODY_BYTES_KEY,
        "certificate_key": CERTIFICATE_KEY,
        "hidden_headers": HIDDEN_HEADERS,
        "transcoder_error": TRANSCODER_ERROR,
    }
    sources = [path.read_text(encoding="utf-8") for path in SOURCES]
    return "\n".join([f"local CONTRACT = {lua_literal(tables)}", *sources, ANSWERS_ALONE if answers_alone else ""])
