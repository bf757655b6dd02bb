"""What the gateway logs of requests: those that no worker has answered, and, where an access log is wanted, all.

Lines are JSON on standard error, as the service's own are. They hold neither queries, which may have a token or a user
ID, nor the paths of uploads, which are secret.
"""

from typing import Any

from instantaudience_gateway.envoy.settings import TYPES, GatewaySettings

UNANSWERED = ("UH", "UF", "UO", "UC", "URX", "UT", "SI", "OM")
"""Envoy's flags for: no worker is there, no connection, too many calls under way, the connection was lost, no try was
left, too slow, idle for too long, out of memory
(https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage)."""

_FIELDS = {
    "http_method": "%REQ(:METHOD)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}
_TIME = "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%"


def access_log(settings: GatewaySettings) -> list[dict[str, Any]]:
    """The loggers of the connection manager."""
    unanswered = _logger("gateway_call_failed", "warning", {"response_flag_filter": {"flags": list(UNANSWERED)}})
    return [unanswered, *([_logger("gateway_call_answered", "info")] if settings.access_log else ())]


def _logger(event: str, level: str, which: dict[str, Any] | None = None) -> dict[str, Any]:
    line = {"event": event, "level": level, "time": _TIME, **_FIELDS}
    return {
        "name": "envoy.access_loggers.stderr",
        "typed_config": {
            "@type": f"{TYPES}.access_loggers.stream.v3.StderrAccessLog",
            "log_format": {"json_format": line},
        },
    } | ({} if which is None else {"filter": which})
