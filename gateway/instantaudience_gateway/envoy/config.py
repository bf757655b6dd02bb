"""Envoy's bootstrap configuration: one port for REST and gRPC in front of the workers' unix sockets.

REST calls pass the Lua filter (`contract.lua`) and the transcoder; gRPC calls pass neither and are never buffered.
Option names and meanings: Envoy's v3 API reference, https://www.envoyproxy.io/docs/envoy/latest/api-v3/api.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instantaudience_server.settings import GATEWAY_BYTES, LOOPBACK, UPLOAD_SILENT_SECONDS

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
from instantaudience_gateway.envoy.tls import certificate_names, filter_chain, own_port

KEPT_BYTES = 48 * 2**20
KEPT_BYTES_WITH_SERVICE = 80 * 2**20
"""What Envoy keeps of the memory that it does not need, together with what it needs."""
BYTES_WITH_SERVICE = 2**30
"""What may be in use in an Envoy with the service inside before it takes no more calls: it has its catalog there."""
RELEASED_BYTES = 64 * 2**20
"""What it gives back in a second."""

MOST_UPLOADS = 1000
"""Uploads under way in an Envoy; more are refused."""
MOST_UNMARKED_UPLOADS = 100
"""Of which nobody can tell yet that they are for a URL that was handed out."""
STREAM_BYTES = 2**18
"""What a call may have on its way to a worker beside its caller's window, and its answer on the way back. In the 16 MB
that Envoy has by itself, half a million requests of a stream wait whose member may send a hundred a second."""
UPLOAD_BUFFER_BYTES = 2**18
"""What an upload may have in Envoy on its way to who receives it."""
RUNTIME = {"http.max_requests_per_io_cycle": 1}
"""One request of an HTTP/2 connection at a time, between which other connections have their turn."""
LOOK_BYTES = 65_536
"""What is read of a connection before others have their turn."""
ACCEPTED_AT_ONCE = 4
"""New connections that a thread takes before those it has get their turn."""

LOG_FLUSH_MS = 500
"""How long lines about requests may wait to be written together; Envoy's own 10 s are long for who looks for one."""


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
        # No caller may steer the gateway with x-envoy-… headers, not even one from a private network.
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
            "max_headers_count": 100,
        },
        # Methods that Envoy does not know are 400 over HTTP/1.1. What has it take them, allow_custom_methods, is not in
        # its threat model.
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": "localhost",
            # A request that is refused with 400 does not end its connection; one that is no HTTP does.
            "override_stream_error_on_invalid_http_message": True,
            # An offer to change the protocol is no fault (RFC 9110, section 7.8): Apache's HttpClient for Java, 5.4 and
            # newer, offers TLS where it speaks plain HTTP.
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": ".*"}}],
        },
        "http2_protocol_options": {
            "max_concurrent_streams": settings.max_streams,
            # A request that HTTP/2 does not allow ends, and its neighbours on the connection go on.
            "override_stream_error_on_invalid_http_message": True,
            "initial_stream_window_size": 1_048_576,
            "initial_connection_window_size": 16 * 1_048_576,
            # A connection may be silent for as long as an upload on it: networks of phones stand still for a while.
            "connection_keepalive": {"interval": "30s", "timeout": seconds(UPLOAD_SILENT_SECONDS)},
        },
    }


def _cors(settings: GatewaySettings) -> dict[str, Any]:
    policy = cors_policy(settings.allowed_origins)
    return {"typed_per_filter_config": {CORS: policy}} if settings.allowed_origins else {}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listening(settings: GatewaySettings, port: int) -> dict[str, Any]:
    """`::` takes callers of IPv4, too, as it does on the native host and on grpcio."""
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
        # Of a request's body more is held, as its route has it.
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
    """The way to the workers. Where the service is inside, it leads to the port itself, for what is told it."""
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    http_options = f"{TYPES}.upstreams.http.v3.HttpProtocolOptions"
    return (own_port(settings.tls) if settings.application is not None else {}) | {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, settings.max_active_calls)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": http_options,
                # Calls of different callers share these connections. Where many callers leave at once, Envoy would
                # take the resets that it sends itself for a flood, and break the connection.
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
            "endpoints": _endpoints(_upstreams(settings)),
        },
    }


def _upload_cluster(name: str, most: int, settings: GatewaySettings) -> dict[str, Any]:
    """The way to those who receive files; with HTTP/1.1, each upload has a connection of its own, and flow control."""
    bounds = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": UPLOAD_BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, most)]},
        "load_assignment": {"cluster_name": name, "endpoints": _endpoints(_pipes(settings.upload_sockets))},
    }


def _upstreams(settings: GatewaySettings) -> list[dict[str, Any]]:
    if settings.application is None:
        return _pipes(settings.upstream_sockets)
    return [_address(LOOPBACK.get(settings.http_host, settings.http_host), settings.http_port)]


def _pipes(sockets: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"pipe": {"path": str(path)}} for path in sockets]


def _endpoints(addresses: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}]


def _memory(settings: GatewaySettings) -> dict[str, Any]:
    """How tcmalloc gives memory back: slowly what is free, and at once what is free above a limit.

    Without the limit, it keeps what a flood took for minutes, in case another one comes.
    """
    kept_bytes = KEPT_BYTES if settings.application is None else KEPT_BYTES_WITH_SERVICE
    return {
        "bytes_to_release": RELEASED_BYTES,
        "memory_release_interval": "1s",
        "soft_memory_limit_bytes": kept_bytes,
    }


def _heap_bytes(settings: GatewaySettings) -> int:
    if settings.heap_bytes is not None:
        return settings.heap_bytes
    return GATEWAY_BYTES if settings.application is None else BYTES_WITH_SERVICE


def _overload(settings: GatewaySettings) -> dict[str, Any]:
    """The last lines of defence, which know no member: connections, and memory in use."""
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
                    "max_heap_size_bytes": _heap_bytes(settings),
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
    """Envoy's bootstrap, to be written as JSON to the file that `command` names.

    Raises ValueError when the API has something that the gateway cannot present as REST.
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
        "memory_allocator_manager": _memory(settings),
        "overload_manager": _overload(settings),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": RUNTIME}]},
    }


def command(binary: Path, config: Path, *, concurrency: int) -> list[str]:
    """Envoy's command line, with `concurrency` worker threads. It logs warnings and worse, to stderr."""
    flush = {"--file-flush-interval-msec": LOG_FLUSH_MS}
    options = {"-c": config, "--concurrency": concurrency, "--log-level": "warn", **flush}
    return [str(binary), "--disable-hot-restart", *(str(word) for option in options.items() for word in option)]
