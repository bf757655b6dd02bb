"""Which call goes which way, and how long it may take."""

from typing import Any

from instantaudience_gateway.contract.replies import GRPC_ROUTE
from instantaudience_gateway.envoy.filters import GRPC_WEB, LUA, TRANSCODER
from instantaudience_gateway.envoy.settings import CLUSTER, TYPES, GatewaySettings, seconds

_GRPC_PATH = "/[!-$&-~]*"
"""No method's path needs escapes, and pyvoy leaves a request unanswered whose path is not UTF-8 without them."""


def _retry_policy(settings: GatewaySettings) -> dict[str, Any]:
    """Retries what no server has seen, on another worker, as often as there are workers."""
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


def _content_type(prefix: str) -> dict[str, Any]:
    return {"name": "content-type", "string_match": {"prefix": prefix}}


def _without(*filters: str) -> dict[str, Any]:
    """A route's calls do not pass these filters; what is not made for each call costs nothing."""
    disabled = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    return dict.fromkeys(filters, disabled)


def routes(settings: GatewaySettings) -> list[dict[str, Any]]:
    """gRPC calls last as long as their callers want; REST calls have the service's deadline.

    A REST request that is not there by then is answered with 408. A call whose path cannot be a method's is taken for a
    REST one, which has no such path.
    """
    grpc: dict[str, Any] = {
        "name": GRPC_ROUTE,
        "match": {"safe_regex": {"regex": _GRPC_PATH}, "headers": [_content_type("application/grpc")]},
        "typed_per_filter_config": _without(GRPC_WEB, LUA, TRANSCODER),
    }
    # A prefix of the content type that `grpc` takes as well, so it stands first.
    grpc_web = grpc | {
        "match": {"safe_regex": {"regex": _GRPC_PATH}, "headers": [_content_type("application/grpc-web")]},
        "typed_per_filter_config": _without(LUA, TRANSCODER),
    }
    milliseconds = f"{settings.call_timeout_seconds * 1000:.0f}m"
    rest: dict[str, Any] = {
        "name": "rest",
        "match": {"prefix": "/"},
        "typed_per_filter_config": _without(GRPC_WEB),
        "request_body_buffer_limit": settings.body_limit_bytes,
        "request_headers_to_add": [
            {
                "header": {"key": "grpc-timeout", "value": milliseconds},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        # The transcoder's notes.
        "request_headers_to_remove": ["x-envoy-original-path", "x-envoy-original-method"],
    }
    way: dict[str, Any] = {"cluster": CLUSTER}
    if settings.application is None:
        way["retry_policy"] = _retry_policy(settings)
    # Without an idle timeout of their own, they would have the connection manager's.
    grpc_web["route"] = grpc["route"] = way | {"timeout": "0s", "idle_timeout": "0s"}
    call_seconds = seconds(settings.call_timeout_seconds + settings.grace_seconds)
    # The time for an answer begins when the request is there; so the stream needs a time of its own. It ends when the
    # answer is made: reading may take longer.
    rest["route"] = way | {"timeout": call_seconds, "max_stream_duration": {"max_stream_duration": call_seconds}}
    return [grpc_web, grpc, rest]
