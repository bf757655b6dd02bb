"""Envoy's bootstrap configuration: one port for REST and gRPC in front of the workers' unix sockets.

REST calls pass the Lua filter (`contract.lua`) and the transcoder; gRPC calls pass neither and are never buffered.
Option names and meanings: Envoy's v3 API reference, https://www.envoyproxy.io/docs/envoy/latest/api-v3/api.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.replies import GRPC_ROUTE, local_replies
from instantaudience_gateway.contract.script import TRANSCODER_ERROR, contract_script
from instantaudience_gateway.envoy import in_process

STAT_PREFIX = "ingress"
"""Of the statistics of the public port: `http.ingress.…`."""

CLUSTER = "workers"

_GRPC_PATH = "/[!-$&-~]*"
"""No method's path needs escapes, and pyvoy leaves a request unanswered whose path is not UTF-8 without them."""

_TYPES = "type.googleapis.com/envoy.extensions"
_HTTP_FILTERS = f"{_TYPES}.filters.http"
_GRPC_WEB = "envoy.filters.http.grpc_web"
_LUA = "envoy.filters.http.lua"
_TRANSCODER = "envoy.filters.http.grpc_json_transcoder"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway's configuration depends on.

    The service is behind the gateway, in workers that listen on `upstream_sockets`, or inside it: then `application` is
    the ASGI application that pyvoy runs in this Envoy (`module:attribute`), `upstream_sockets` is empty, and
    `grpc_port` is a second port to serve (workers behind a gateway have one of their own). `admin_socket` is where
    Envoy's admin interface listens, open to the owner alone. `call_timeout_seconds` is the deadline that REST calls get
    (`grpc-timeout` to the server); the gateway itself gives up `grace_seconds` later. `request_seconds` is how long a
    REST request may take in all, slow senders included. `connection_seconds` is the age at which a connection is asked
    to end (GOAWAY, `Connection: close`), so that the load of long-lived ones spreads over workers that share a port.
    `max_connections` and `max_active_calls` bound memory: a connection past the first is refused, a call past the
    second answered with 503.
    """

    http_host: str
    http_port: int
    admin_socket: Path
    upstream_sockets: tuple[Path, ...] = ()
    application: str | None = None
    grpc_port: int | None = None
    body_limit_bytes: int = 1_048_576
    answer_limit_bytes: int = 64 * 1_048_576
    call_timeout_seconds: float = 10.0
    grace_seconds: float = 1.0
    request_seconds: float = 60.0
    connection_seconds: float = 60.0
    max_connections: int = 10_000
    max_active_calls: int = 20_000


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _grpc_web() -> dict[str, Any]:
    return {
        "name": _GRPC_WEB,
        "typed_config": {"@type": f"{_HTTP_FILTERS}.grpc_web.v3.GrpcWeb"},
    }


def _lua() -> dict[str, Any]:
    return {
        "name": _LUA,
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.lua.v3.Lua",
            "default_source_code": {"inline_string": contract_script()},
            "clear_route_cache": False,
        },
    }


def _transcoder(settings: GatewaySettings) -> dict[str, Any]:
    services = list(dict.fromkeys(endpoint.service for endpoint in descriptor.endpoints()))
    return {
        "name": _TRANSCODER,
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor_bin": base64.b64encode(descriptor.descriptor_set().SerializeToString()).decode(),
            "services": services,
            # The route stays the REST one: only it has a timeout.
            "match_incoming_request_route": True,
            "print_options": {"preserve_proto_field_names": True, "always_print_primitive_fields": True},
            "query_param_unescape_plus": True,
            "request_validation_options": {"reject_unknown_method": True},
            # Gives gRPC errors a body, which the Lua filter then rewrites; it could not add one after trailers.
            "convert_grpc_status": True,
            "max_request_body_size": settings.body_limit_bytes,
            "max_response_body_size": settings.answer_limit_bytes,
        },
    }


def _service(settings: GatewaySettings) -> dict[str, Any]:
    """The last filter: the service itself, or the way to it."""
    if settings.application is None:
        return _router()
    return {
        "name": "service",
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"module": {"local": {"filename": str(in_process.module_path())}}},
            "filter_name": "pyvoy",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": json.dumps(
                    {"app": settings.application, "interface": "asgi", "root_path": "", "lifespan": True}
                ),
            },
            "terminal_filter": True,
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_HTTP_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
    }


def _retry_policy(settings: GatewaySettings) -> dict[str, Any]:
    """Retries what no server has seen, on another worker, as often as there are workers."""
    return {
        "retry_on": "connect-failure,refused-stream",
        "num_retries": len(settings.upstream_sockets),
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_TYPES}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
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


def _routes(settings: GatewaySettings) -> list[dict[str, Any]]:
    """gRPC calls last as long as their callers want; REST calls have the service's deadline.

    A call whose path cannot be a method's is taken for a REST one, which has no such path.
    """
    grpc: dict[str, Any] = {
        "name": GRPC_ROUTE,
        "match": {"safe_regex": {"regex": _GRPC_PATH}, "headers": [_content_type("application/grpc")]},
        "typed_per_filter_config": _without(_GRPC_WEB, _LUA, _TRANSCODER),
    }
    # A prefix of the content type that `grpc` takes as well, so it stands first.
    grpc_web = grpc | {
        "match": {"safe_regex": {"regex": _GRPC_PATH}, "headers": [_content_type("application/grpc-web")]},
        "typed_per_filter_config": _without(_LUA, _TRANSCODER),
    }
    milliseconds = f"{settings.call_timeout_seconds * 1000:.0f}m"
    rest: dict[str, Any] = {
        "name": "rest",
        "match": {"prefix": "/"},
        "typed_per_filter_config": _without(_GRPC_WEB),
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
    if settings.application is not None:
        return [route | {"non_forwarding_action": {}} for route in (grpc_web, grpc, rest)]
    retries = _retry_policy(settings)
    grpc_web["route"] = grpc["route"] = {
        "cluster": CLUSTER,
        "timeout": "0s",
        "idle_timeout": "0s",
        "retry_policy": retries,
    }
    rest["route"] = {
        "cluster": CLUSTER,
        "timeout": _seconds(settings.call_timeout_seconds + settings.grace_seconds),
        "max_stream_duration": {"max_stream_duration": _seconds(settings.request_seconds)},
        "retry_policy": retries,
    }
    return [grpc_web, grpc, rest]


def _connection_manager(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "http_filters": [_grpc_web(), _lua(), _transcoder(settings), _service(settings)],
        "route_config": {
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": _routes(settings)}],
        },
        "local_reply_config": local_replies(settings.body_limit_bytes, TRANSCODER_ERROR),
        "use_remote_address": True,
        # No caller may steer the gateway with x-envoy-… headers, not even one from a private network.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": False,
        "merge_slashes": False,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": _seconds(settings.request_seconds),
        "max_request_headers_kb": 60,
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_connection_duration": _seconds(settings.connection_seconds),
            "max_headers_count": 100,
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 1000,
            # A request that HTTP/2 does not allow ends, and its neighbours on the connection go on.
            "override_stream_error_on_invalid_http_message": True,
            "initial_stream_window_size": 1_048_576,
            "initial_connection_window_size": 16 * 1_048_576,
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        },
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "name": "public",
        "address": _address(settings.http_host, settings.http_port),
        "additional_addresses": (
            [] if settings.grpc_port is None else [{"address": _address(settings.http_host, settings.grpc_port)}]
        ),
        "enable_reuse_port": True,
        # A gRPC message of the greatest length and its prefix fit; REST bodies have the limit of their route.
        "per_connection_buffer_limit_bytes": 2 * settings.body_limit_bytes,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": _connection_manager(settings),
                    }
                ]
            }
        ],
    }


def _cluster(settings: GatewaySettings) -> dict[str, Any]:
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    http_options = f"{_TYPES}.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, settings.max_active_calls)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": http_options,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
                        for socket in settings.upstream_sockets
                    ]
                }
            ],
        },
    }


def build_config(settings: GatewaySettings) -> dict[str, Any]:
    """Envoy's bootstrap, to be written as JSON to the file that `command` names.

    Raises ValueError when the API has something that the gateway cannot present as REST.
    """
    monitor = f"{_TYPES}.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return {
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(settings)],
            "clusters": [] if settings.application else [_cluster(settings)],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {"@type": monitor, "max_active_downstream_connections": settings.max_connections},
                }
            ]
        },
    }


def command(binary: Path, config: Path, *, concurrency: int) -> list[str]:
    """Envoy's command line, with `concurrency` worker threads. It logs warnings and worse, to stderr."""
    options = {"-c": config, "--concurrency": concurrency, "--log-level": "warn"}
    return [str(binary), "--disable-hot-restart", *(str(word) for option in options.items() for word in option)]
