"""The gateway's log of requests: those that no worker has answered, which are also counted, and, with the access log,
all.

Lines are JSON on standard error, like the service's. The paths in them are those of methods alone: other paths may hold
anything, those of uploads are secret, and queries may have a token or a user ID.
"""

from typing import Any

from instantaudience_gateway.envoy.settings import STAT_PREFIX, TYPES, GatewaySettings

UNANSWERED = ("UH", "UF", "UO", "UC", "URX", "UT", "SI", "OM")
"""Envoy's response flags for: no healthy worker, connection failure, too many calls, connection lost, retries
exhausted, timeout, idle timeout, out of memory
(https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage)."""

_UNANSWERED = "unanswered"
UNANSWERED_STAT = f"{STAT_PREFIX}.{_UNANSWERED}"
"""The statistic that counts them."""

_OF_REST = {
    "http_method": "%DYNAMIC_METADATA(instantaudience:verb)%",
    "path": "%DYNAMIC_METADATA(instantaudience:path)%",
}
"""Method and path as noted by `contract.lua`: a transcoded REST call is logged as the gRPC call that it has become,
without its gRPC status, and Envoy would derive a different one from the HTTP status."""
_METHODS = r"/(instantaudience|instantaudience\.rest|grpc\.health)\.v1\.[A-Za-z]+/[A-Za-z]+(\?.*)?"
"""Paths of methods over gRPC, and what looks like one: letters are neither a token nor a user ID."""
_OF_OTHERS = {"http_method": "%REQ(:METHOD)%", "grpc_status": "%GRPC_STATUS%"}
_OF_METHODS = {**_OF_OTHERS, "path": "%PATH(NQ:PATH)%"}
_FIELDS = {
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "milliseconds": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}
_TIME = "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%"


def access_log(settings: GatewaySettings) -> list[dict[str, Any]]:
    """The access loggers of the connection manager."""
    unanswered = {"response_flag_filter": {"flags": list(UNANSWERED)}}
    counter = {
        "name": "envoy.access_loggers.stats",
        "filter": unanswered,
        "typed_config": {
            "@type": f"{TYPES}.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": STAT_PREFIX},
            "counters": [{"stat": {"name": _UNANSWERED}, "value_fixed": 1}],
        },
    }
    loggers = [counter, *_loggers("gateway_call_failed", "warning", unanswered)]
    return [*loggers, *(_loggers("gateway_call_answered", "info") if settings.access_log else ())]


def _loggers(event: str, level: str, *which: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": "envoy.access_loggers.stderr",
            "filter": _all_of(*which, *kind),
            "typed_config": {
                "@type": f"{TYPES}.access_loggers.stream.v3.StderrAccessLog",
                "log_format": {"json_format": {"event": event, "level": level, "time": _TIME, **fields, **_FIELDS}},
            },
        }
        for kind, fields in (
            ([_passed_on(is_rest=True)], _OF_REST),
            ([_passed_on(is_rest=False), _of_method(is_one=True)], _OF_METHODS),
            ([_passed_on(is_rest=False), _of_method(is_one=False)], _OF_OTHERS),
        )
    ]


def _all_of(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": filters}} if len(filters) > 1 else filters[0]


def _passed_on(*, is_rest: bool) -> dict[str, Any]:
    """A filter for transcoded REST calls or, unless `is_rest`, for all others."""
    value: dict[str, Any] = {"present_match": True} if is_rest else {"null_match": {}}  # which no verb is
    matcher = {"filter": "instantaudience", "path": [{"key": "verb"}], "value": value}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": not is_rest}}


def _of_method(*, is_one: bool) -> dict[str, Any]:
    """A filter for calls over gRPC of methods or, unless `is_one`, for all other requests."""
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": _METHODS}}}
    return {"header_filter": {"header": {**path, "invert_match": not is_one}}}
