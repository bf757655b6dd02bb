"""The service as users run it: `instant-audience serve` in a process of its own, on free ports."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from instantaudience_server.running.hosts import available
from redis.asyncio import RedisCluster

from support.cluster.nodes import on_node
from support.contract.model import UNLIMITED_DEMO
from support.waiting import eventually

HOST_MODES = available()
"""The hosts that everything is tested on (`--host-mode`): those that can run here."""

ON_ONE_HOST = pytest.mark.parametrize("host_mode", HOST_MODES[:1], indirect=True, scope="session")
"""For tests that do not depend on the host."""

COMMAND = [sys.executable, "-m", "instantaudience_server"]
PASSWORDS: dict[str, str] = {user["username"]: user["password"] for user in UNLIMITED_DEMO["users"]}
"""The passwords of the demo catalog, by user name."""

START_SECONDS = 100.0
END_SECONDS = 30.0
FORM = {"content-type": "application/x-www-form-urlencoded"}
"""The content type that `curl -d` sends, as partners do."""


def environment() -> dict[str, str]:
    """This process's environment, without settings of the service and its commands."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INSTANT_AUDIENCE_")}


@dataclass
class Service:
    """A running service. Its directory has `data`, `tmp` (its TMPDIR), `output` and `log` (stderr)."""

    process: asyncio.subprocess.Process
    directory: Path
    host_mode: str
    scheme: str = "http"
    """`https` if it has TLS."""
    http_address: str = ""
    grpc_address: str = ""
    metrics_url: str = ""
    """URL of its metrics; empty if it does not serve them."""
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The URL for REST callers."""
        return f"{self.scheme}://{self.http_address}"

    @property
    def output(self) -> str:
        """Its standard output so far."""
        return (self.directory / "output").read_text()

    @property
    def log(self) -> str:
        """Its log so far."""
        return (self.directory / "log").read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log events so far."""
        return [json.loads(line) for line in self.log.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]

    @property
    def temporary_files(self) -> list[Path]:
        """The files in its TMPDIR."""
        return list((self.directory / "tmp").iterdir())

    @property
    def node_ports(self) -> list[int]:
        """The ports of its embedded cluster."""
        (event,) = (event for event in self.events if event["event"] == "embedded_cluster_started")
        ports: list[int] = event["ports"]
        return ports

    def http(self, port: str = "gateway", **options: Any) -> httpx.AsyncClient:
        """A REST client: of the `gateway`, or over HTTP/2 `direct` of the workers."""
        url = self.url
        if port == "direct":
            url, options = f"{self.scheme}://{self.grpc_address}", {"http1": False, "http2": True} | options
        # Loading the CA certificates for HTTPS takes longer than a call.
        return httpx.AsyncClient(base_url=url, timeout=20, verify=False, trust_env=False, **options)

    def channel(self, port: str, *options: tuple[str, Any]) -> grpc.aio.Channel:
        """A gRPC channel: through the `gateway`, or `direct` to the workers."""
        return grpc.aio.insecure_channel({"gateway": self.http_address, "direct": self.grpc_address}[port], options)

    def cluster(self) -> RedisCluster:
        """A redis-py client of the cluster."""
        return RedisCluster(host="127.0.0.1", port=self.node_ports[0], protocol=2, password=self._password)

    async def on_node(self, port: int, *words: Any) -> Any:
        """Send a command to one node of its embedded cluster."""
        return await on_node(port, *words, password=self._password)

    @property
    def _password(self) -> str:
        """The password of its embedded cluster."""
        return (self.directory / "data" / "password").read_text()

    async def token(self, username: str = "demo") -> str:
        """An account's token, obtained once: an account may sign in 10 times in 5 minutes."""
        if username not in self._tokens:
            self._tokens[username] = await self.sign_in(username)
        return self._tokens[username]

    async def sign_in(self, username: str, password: str | None = None) -> str:
        """Another token of an account, by default with the password in `credentials`. Repeated if a busy machine has no
        time to check passwords, for as long as it may take to start a service."""
        async with self.http() as http:

            async def had_time() -> httpx.Response:
                answer = await http.post("/auth", json=credentials(username, password))
                assert answer.status_code != 503, answer.text
                return answer

            answer: httpx.Response = await eventually(had_time, START_SECONDS)
        assert answer.is_success, answer.text
        return str(answer.json()["response"]["token"])

    def forget_tokens(self) -> None:
        """Make accounts sign in again, which creates sessions on other slots."""
        self._tokens.clear()

    async def refused(self, token: str) -> None:
        """Wait until every worker rejects a token: they cache sessions for a second."""

        async def by_all() -> None:
            for _ in range(10):  # workers share the connections
                async with self.http(headers={"authorization": token}) as http:
                    assert (await http.get("/segment")).status_code == 401

        await eventually(by_all)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        async with asyncio.timeout(END_SECONDS):
            return await self.process.wait()


def credentials(username: str, password: str | None = None) -> dict[str, Any]:
    """The body of `POST /auth`; by default with the right password."""
    return {"auth": {"username": username, "password": password or PASSWORDS[username]}}


@asynccontextmanager
async def new_directory() -> AsyncIterator[Path]:
    """A directory for services, with a path that is short enough for unix sockets."""
    directory = Path(tempfile.mkdtemp(prefix="ia-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def starting_service(
    directory: Path,
    *arguments: str,
    host_mode: str = HOST_MODES[0],
    catalog: str | None = None,
    command: Sequence[str] | None = None,
) -> AsyncIterator[Service]:
    """Start a service without waiting until it is ready; it is stopped at the end, whatever its state.

    Unless given otherwise (`--demo`, `--catalog=…`, "" for none), its catalog is the demo catalog without limits on
    members' calls.
    """
    (directory / "tmp").mkdir(exist_ok=True)
    if catalog is None:
        catalog = f"--catalog={directory / 'catalog.yaml'}"
        (directory / "catalog.yaml").write_text(json.dumps(UNLIMITED_DEMO))
    words = [
        *(command or COMMAND),
        "serve",
        *filter(None, [catalog]),
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--data-dir",
        str(directory / "data"),
    ]
    words += ["--host-mode", host_mode]
    with (directory / "output").open("wb") as output, (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *words,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            env=os.environ | {"TMPDIR": str(directory / "tmp")},
            start_new_session=True,
        )
    service = Service(process, directory, host_mode)
    try:
        yield service
    finally:
        try:
            if process.returncode is None:
                await service.stop()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@asynccontextmanager
async def running_service(*arguments: str, directory: Path | None = None, **options: Any) -> AsyncIterator[Service]:
    """Run a service, and wait until it accepts calls; by default in a directory of its own."""
    async with contextlib.AsyncExitStack() as stack:
        directory = directory or await stack.enter_async_context(new_directory())
        service = await stack.enter_async_context(starting_service(directory, *arguments, **options))
        async with asyncio.timeout(START_SECONDS):
            while "Try it:" not in service.output:
                assert service.process.returncode is None, service.log
                await asyncio.sleep(0.02)
        words = service.output.split()
        service.scheme, _, service.http_address = words[words.index("gRPC:") + 1].partition("://")
        service.grpc_address = words[words.index("gRPC:", words.index("gRPC:") + 1) + 1]
        if "Metrics:" in words:
            service.metrics_url = words[words.index("Metrics:") + 1]
        yield service
