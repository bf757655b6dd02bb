"""The HTTP filters: CORS, gRPC-Web, the contract (Lua), and the transcoder or a buffer."""

import base64
from functools import partial
from typing import Any

from instantaudience_server.transport.status import ADDRESS_KEY, BODY_BYTES_KEY, START_KEY

from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.replies import set_header
from instantaudience_gateway.contract.script import contract_script
from instantaudience_gateway.contract.uploads import uploads_script
from instantaudience_gateway.envoy import request_ids
from instantaudience_gateway.envoy.cors import cors_filter
from instantaudience_gateway.envoy.settings import CLUSTER, TYPES, GatewaySettings

_HTTP_FILTERS = f"{TYPES}.filters.http"
HEADER_MUTATION = "envoy.filters.http.header_mutation"
GRPC_WEB = "envoy.filters.http.grpc_web"
LUA = "envoy.filters.http.lua"
UPLOADS_LUA = "uploads"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
BUFFER = "envoy.filters.http.buffer"
_ANSWERS_ALONE = "answers-alone"


def http_filters(settings: GatewaySettings) -> list[dict[str, Any]]:
    """The filters, in the order in which a request passes them."""
    buffer = [_buffer(settings)] if settings.passes_json else []
    cors = [cors_filter()] if settings.allowed_origins else []
    contract = [_lua(settings), _transcoder(settings)]
    return [_arrival(), *cors, _grpc_web(), _uploads(settings), *contract, *buffer, _router()]


def buffer_override(most_bytes: int) -> dict[str, Any]:
    """Enables the buffer on a route, up to this size."""
    return {
        "@type": f"{_HTTP_FILTERS}.buffer.v3.BufferPerRoute",
        "buffer": {"max_request_bytes": most_bytes},
    }


def without_grpc_trailers() -> dict[str, Any]:
    """For a route with transcoded responses: their HTTP status already says how the call ended. Another trailer takes
    the place of gRPC's: over HTTP/2, Envoy never times out a caller who does not read a response whose trailers are
    present but empty."""
    mutations = [
        {"remove": "grpc-status"},
        {"remove": "grpc-message"},
        {"append": set_header(request_ids.HEADER, f"%REQ({request_ids.HEADER})%")},
    ]
    return {
        "@type": f"{_HTTP_FILTERS}.header_mutation.v3.HeaderMutationPerRoute",
        "mutations": {"response_trailers_mutations": mutations},
    }


def _arrival() -> dict[str, Any]:
    """Sets the time of arrival and the caller's address, replacing what the caller sent, and removes the body size,
    which later filters measure."""
    noted = {START_KEY: "%START_TIME(%s.%3f)%", ADDRESS_KEY: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return {
        "name": HEADER_MUTATION,
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.header_mutation.v3.HeaderMutation",
            "mutations": {
                "request_mutations": [
                    {"remove": BODY_BYTES_KEY},
                    *({"append": set_header(key, value)} for key, value in noted.items()),
                ]
            },
        },
    }


def _grpc_web() -> dict[str, Any]:
    return {
        "name": GRPC_WEB,
        "typed_config": {"@type": f"{_HTTP_FILTERS}.grpc_web.v3.GrpcWeb"},
    }


def _script(source: str) -> dict[str, Any]:
    return {
        "@type": f"{_HTTP_FILTERS}.lua.v3.Lua",
        "default_source_code": {"inline_string": source},
        "clear_route_cache": False,
    }


def _uploads(settings: GatewaySettings) -> dict[str, Any]:
    """Marks uploads whose URL was issued recently; the route is then chosen again, by the mark."""
    return {
        "name": UPLOADS_LUA,
        "disabled": True,
        "typed_config": _script(uploads_script(settings.upload_marks)) | {"clear_route_cache": True},
    }


def answers_alone() -> dict[str, Any]:
    """For routes whose requests the service reads itself: only Envoy's own refusals are processed, and reported."""
    return {"@type": f"{_HTTP_FILTERS}.lua.v3.LuaPerRoute", "name": _ANSWERS_ALONE}


def _lua(settings: GatewaySettings) -> dict[str, Any]:
    script = partial(contract_script, settings.body_limit_bytes, settings.call_timeout_seconds, CLUSTER)
    watching = {_ANSWERS_ALONE: {"inline_string": script(answers_alone=True)}} if settings.passes_json else {}
    return {
        "name": LUA,
        "typed_config": _script(script()) | {"source_codes": watching},
    }


def _transcoder(settings: GatewaySettings) -> dict[str, Any]:
    descriptors = descriptor.descriptor_set().SerializeToString()
    return {
        "name": TRANSCODER,
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor_bin": base64.b64encode(descriptors).decode(),
            "services": list(dict.fromkeys(endpoint.service for endpoint in descriptor.endpoints())),
            # Keys are the descriptor's JSON names.
            "print_options": {"always_print_primitive_fields": True},
            "query_param_unescape_plus": True,
            # Gives gRPC errors a body, which the Lua filter rewrites; it could not add one after trailers.
            "convert_grpc_status": True,
            # Keep the route that was chosen for the JSON: only it has a timeout.
            "match_incoming_request_route": True,
            "request_validation_options": {"reject_unknown_method": True},
            "max_request_body_size": settings.body_limit_bytes,
            "max_response_body_size": settings.answer_limit_bytes,
        },
    }


def _buffer(settings: GatewaySettings) -> dict[str, Any]:
    """Buffers bodies until they are complete, on routes that enable it: slow senders occupy only Envoy."""
    return {
        "name": BUFFER,
        "disabled": True,
        "typed_config": {
            "@type": f"{_HTTP_FILTERS}.buffer.v3.Buffer",
            "max_request_bytes": settings.body_limit_bytes,
        },
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_HTTP_FILTERS}.router.v3.Router", "suppress_envoy_headers": True},
    }
