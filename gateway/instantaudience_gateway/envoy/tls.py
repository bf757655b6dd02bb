"""TLS on the public ports. Envoy reloads certificates when their files are replaced (file-based SDS).

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from pathlib import Path
from typing import Any

from instantaudience_server.transport.status import CERTIFICATE_KEY

from instantaudience_gateway.contract.replies import set_header
from instantaudience_gateway.envoy.settings import TYPES, GatewayTls, seconds

_TLS = f"{TYPES}.transport_sockets.tls.v3"
_SERVER, _CLIENTS = "server", "clients"
HANDSHAKE_SECONDS = 10.0
"""Time limit of a handshake."""


def filter_chain(tls: GatewayTls | None) -> dict[str, Any]:
    """The TLS part of a listener's filter chain."""
    if tls is None:
        return {}
    common: dict[str, Any] = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [_from_file(_SERVER, tls.server)],
    }
    anew: dict[str, Any] = {}
    if tls.clients is not None:
        common["validation_context_sds_secret_config"] = _from_file(_CLIENTS, tls.clients)
        # A resumed session would carry over its certificate, and nobody would notice that it has expired meanwhile.
        anew = {"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TLS}.DownstreamTlsContext",
                "common_tls_context": common,
                "require_client_certificate": tls.clients is not None and tls.clients_required,
                **anew,
            },
        },
        "transport_socket_connect_timeout": seconds(HANDSHAKE_SECONDS),
    }


def certificate_names(tls: GatewayTls | None) -> dict[str, Any]:
    """The header mutation that sets the names in the caller's certificate, replacing what the caller sent."""
    if tls is None or tls.clients is None:
        return {"remove": CERTIFICATE_KEY}
    return {"append": set_header(CERTIFICATE_KEY, "uri=%DOWNSTREAM_PEER_URI_SAN% dns=%DOWNSTREAM_PEER_DNS_SAN%")}


def _from_file(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "sds_config": {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}}


def server_secret(chain: str, key: str) -> dict[str, Any]:
    """The content of the file `GatewayTls.server`, from PEM texts."""
    certificate = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    return _file({"name": _SERVER, "tls_certificate": certificate})


def clients_secret(ca: str, crl: str | None) -> dict[str, Any]:
    """The content of the file `GatewayTls.clients`, from PEM texts."""
    context: dict[str, Any] = {"trusted_ca": {"inline_string": ca}}
    if crl is not None:
        context |= {"crl": {"inline_string": crl}, "only_verify_leaf_cert_crl": True}
    return _file({"name": _CLIENTS, "validation_context": context})


def _file(secret: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_TLS}.Secret", **secret}]}
