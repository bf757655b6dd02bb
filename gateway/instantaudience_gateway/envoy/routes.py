"""The routes: which filters and which cluster a call goes to, and its timeouts."""

import base64
from typing import Any

from instantaudience_server.errors import Reason
from instantaudience_server.settings import UPLOAD_PATH, UPLOAD_SILENT_SECONDS
from instantaudience_server.transport.rest import PASSED_ON_TYPE
from instantaudience_server.transport.status import ERROR_ID_KEY, ROWS

from instantaudience_gateway.contract.descriptor import Endpoint, streaming_paths
from instantaudience_gateway.contract.json_forms import passed_on
from instantaudience_gateway.contract.replies import GRPC_ROUTE, file_route, set_header
from instantaudience_gateway.contract.script import PAGES
from instantaudience_gateway.contract.uploads import MARKED, MARKED_KEY
from instantaudience_gateway.envoy.filters import (
    BUFFER,
    GRPC_WEB,
    HEADER_MUTATION,
    LUA,
    TRANSCODER,
    UPLOADS_LUA,
    answers_alone,
    buffer_override,
    without_grpc_trailers,
)
from instantaudience_gateway.envoy.settings import CLUSTER, TYPES, UNMARKED_UPLOADS, UPLOADS, GatewaySettings, seconds
from instantaudience_gateway.files.served import HEADERS, ServedFile

UPLOAD_GRACE_SECONDS = 30.0
"""How much longer than the batch process the gateway waits, so that the former can report what was wrong."""

_GRPC_PATH = r"/[!$&-;=@-_a-~]*(\?[!$-;=?-~]*)?"
"""Valid method paths and an optional query. No method path needs escapes, and some servers fail badly on other paths:
a native worker resets the call or closes a connection that it shares with other callers, and the server of grpcio ends.
"""

STANDARD_STREAMS = (
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
"""The paths of gRPC's own streaming methods."""

MOST_FILE_BYTES = 1_000_000
"""Maximum compressed size of a file that Envoy serves itself."""

_NOT_BLANK = r"\s*\S.*"


def _retry_policy(settings: GatewaySettings) -> dict[str, Any]:
    """Retries calls that no server has processed on another worker, as often as there are workers."""
    return {
        "retry_on": "connect-failure,refused-stream",
        "num_retries": len(settings.upstream_sockets),
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": 2 * len(settings.upstream_sockets),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.010s"},
    }


def _header(name: str, match: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "string_match": match}


def _content_type(prefix: str) -> dict[str, Any]:
    return _header("content-type", {"prefix": prefix})


def _without(*filters: str) -> dict[str, Any]:
    """Disables filters on a route; a disabled filter costs nothing per call."""
    disabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    return dict.fromkeys(filters, disabled)


def _with(*filters: str) -> dict[str, Any]:
    """Enables filters on a route that are disabled on others."""
    enabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
    return {name: enabled for name in filters}  # noqa: C420 - nobody changes it


def _without_filters() -> dict[str, Any]:
    """Disables all filters that routes can disable."""
    return _without(GRPC_WEB, LUA, TRANSCODER)


def routes(settings: GatewaySettings) -> list[dict[str, Any]]:
    """All routes. gRPC calls last as long as their callers want; REST calls have the service's deadline.

    A REST request that has not arrived by then is answered with 408. A gRPC call whose path cannot be that of a method
    is refused here, as the service refuses one of a method that it does not have.
    """
    grpc: dict[str, Any] = {
        "name": GRPC_ROUTE,
        "match": _calls(_content_type("application/grpc")),
        "typed_per_filter_config": _without(GRPC_WEB, LUA, TRANSCODER),
    }
    # Its content type is a prefix of the one that `grpc` accepts as well, so it comes first.
    grpc_web = grpc | {
        "match": _calls(_content_type("application/grpc-web")),
        "typed_per_filter_config": _without(LUA, TRANSCODER),
    }
    milliseconds = f"{settings.call_timeout_seconds * 1000:.0f}m"
    rest: dict[str, Any] = {
        "name": "rest",
        "match": {"prefix": "/"},
        "typed_per_filter_config": _without(GRPC_WEB) | {HEADER_MUTATION: without_grpc_trailers()},
        "request_body_buffer_limit": settings.body_limit_bytes,
        "request_headers_to_add": [set_header("grpc-timeout", milliseconds)],
        # Set by the transcoder.
        "request_headers_to_remove": ["x-envoy-original-path", "x-envoy-original-method"],
    }
    # The caller's `host` is not passed on: workers reject requests with an invalid authority (RFC 3986, section 3.2),
    # such as an empty one.
    way: dict[str, Any] = {
        "cluster": CLUSTER,
        "host_rewrite_literal": CLUSTER,
        "retry_policy": _retry_policy(settings),
    }
    # Otherwise the connection manager's idle timeout would apply.
    grpc_web["route"] = grpc["route"] = way | {"timeout": "0s", "idle_timeout": "0s"}
    streams = [] if settings.max_unary_calls is None else [*_streams(grpc_web), *_streams(grpc)]
    call_seconds = seconds(settings.call_timeout_seconds + settings.grace_seconds)
    # `timeout` begins when the request is complete, so the stream needs a limit, too. That ends when the response is
    # complete; reading it may take longer.
    rest["route"] = way | {"timeout": call_seconds, "max_stream_duration": {"max_stream_duration": call_seconds}}
    refused: dict[str, Any] = {
        "name": GRPC_ROUTE,
        "match": {"prefix": "/", "headers": [_content_type("application/grpc")]},
        "typed_per_filter_config": _without_filters() | _with(GRPC_WEB),
        "direct_response": {"status": ROWS[Reason.NO_SUCH_METHOD].http_status},
    }
    # Envoy joins several Host headers, which are an error (RFC 9112, section 3.2). No host's name has a comma.
    several_hosts: dict[str, Any] = {
        "name": "several-hosts",
        "match": {"prefix": "/", "headers": [_header(":authority", {"contains": ","})]},
        "typed_per_filter_config": _without_filters(),
        "direct_response": {"status": ROWS[Reason.SYNTAX].http_status},
    }
    hot = [route for endpoint in passed_on() for route in _passed_on(rest, endpoint, settings)]
    large = [_large_file(path, file, settings) for path, file in PAGES.items() if file.is_large]
    return [
        several_hosts,
        *_uploads(settings),
        *large,
        *streams,
        grpc_web,
        grpc,
        refused,
        *(hot if settings.passes_json else []),
        rest,
    ]


def _streams(calls: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes of streaming methods, derived from that of gRPC calls: the bound of unary calls is not theirs."""
    headers, route = calls["match"]["headers"], calls["route"] | {"priority": "HIGH"}
    return [
        calls | {"match": {"path": path, "headers": headers}, "route": route}
        for path in (*streaming_paths(), *STANDARD_STREAMS)
    ]


def _calls(*headers: dict[str, Any]) -> dict[str, Any]:
    """Matches valid paths of gRPC methods, with their query: Envoy's own path matchers ignore what follows a `?`."""
    return {"prefix": "/", "headers": [_header(":path", {"safe_regex": {"regex": _GRPC_PATH}}), *headers]}


def _uploads(settings: GatewaySettings) -> list[dict[str, Any]]:
    """The routes of uploads: nothing inspects or buffers them, and the batch process sets the time limit.

    One is for URLs that were issued recently, the other for all others, so that strangers cannot take members'
    capacity. Uploads are not retried: Envoy would have to buffer them.
    """
    receiver_seconds = settings.upload_seconds + UPLOAD_GRACE_SECONDS
    unmarked: dict[str, Any] = {
        "name": "unmarked-uploads",
        "match": {"prefix": UPLOAD_PATH},
        "typed_per_filter_config": _without_filters() | _with(UPLOADS_LUA),
        "route": {
            "cluster": UNMARKED_UPLOADS,
            "timeout": "0s",
            "idle_timeout": seconds(UPLOAD_SILENT_SECONDS + UPLOAD_GRACE_SECONDS),
            "max_stream_duration": {"max_stream_duration": seconds(receiver_seconds)},
        },
    }
    marked = unmarked | {
        "name": "uploads",
        "match": {"prefix": UPLOAD_PATH, "headers": [_header(MARKED_KEY, {"exact": MARKED})]},
        "route": unmarked["route"] | {"cluster": UPLOADS},
    }
    return [marked, unmarked]


def _large_file(path: str, file: ServedFile, settings: GatewaySettings) -> dict[str, Any]:
    """The route of a file that Envoy holds once, compressed. Methods that files do not support use other routes."""
    headers = HEADERS | {
        "content-encoding": "gzip",
        "content-security-policy": file.policy,
        "etag": file.etag,
    }
    return {
        "name": file_route(file.content_type),
        "match": {"path": path, "headers": [_header(":method", {"safe_regex": {"regex": "GET|HEAD"}})]},
        "typed_per_filter_config": _without_filters(),
        "direct_response": {
            "status": 200,
            "body": {"inline_bytes": base64.b64encode(file.gzip_body).decode()},
        },
        "response_headers_to_add": [set_header(key, value) for key, value in headers.items()],
    }


def _passed_on(rest: dict[str, Any], endpoint: Endpoint, settings: GatewaySettings) -> list[dict[str, Any]]:
    """The routes of REST calls whose bodies the service reads itself, and whose responses it writes.

    The route conditions replace the filters' checks: a token in the headers, no query, and no `content-length` over the
    limit. Other calls take the usual route, and are refused there or have their parameters or token in the query.
    Without `content-length`, a body may still turn out to be too long; then the refusal is reported. No header has the
    meaning that it has on a gRPC call, except those set here.
    """
    call = [
        _header(":method", {"exact": endpoint.http_method}),
        _header(":path", {"contains": "?"}) | {"invert_match": True},
        _header("authorization", {"safe_regex": {"regex": _NOT_BLANK}}),
    ]
    lengths = {"name": "content-length", "range_match": {"start": 0, "end": settings.body_limit_bytes + 1}}
    no_length = {"name": "content-length", "present_match": False}
    held = {BUFFER: buffer_override(settings.body_limit_bytes)}
    route = rest | {
        "name": "passed-on",
        "match": {"path": endpoint.path, "headers": [*call, lengths]},
        "typed_per_filter_config": _without(GRPC_WEB, LUA, TRANSCODER) | held,
        "request_headers_to_add": [
            *rest["request_headers_to_add"],
            set_header("content-type", PASSED_ON_TYPE),
        ],
        "response_headers_to_remove": [ERROR_ID_KEY],
        "route": rest["route"] | {"prefix_rewrite": endpoint.rpc_path},
    }
    unmeasured = route | {
        "match": {"path": endpoint.path, "headers": [*call, no_length]},
        "typed_per_filter_config": _without(GRPC_WEB, TRANSCODER) | held | {LUA: answers_alone()},
        "response_headers_to_remove": [],
    }
    return [route, unmeasured]
