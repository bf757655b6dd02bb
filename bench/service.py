"""The service under test, in its own processes."""

import asyncio
import re
import secrets
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from support.credentials.authorities import Authority

from bench.load import Address
from bench.workload import USERNAME, write_catalog

HOST = "127.0.0.1"
GATEWAY, WORKERS = "gateway", "workers"
PORTS = (GATEWAY, WORKERS)
PASSWORD = f"Bench-1-{secrets.token_hex()}"
"""The password of all accounts: services that share a cluster share its catalog, which has the passwords of the first.
"""


@dataclass(frozen=True, slots=True)
class Service:
    """The addresses of a service under test, its accounts' password, its main process and, with TLS, the CA file."""

    http: Address
    grpc: Address
    token: str
    password: str
    pid: int
    ca: Path | None = None

    def address(self, port: str) -> Address:
        """The address of one of its ports."""
        return self.http if port == GATEWAY else self.grpc


def ports(call: str, host_mode: str) -> tuple[str, ...]:
    """The ports on which calls of this kind are measured: gRPC on the workers', REST on the gateway's and, over HTTP/2
    where workers take it, too, then on theirs."""
    if call in ("unary", "stream"):
        return (WORKERS,)
    return PORTS if call == "rest" and host_mode == "native" else (GATEWAY,)


@asynccontextmanager
async def running_service(
    host_mode: str,
    redis: str,
    directory: Path,
    usernames: Sequence[str] = (USERNAME,),
    *,
    arguments: Sequence[str] = (),
    authority: Authority | None = None,
    write: Callable[[Path, str, Sequence[str]], None] = write_catalog,
) -> AsyncIterator[Service]:
    """Run the service on free ports, with its own catalog; the first of its accounts has signed in.

    With an authority, it has TLS.
    """
    catalog_file = directory / f"{host_mode}.yaml"
    write(catalog_file, PASSWORD, usernames)
    argv = [sys.executable, "-m", "instantaudience_server", "serve", "--host-mode", host_mode, "--redis", redis]
    argv += ["--http-port", "0", "--grpc-port", "0", "--catalog", str(catalog_file), *arguments]
    ca = authority and authority.file
    if authority is not None:
        signed = authority.sign("service", address=HOST)
        argv += ["--tls-cert", str(signed.cert), "--tls-key", str(signed.key)]
    async with running(argv, directory / f"{host_mode}.log") as (http, grpc, pid):
        yield Service(http, grpc, await signed_in(http, usernames[0], PASSWORD, ca), PASSWORD, pid, ca)


@asynccontextmanager
async def running(argv: Sequence[str], log: Path) -> AsyncIterator[tuple[Address, Address, int]]:
    """Run a server that prints its HTTP and gRPC addresses on two lines; yields these and its process ID."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        http = _address(await process.stdout.readline(), log)
        grpc = _address(await process.stdout.readline(), log)
        yield http, grpc, process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def signed_in(http: Address, username: str, password: str, ca: Path | None = None) -> str:
    """A token of this account; with a CA file, over TLS."""
    scheme, verify = ("https", ssl.create_default_context(cafile=ca)) if ca else ("http", False)
    async with httpx.AsyncClient(base_url=f"{scheme}://{http[0]}:{http[1]}", verify=verify) as client:
        answer = await client.post("/auth", json={"auth": {"username": username, "password": password}})
    return str(answer.raise_for_status().json()["response"]["token"])


def _address(line: bytes, log: Path) -> Address:
    found = re.search(r"([\d.]+):(\d+)$", line.decode().strip())
    if found is None:
        sys.exit(f"it did not start:\n{log.read_text()}")
    return found[1], int(found[2])
