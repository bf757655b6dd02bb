"""Envoy's bootstrap configuration: one port for REST and gRPC, in front of the workers' unix sockets.

REST calls pass the Lua filter (`contract.lua`) and the transcoder; gRPC calls pass neither and are never buffered.
Options are described in Envoy's v3 API reference, https://www.envoyproxy.io/docs/envoy/latest/api-v3/api.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instantaudience_server.settings import GATEWAY_BYTES, UPLOAD_SILENT_SECONDS

from instantaudience_gateway.contract.replies import local_replies
from instantaudience_gateway.envoy import request_ids
from instantaudience_gateway.envoy.access_log import access_log
from instantaudience_gateway.envoy.cors import CORS, cors_policy
from instantaudience_gateway.envoy.filters import http_filters
from instantaudience_gateway.envoy.routes import MOST_FILE_BYTES, routes
from instantaudience_gateway.envoy.settings import (
    CLUSTER,
    STAT_PREFIX,
    TYPES,
    UNMARKED_UPLOADS,
    UPLOADS,
    GatewaySettings,
    seconds,
)
from instantaudience_gateway.envoy.tls import certificate_names, filter_chain

KEPT_BYTES = 48 * 2**20
"""How much memory Envoy keeps, including free memory, before it returns free memory at once."""
RELEASED_BYTES = 64 * 2**20
"""How much free memory Envoy returns per second."""

MOST_UPLOADS = 1000
"""Maximum number of concurrent uploads in an Envoy; more are refused."""
MOST_UNMARKED_UPLOADS = 100
"""The same for uploads whose URLs are not known to have been issued recently."""
STREAM_BYTES = 2**18
"""Buffer for a call on its way to a worker, beyond the caller's window, and for the response. Envoy's default of 16 MB
would queue half a million requests of a stream whose member may send a hundred per second."""
UPLOAD_BUFFER_BYTES = 2**18
"""Buffer for an upload on its way to the receiver."""
RUNTIME = {"http.max_requests_per_io_cycle": 1}
"""Handle one request of an HTTP/2 connection per event loop cycle, so that other connections get their turn. With two
already, neighbours of a flood of large calls lose some of theirs (docs/performance.md)."""
LOOK_BYTES = 65_536
"""How much is read from a connection before others get their turn."""
ACCEPTED_AT_ONCE = 4
"""How many connections a thread accepts before existing ones get their turn."""

LOG_FLUSH_MS = 500
"""How long log lines may be buffered; Envoy's default of 10 s is too long for debugging."""


def _connection_manager(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "http_filters": http_filters(settings),
        "route_config": {
            "name": "routes",
            "max_direct_response_body_size_bytes": MOST_FILE_BYTES,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes(settings)} | _cors(settings)],
        },
        "access_log": access_log(settings),
        "local_reply_config": local_replies(settings.body_limit_bytes),
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_hops,
        # No caller may control the gateway with x-envoy-… headers, not even one from a private network.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": f"{TYPES}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [*request_ids.own_or_new(), certificate_names(settings.tls)],
                },
            }
        ],
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": False,
        "merge_slashes": False,
        "request_headers_timeout": seconds(settings.headers_seconds),
        "stream_idle_timeout": seconds(settings.idle_seconds),
        "max_request_headers_kb": -(-settings.max_header_bytes // 1024),
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_connection_duration": seconds(settings.connection_seconds),
            # Those who have come together do not come back together (gRPC proposal A9).
            "max_connection_duration_jitter": {"value": 10},
            "max_headers_count": 100,
        },
        # Methods that Envoy does not know are answered with 400 over HTTP/1.1. The option to accept them,
        # allow_custom_methods, is not covered by Envoy's threat model.
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            # A request that is refused with 400 does not close its connection, but input that is not HTTP does.
            "override_stream_error_on_invalid_http_message": True,
            # An upgrade offer is not an error (RFC 9110, section 7.8): Apache's HttpClient for Java, 5.4 and newer,
            # offers TLS on plain-text connections.
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": ".*"}}],
        },
        "http2_protocol_options": {
            "max_concurrent_streams": settings.max_streams,
            # An invalid HTTP/2 request is reset without affecting others on the connection.
            "override_stream_error_on_invalid_http_message": True,
            "initial_stream_window_size": 1_048_576,
            "initial_connection_window_size": 16 * 1_048_576,
            # A connection may be silent for as long as an upload on it: mobile networks stall for a while.
            "connection_keepalive": {"interval": "30s", "timeout": seconds(UPLOAD_SILENT_SECONDS)},
        },
    }


def _cors(settings: GatewaySettings) -> dict[str, Any]:
    policy = cors_policy(settings.allowed_origins)
    return {"typed_per_filter_config": {CORS: policy}} if settings.allowed_origins else {}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listening(settings: GatewaySettings, port: int) -> dict[str, Any]:
    """As on the native host and grpcio, `::` accepts IPv4 callers, too."""
    address = _address(settings.http_host, port)
    address["socket_address"]["ipv4_compat"] = settings.http_host == "::"
    return address


def _listener(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "name": "public",
        "address": _listening(settings, settings.http_port),
        "additional_addresses": (
            [] if settings.grpc_port is None else [{"address": _listening(settings, settings.grpc_port)}]
        ),
        "enable_reuse_port": True,
        "max_connections_to_accept_per_socket_event": ACCEPTED_AT_ONCE,
        # For request bodies, routes have larger limits.
        "per_connection_buffer_limit_bytes": LOOK_BYTES,
        "filter_chains": [
            filter_chain(settings.tls)
            | {
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
    """The cluster of workers. Streams have the priority `HIGH` (`routes.py`), and a bound of their own."""
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    most = dict.fromkeys(bounds, settings.max_active_calls)
    unary = most if settings.max_unary_calls is None else most | {"max_requests": settings.max_unary_calls}
    http_options = f"{TYPES}.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [unary, most | {"priority": "HIGH"}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": http_options,
                # Calls of different callers share these connections. When many callers leave at once, Envoy would take
                # its own resets for a flood, and close the connection.
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "max_outbound_control_frames": 2 * settings.max_active_calls,
                        "initial_stream_window_size": STREAM_BYTES,
                    }
                },
            }
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": _endpoints(settings.upstream_sockets),
        },
    }


def _upload_cluster(name: str, most: int, settings: GatewaySettings) -> dict[str, Any]:
    """A cluster of batch processes. With HTTP/1.1, each upload has its own connection and flow control."""
    bounds = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": UPLOAD_BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, most)]},
        "load_assignment": {"cluster_name": name, "endpoints": _endpoints(settings.upload_sockets)},
    }


def _endpoints(sockets: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in sockets]}]


def _memory() -> dict[str, Any]:
    """How tcmalloc returns memory: slowly below a limit, at once above it.

    Without the limit, it would keep the memory of a flood for minutes.
    """
    return {
        "bytes_to_release": RELEASED_BYTES,
        "memory_release_interval": "1s",
        "soft_memory_limit_bytes": KEPT_BYTES,
    }


def _overload(settings: GatewaySettings) -> dict[str, Any]:
    """The last resort against overload, without regard to members: limits on connections and on memory in use."""
    heap = "envoy.resource_monitors.fixed_heap"
    monitors = f"{TYPES}.resource_monitors"
    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": settings.max_connections,
                },
            },
            {
                "name": heap,
                "typed_config": {
                    "@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": settings.heap_bytes or GATEWAY_BYTES,
                },
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": heap, "threshold": {"value": 1.0}}],
            }
        ],
    }


def build_config(settings: GatewaySettings) -> dict[str, Any]:
    """Envoy's bootstrap configuration, to be written as JSON to the file that `command` names.

    Raises:
        ValueError: the API has something that the gateway cannot present as REST.
    """
    return {
        "node": {"id": "gateway", "cluster": CLUSTER},  # certificates from files need it
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(settings)],
            "clusters": [
                _cluster(settings),
                _upload_cluster(UPLOADS, MOST_UPLOADS, settings),
                _upload_cluster(UNMARKED_UPLOADS, MOST_UNMARKED_UPLOADS, settings),
            ],
        },
        "memory_allocator_manager": _memory(),
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": RUNTIME}]},
    }


def command(binary: Path, config: Path, *, concurrency: int) -> list[str]:
    """Envoy's command line, with `concurrency` worker threads. It logs warnings and errors to stderr."""
    flush = {"--file-flush-interval-msec": LOG_FLUSH_MS}
    options = {"-c": config, "--concurrency": concurrency, "--log-level": "warn", **flush}
    return [str(binary), "--disable-hot-restart", *(str(word) for option in options.items() for word in option)]
