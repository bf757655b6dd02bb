"""CORS: which origins' pages may call from browsers, over REST and gRPC-Web (source: https://fetch.spec.whatwg.org/#cors)."""

from collections.abc import Sequence
from typing import Any

from instantaudience_server.transport.status import ERROR_ID_KEY, PUSHBACK_KEY, STATUS_DETAILS_KEY, TRACE_PARENT_KEY

from instantaudience_gateway.envoy.settings import TYPES

CORS = "envoy.filters.http.cors"
_METHODS = ("GET", "POST", "PUT", "DELETE")
_REQUEST_HEADERS = (
    *("authorization", "content-type", "grpc-timeout", TRACE_PARENT_KEY),
    *("x-grpc-web", "x-request-id", "x-user-agent"),
)
_ANSWER_HEADERS = (
    *("grpc-status", "grpc-message", STATUS_DETAILS_KEY, PUSHBACK_KEY, ERROR_ID_KEY),
    *("retry-after", "x-ratelimit-code", "x-ratelimit-count", "x-request-id"),
)
_KEPT_SECONDS = 600
"""How long browsers may cache the answer to a preflight request."""


def cors_filter() -> dict[str, Any]:
    """The filter that answers preflight requests, and sets the CORS headers of responses."""
    return {"name": CORS, "typed_config": {"@type": f"{TYPES}.filters.http.cors.v3.Cors"}}


def cors_policy(origins: Sequence[str]) -> dict[str, Any]:
    """Allows pages of these origins to call, with a token in a header: cookies are for the service's own pages only."""
    return {
        "@type": f"{TYPES}.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in origins],
        "allow_methods": ", ".join(_METHODS),
        "allow_headers": ", ".join(_REQUEST_HEADERS),
        "expose_headers": ", ".join(_ANSWER_HEADERS),
        "max_age": str(_KEPT_SECONDS),
        "allow_credentials": False,
    }
