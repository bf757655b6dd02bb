"""The environment of clients' conformance tests, in any language: a live service, and a proxy in front of it that
causes faults.

Their addresses and credentials are passed in environment variables, which `clients/conformance/README.md` describes.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from instantaudience.v1 import catalog_pb2
from instantaudience_server.process.processes import free_ports

from support.clients import legacy
from support.clients.fault_proxy import HOST, FaultProxy
from support.credentials.authorities import HOUR, Authority
from support.credentials.key_pairs import private_pem, public_pem
from support.service.running import PASSWORDS, Service, new_directory, running_service

CASES = Path(__file__).parents[3] / "clients" / "conformance"
"""The directory of the test cases."""
KEY = "ES256#conformance"
KEY_NAME = "conformance"
USERNAME = "demo"
REFUSED = ("expired", "revoked", "stranger")
"""Certificates that the service with TLS rejects."""
_ADD_KEY = "/instantaudience.v1.CatalogService/AddPublicKey"


@asynccontextmanager
async def surroundings(host_mode: str) -> AsyncIterator[dict[str, str]]:
    """Run a service on a host and a proxy; yields the environment variables for the tests."""
    (page_port,) = free_ports(HOST, 1)
    page_origin = f"http://{HOST}:{page_port}"
    async with (
        new_directory() as directory,
        running_service(
            *("--allowed-origins", page_origin),
            host_mode=host_mode,
            directory=directory,
            catalog=f"--catalog={_catalog(directory)}",
        ) as service,
        FaultProxy(service.http_address).serving() as proxy,
        _tls(directory, service) as tls,
    ):
        token = await service.token(USERNAME)
        await _add_key(service, token)
        key_file = directory / "key.pem"
        key_file.write_text(private_pem(KEY))
        yield {
            "INSTANT_AUDIENCE_HOST": host_mode,
            "INSTANT_AUDIENCE_URL": service.url,
            "INSTANT_AUDIENCE_GRPC": service.http_address,
            "INSTANT_AUDIENCE_PAGE_ORIGIN": page_origin,
            "INSTANT_AUDIENCE_FAULTS": proxy.address,
            "INSTANT_AUDIENCE_FAULTS_CONTROL": proxy.control_url,
            "INSTANT_AUDIENCE_USERNAME": USERNAME,
            "INSTANT_AUDIENCE_PASSWORD": PASSWORDS[USERNAME],
            "INSTANT_AUDIENCE_TOKEN": token,
            "INSTANT_AUDIENCE_KEY_NAME": KEY_NAME,
            "INSTANT_AUDIENCE_KEY_FILE": str(key_file),
            "INSTANT_AUDIENCE_LEGACY_PASSWORD": legacy.PASSWORD,
            "INSTANT_AUDIENCE_LEGACY_SEGMENTS": str(legacy.SEGMENTS),
            **tls,
        }


def _catalog(directory: Path) -> Path:
    """The demo catalog, with the objects that the original platform's clients need."""
    file = directory / "catalog.json"
    file.write_text(json.dumps(legacy.catalog()))
    return file


@asynccontextmanager
async def _tls(directory: Path, service: Service) -> AsyncIterator[dict[str, str]]:
    """Run a second service with TLS, on the same cluster and files."""
    authority = Authority(directory, "conformance-ca")
    server, client, revoked = (
        authority.sign("server", address=HOST),
        authority.sign("client"),
        authority.sign("revoked"),
    )
    authority.sign("expired", lifetime=-HOUR)
    Authority(directory, "stranger-ca").sign("stranger")
    revocations = directory / "revoked.crl"
    authority.revoke(revocations, revoked)
    settings = {
        "redis": f"redis://:{(directory / 'data/password').read_text()}@{HOST}:{service.node_ports[0]}",
        "batch_store": f"file:{directory / 'data/batch-files'}",
        "tls_cert": str(server.cert),
        "tls_key": str(server.key),
        "client_ca": str(authority.file),
        "client_crl": str(revocations),
    }
    file = directory / "tls.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    words = ("--config", str(file), "--workers", "1")
    async with running_service(*words, host_mode=service.host_mode, catalog="") as secured:
        yield {
            "INSTANT_AUDIENCE_TLS": secured.http_address,
            "INSTANT_AUDIENCE_TLS_ROOTS": str(authority.file),
            "INSTANT_AUDIENCE_TLS_CERT": str(client.cert),
            "INSTANT_AUDIENCE_TLS_KEY": str(client.key),
            "INSTANT_AUDIENCE_TLS_REFUSED": " ".join(str(directory / name) for name in REFUSED),
        }


async def _add_key(service: Service, token: str) -> None:
    request = catalog_pb2.AddPublicKeyRequest(name=KEY_NAME, pem=public_pem(KEY))
    async with service.channel("gateway") as channel:
        add = channel.unary_unary(_ADD_KEY, catalog_pb2.AddPublicKeyRequest.SerializeToString)
        await add(request, metadata=(("authorization", token),))


def cases() -> list[dict[str, object]]:
    """All cases, each with `file`, the name of the file that it is from."""
    return [
        {"file": path.stem} | case
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
    ]
