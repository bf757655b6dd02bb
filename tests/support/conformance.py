"""What the tests of a client in any language run against: a live service, and a proxy in front of it that does wrong.

Where these are, and who may call, goes into the environment; `clients/conformance/README.md` describes it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from instantaudience.v1 import catalog_pb2
from instantaudience_server.processes import free_ports
from support import legacy
from support.authorities import Authority
from support.fault_proxy import HOST, FaultProxy
from support.key_pairs import private_pem, public_pem
from support.service import PASSWORDS, Service, new_directory, running_service
from support.tls import tls_terminated

CASES = Path(__file__).parents[2] / "clients" / "conformance"
"""Where the cases are."""
KEY = "ES256#conformance"
KEY_NAME = "conformance"
USERNAME = "demo"
_ADD_KEY = "/instantaudience.v1.CatalogService/AddPublicKey"


@asynccontextmanager
async def surroundings(host_mode: str) -> AsyncIterator[dict[str, str]]:
    """A service on a host and a proxy, running; what clients' tests find in their environment."""
    tls_port, page_port = free_ports(HOST, 2)
    page_origin = f"http://{HOST}:{page_port}"
    async with (
        new_directory() as directory,
        running_service(
            *("--connect", "--allowed-origins", page_origin),
            host_mode=host_mode,
            directory=directory,
            catalog=f"--catalog={_catalog(directory)}",
        ) as service,
        FaultProxy(service.http_address).serving() as proxy,
        _tls(directory, tls_port, service) as tls,
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
    """The demo catalog's objects, and those of the original platform's clients."""
    file = directory / "catalog.json"
    file.write_text(json.dumps(legacy.catalog()))
    return file


@asynccontextmanager
async def _tls(directory: Path, port: int, service: Service) -> AsyncIterator[dict[str, str]]:
    """The service behind TLS, for those who have a certificate of the authority that vouches for it."""
    authority = Authority(directory, "conformance-ca")
    server, client = authority.sign("server", address=HOST), authority.sign("client")
    target = int(service.http_address.rpartition(":")[2])
    async with tls_terminated(port, target, server.cert, server.key, client_ca=authority.file):
        yield {
            "INSTANT_AUDIENCE_TLS": f"{HOST}:{port}",
            "INSTANT_AUDIENCE_TLS_ROOTS": str(authority.file),
            "INSTANT_AUDIENCE_TLS_CERT": str(client.cert),
            "INSTANT_AUDIENCE_TLS_KEY": str(client.key),
        }


async def _add_key(service: Service, token: str) -> None:
    request = catalog_pb2.AddPublicKeyRequest(name=KEY_NAME, pem=public_pem(KEY))
    async with service.channel("gateway") as channel:
        add = channel.unary_unary(_ADD_KEY, catalog_pb2.AddPublicKeyRequest.SerializeToString)
        await add(request, metadata=(("authorization", token),))


def cases() -> list[dict[str, object]]:
    """All cases, each with `file`, the name of where it stands."""
    return [
        {"file": path.stem} | case
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
    ]
