"""Runs the whole service: the embedded cluster if there is no other, the workers and the gateway; drains at the end."""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from instantaudience_gateway.envoy import in_process
from instantaudience_gateway.envoy.settings import GatewaySettings
from pydantic import SecretStr

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.metrics import WorkerMetrics
from instantaudience_server.processes import Child, PortInUseError, Program, StartError, Supervised, bare, reserve_port
from instantaudience_server.running import hosts, standstill
from instantaudience_server.running.certificate_files import CertificateFiles
from instantaudience_server.running.envoys import Envoys, admin_sockets, envoy_command, gateway_settings
from instantaudience_server.running.first_catalog import FirstCatalog
from instantaudience_server.running.ground import WorkerConfig, keep_running, run_beside
from instantaudience_server.running.metrics_server import MetricsConfig
from instantaudience_server.running.open_files import make_room
from instantaudience_server.running.standstill import Watched
from instantaudience_server.running.starting import listens, own_directory, wait_until
from instantaudience_server.settings import Durability, HostMode, Settings
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

EXTRA_SECONDS = 2.0
"""What a child gets beyond the drain to end in."""

Redis = asyncio.Task[SecretStr]
"""The cluster's address, once it is there, with a catalog."""


class Service:
    """The service's processes. `progress` is told each step of the start, for people."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self._starting: list[asyncio.Task[Any]] = []
        """What starts workers: nobody is started any more when they are stopped."""
        self._servers: list[Supervised] = []
        self._envoys = Envoys()
        self._admin_sockets: dict[str, Path] = {}
        """The Envoys', by their label in the metrics."""
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
        self._cluster: EmbeddedCluster | None = None
        """None: there is another one."""
        self._watching: list[asyncio.Task[None]] = []
        """What looks after processes that stand still, once all have started."""
        self.catalog_is_empty = False
        """Whether there is not even an account to sign in with; valid once started."""

    @property
    def certificate_names(self) -> list[str]:
        """The hosts that the certificate is for, if there is one; valid once started."""
        return [] if self._certificates is None else self._certificates.names

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
        if self._watching:
            await self._envoys.retire()
            await asyncio.sleep(self._settings.drain_wait)
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*map(_end, self._starting))
        await self._envoys.drain(self._settings.drain_seconds)
        grace_seconds = self._settings.drain_seconds + EXTRA_SECONDS
        await asyncio.gather(*(server.stop(grace_seconds) for server in self._servers))
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self._settings = make_room(self._settings)
        self._choose_host()
        self.http_port = _port_of(self._reserve(settings.http_port))
        self.grpc_port = _port_of(self._reserve(settings.grpc_port))
        metrics_socket = None if settings.metrics_port is None else self._reserve(settings.metrics_port)
        first_catalog = FirstCatalog(settings, self._progress)
        await first_catalog.read()
        directory = own_directory()
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if settings.tls_cert is not None:
            await self._open_certificates(directory / "certificates")
        self._drain_fd, self._draining = os.pipe()
        self._stack.callback(os.close, self._drain_fd)
        in_envoy = self._host == "envoy"
        self._admin_sockets = admin_sockets(directory, settings.workers if in_envoy else 0)
        if metrics_socket is not None:
            await self._serve_metrics(directory / "metrics", metrics_socket)
        redis = asyncio.create_task(self._reach_cluster(first_catalog))
        self._stack.push_async_callback(_end, redis)
        self._progress(f"starting {settings.workers} workers")
        start = self._start_envoy_worker if in_envoy else self._start_worker
        workers = [asyncio.create_task(start(directory, number, redis)) for number in range(settings.workers)]
        batch_workers = [
            asyncio.create_task(self._start_batch_worker(directory, number, redis))
            for number in range(settings.batch_workers)
        ]
        self._starting = [*workers, *batch_workers]
        sockets, _ = await asyncio.gather(asyncio.gather(*workers), asyncio.gather(*batch_workers))
        if not in_envoy:
            self._progress("starting the gateway")
            await self._start_gateway(directory, tuple(sockets))
        watches = (
            partial(standstill.watch, self._watched_servers),
            partial(standstill.watch, self._watched_nodes, standstill.NODE_SECONDS),
        )
        self._watching = [asyncio.create_task(keep_running(watch)) for watch in watches]

    def _watched_servers(self) -> list[Watched]:
        children = [server.child for server in self._servers]
        return [Watched(each.program.name, each.pid, each.kill) for each in children if each.returncode is None]

    def _watched_nodes(self) -> list[Watched]:
        children = [node.child for node in self._cluster.nodes] if self._cluster else []
        return [Watched(each.program.name, each.pid, each.go_on) for each in children if each.returncode is None]

    def _choose_host(self) -> None:
        self._host, reason = hosts.choose(self._settings.host_mode)
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
        self._certificates = CertificateFiles(self._settings, directory, calls_itself=self._host == "envoy")
        await self._certificates.open()
        run_beside(self._stack, self._certificates.keep)

    async def _serve_metrics(self, directory: Path, reserved: socket.socket) -> None:
        """Have the workers write their metrics into the directory, which is made, and serve them."""
        self._worker_metrics, self.metrics_port = WorkerMetrics(directory), _port_of(reserved)
        # The connections that it takes have it too: in TIME_WAIT, they do not keep the port from our next start.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.listen()
        config = MetricsConfig(
            listening=reserved.fileno(),
            directory=directory,
            admin_sockets=self._admin_sockets,
            certificates=None if self._certificates is None else self._certificates.for_workers,
            log_level=self._settings.log_level,
            log_format=self._settings.log_format,
        )
        argv = [sys.executable, "-m", "instantaudience_server.running.metrics_server"]
        stdin = config.model_dump_json().encode()
        await self._run(Program("metrics", argv, bare(os.environ), stdin, pass_fds=(reserved.fileno(),)))

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
        self._cluster = cluster
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
        await wait_until(await self._run_worker(program, directory, number, redis, addresses), partial(listens, path))
        return path

    async def _start_envoy_worker(self, directory: Path, number: int, redis: Redis) -> Path:
        """Start a worker inside Envoy; returns its admin socket."""
        admin_socket = self._admin_sockets[str(number)]
        gateway = replace(
            self._gateway_settings(directory, admin_socket),
            application="instantaudience_server.running.envoy_worker:app",
        )
        program = Program(
            f"worker-{number}",
            envoy_command(directory / f"envoy-{number}.json", gateway, concurrency=1),
            env=in_process.environment() | self._worker_metrics.environment(number),
            pass_fds=(self._drain_fd,),
            cwd=directory,  # pyvoy puts it first on the module path
        )
        await self._envoys.await_ready(await self._run_worker(program, directory, number, redis), admin_socket)
        return admin_socket

    async def _start_batch_worker(self, directory: Path, number: int, redis: Redis) -> None:
        """Start a process that receives files and applies them."""
        path = _batch_sockets(directory, self._settings)[number]
        name = self._settings.workers + number
        program = Program(
            f"batch-{number}",
            [sys.executable, "-m", "instantaudience_server.running.batch_worker"],
            env=os.environ | self._worker_metrics.environment(name),
        )
        await wait_until(await self._run_worker(program, directory, name, redis, [str(path)]), partial(listens, path))

    async def _run_worker(
        self, program: Program, directory: Path, number: int, redis: Redis, addresses: Sequence[str] = ()
    ) -> Child:
        """Run a worker. It reads its code while the cluster starts, and its configuration once that is there."""
        child = await Child.start(program, waits=True)
        try:
            await child.tell(self._worker_config(directory, number, await redis, addresses))
        except BaseException:
            child.kill()
            self._stack.push_async_callback(child.wait)  # not here, where others' failures would end it
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
            upload_marks=_upload_marks(directory),
            drain_fd=self._drain_fd,
            certificates=None if self._certificates is None else self._certificates.for_workers,
        )
        return config.model_dump_json().encode()

    @property
    def _gateway_has_both_ports(self) -> bool:
        """grpcio knows neither lists of what is revoked, nor certificates that need not be there."""
        return self._host == "envoy" or (self._host == "grpcio" and self._certificates is not None)

    def _gateway_settings(self, directory: Path, admin_socket: Path) -> GatewaySettings:
        return gateway_settings(
            self._settings,
            admin_socket,
            http_port=self.http_port,
            grpc_port=self.grpc_port if self._gateway_has_both_ports else None,
            tls=None if self._certificates is None else self._certificates.for_gateway,
            upload_sockets=_batch_sockets(directory, self._settings),
            upload_marks=_upload_marks(directory),
        )

    async def _start_gateway(self, directory: Path, sockets: tuple[Path, ...]) -> None:
        (admin_socket,) = self._admin_sockets.values()
        gateway = replace(
            self._gateway_settings(directory, admin_socket),
            upstream_sockets=sockets,
            passes_json=self._host == "native",
        )
        argv = envoy_command(directory / "envoy.json", gateway, concurrency=self._settings.workers)
        await self._envoys.await_ready(await self._run(Program("gateway", argv, bare(os.environ))), admin_socket)

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


def _upload_marks(directory: Path) -> Path:
    """Where the marks of upload URLs are."""
    return directory / "upload-marks"


def _port_of(reserved: socket.socket) -> int:
    port: int = reserved.getsockname()[1]
    return port
