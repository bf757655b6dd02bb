"""Starts, supervises and drains the whole service: the embedded cluster (without `--redis`), workers and gateway."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pydantic import SecretStr

from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.observation.metrics import WorkerMetrics
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.processes import (
    Child,
    PortInUseError,
    Program,
    StartError,
    Supervised,
    reserve_port,
)
from instantaudience_server.running import hosts
from instantaudience_server.running.envoys import Envoys
from instantaudience_server.running.first_catalog import FirstCatalog
from instantaudience_server.running.ground import keep_running, run_beside
from instantaudience_server.running.machine import standstill
from instantaudience_server.running.machine.open_files import make_room
from instantaudience_server.running.machine.standstill import Watched
from instantaudience_server.running.programs import Programs
from instantaudience_server.running.starting import listens, own_directory, wait_until
from instantaudience_server.settings import Durability, HostMode, Settings

if TYPE_CHECKING:
    from instantaudience_server.running.certificates.certificate_files import CertificateFiles

log = structlog.get_logger()

EXTRA_SECONDS = 2.0
"""How long a child may take to end after `drain_seconds`."""


class _Reached(NamedTuple):
    """A cluster that can be used: its URL, and whether its catalog is empty."""

    redis: SecretStr
    catalog_is_empty: bool


_Reaching = asyncio.Task[_Reached]


class Started(NamedTuple):
    """The result of a start.

    `metrics_port` is None where metrics are not served. `certificate_names` are the hosts that the server certificate
    is for, if there is one. With an empty catalog, there is no account to sign in with yet.
    """

    http_port: int
    grpc_port: int
    metrics_port: int | None
    certificate_names: Sequence[str]
    catalog_is_empty: bool


class Service:
    """The service's processes. `progress` gets a message for people at each step of the start."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self._starting: list[asyncio.Task[Any]] = []
        """The tasks that start workers; `stop` cancels them first."""
        self._servers: list[Supervised] = []
        self._envoys = Envoys()
        self._draining: int | None = None
        """The writing end of a pipe; workers turn NOT_SERVING when it is closed."""
        self._cluster: EmbeddedCluster | None = None
        """None with `--redis`."""
        self._watching: list[asyncio.Task[None]] = []
        """The tasks that watch processes, once all have started."""

    async def start(self) -> Started:
        """Start everything in order. When a part fails, stop those that have started.

        Raises:
            PortInUseError, CatalogError, EmbeddedClusterError, StoreUnusableError, StartError, OSError: the message
                says what to do.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain and stop: report not ready and wait for `drain_wait`, let the Envoys finish their calls, stop workers
        and gateway, and then the embedded cluster (docs/architecture.md, "Drain")."""
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

    async def _start(self) -> Started:
        settings = self._settings = make_room(self._settings)
        host = self._choose_host()
        http_port = _port_of(self._reserve(settings.http_port))
        grpc_port = _port_of(self._reserve(settings.grpc_port))
        metrics_socket = None if settings.metrics_port is None else self._reserve(settings.metrics_port)
        first_catalog = FirstCatalog(settings, self._progress)
        await first_catalog.read()
        directory = self._stack.enter_context(own_directory())
        metrics_directory = None if metrics_socket is None else directory / "metrics"
        metrics = WorkerMetrics(metrics_directory)
        self._stack.callback(metrics.close)
        certificates = None if settings.tls_cert is None else await self._open_certificates(directory, metrics)
        drain_fd, self._draining = os.pipe()
        self._stack.callback(os.close, drain_fd)
        programs = Programs(settings, host, directory, http_port, grpc_port, drain_fd, certificates, metrics)
        if metrics_socket is not None and metrics_directory is not None:
            await self._serve_metrics(programs, metrics_directory, metrics_socket)
        catalog_is_empty = await self._start_servers(programs, first_catalog)
        watches = (
            partial(standstill.watch, self._watched_servers),
            partial(standstill.watch, self._watched_nodes, standstill.NODE_SECONDS),
            self._envoys.watch,
        )
        self._watching = [asyncio.create_task(keep_running(watch, metrics.count_own_defects)) for watch in watches]
        metrics_port = None if metrics_socket is None else _port_of(metrics_socket)
        names = [] if certificates is None else certificates.names
        return Started(http_port, grpc_port, metrics_port, names, catalog_is_empty)

    async def _start_servers(self, programs: Programs, first_catalog: FirstCatalog) -> bool:
        """Start the cluster, the workers and the gateway; returns whether the catalog is empty."""
        settings = self._settings
        reaching = asyncio.create_task(self._reach_cluster(first_catalog))
        self._stack.push_async_callback(_end, reaching)
        self._progress(f"starting {settings.workers} workers")
        workers = [
            asyncio.create_task(self._start_worker(programs, number, reaching)) for number in range(settings.workers)
        ]
        batch_workers = [
            asyncio.create_task(self._start_batch_worker(programs, number, reaching))
            for number in range(settings.batch_workers)
        ]
        self._starting = [*workers, *batch_workers]
        await asyncio.gather(*self._starting)
        self._progress("starting the gateway")
        await self._envoys.await_ready(await self._run(programs.gateway()), programs.admin_socket)
        return (await reaching).catalog_is_empty

    def _watched_servers(self) -> list[Watched]:
        children = [server.child for server in self._servers]
        return [Watched(each.program.name, each.pid, each.kill) for each in children if each.returncode is None]

    def _watched_nodes(self) -> list[Watched]:
        children = [node.child for node in self._cluster.nodes] if self._cluster else []
        return [Watched(each.program.name, each.pid, each.go_on) for each in children if each.returncode is None]

    def _choose_host(self) -> HostMode:
        host, reason = hosts.choose(self._settings.host_mode)
        self._progress(f"host mode {host}: {reason}")
        log.info(Event.HOST_CHOSEN, host=host, reason=reason)
        return host

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

    async def _open_certificates(self, directory: Path, metrics: WorkerMetrics) -> "CertificateFiles":
        # Imported here: it imports what checks certificates, for which starts without TLS should not wait.
        from instantaudience_server.running.certificates.certificate_files import CertificateFiles

        certificates = CertificateFiles(self._settings, directory / "certificates")
        await certificates.open()
        run_beside(self._stack, certificates.keep, counting=metrics.count_own_defects)
        return certificates

    async def _serve_metrics(self, programs: Programs, directory: Path, reserved: socket.socket) -> None:
        # Accepted connections inherit this option: in TIME_WAIT, they do not keep the next start from binding the port.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.listen()
        await self._run(programs.metrics_server(reserved.fileno(), directory))

    async def _reach_cluster(self, first_catalog: FirstCatalog) -> _Reached:
        """Start the embedded cluster if there is no other, and import the first catalog."""
        redis = self._settings.redis or await self._start_cluster()
        return _Reached(redis, await first_catalog.put(redis))

    async def _start_cluster(self) -> SecretStr:
        self._progress(f"starting the embedded cluster in {self._settings.data_dir}")
        data_dir = self._settings.data_dir
        # With "everysec", each acknowledgement would wait for the next sync, up to a second.
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

    async def _start_worker(self, programs: Programs, number: int, reaching: _Reaching) -> None:
        """Start a worker behind the gateway."""
        config = partial(programs.worker_config, number, addresses=programs.addresses(number))
        worker = await self._run_worker(programs, programs.worker(number), number, config, reaching)
        await wait_until(worker.child, partial(listens, programs.worker_socket(number)))

    async def _start_batch_worker(self, programs: Programs, number: int, reaching: _Reaching) -> None:
        """Start a batch process."""
        path = programs.upload_sockets[number]
        among_all = self._settings.workers + number
        config = partial(programs.worker_config, among_all, addresses=[str(path)])
        worker = await self._run_worker(programs, programs.batch_worker(number), among_all, config, reaching)
        await wait_until(worker.child, partial(listens, path))

    async def _run_worker(
        self, programs: Programs, program: Program, number: int, config: Callable[[str], bytes], reaching: _Reaching
    ) -> Supervised:
        """Run a worker. It loads its code while the cluster starts, and gets its configuration once that has."""
        child = await Child.start(program, waits=True)
        try:
            await child.tell(config((await reaching).redis.get_secret_value()))
        except BaseException:
            child.kill()
            self._stack.push_async_callback(child.wait)  # not awaited here, where another failure would cancel it
            raise
        return self._supervise(child, partial(programs.worker_metrics.forget_gauges, number))

    async def _run(self, program: Program) -> Supervised:
        return self._supervise(await Child.start(program))

    def _supervise(self, child: Child, on_exit: Callable[[], None] | None = None) -> Supervised:
        server = Supervised(child, on_exit=on_exit)
        self._servers.append(server)
        return server


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _port_of(reserved: socket.socket) -> int:
    port: int = reserved.getsockname()[1]
    return port
