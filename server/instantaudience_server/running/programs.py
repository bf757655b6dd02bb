"""The programs of the service's processes: command lines, environments, and configurations."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from instantaudience_server.observation.metrics import WorkerMetrics
from instantaudience_server.process.processes import Program, bare
from instantaudience_server.running.envoys import envoy_command, gateway_settings
from instantaudience_server.running.ground import WorkerConfig
from instantaudience_server.running.metrics_server import MetricsConfig
from instantaudience_server.settings import HostMode, Settings

if TYPE_CHECKING:
    from instantaudience_server.running.certificates.certificate_files import CertificateFiles


UNARY_CALLS_AT_GRPCIO = 128
"""The most unary calls that each worker of the host grpcio may have at once. Refusing one costs Python half of what
serving it does, so the gateway refuses more of them. That many take 0.1 to 0.2 s, less than calls wait at most."""


@dataclass(frozen=True)
class Programs:
    """Makes the programs of a service from what its processes have in common.

    `host` is not `auto`. `directory` has the sockets and the files that processes share. `http_port` is the gateway's;
    `grpc_port` is that of native workers, or else the gateway's too. `drain_fd` is the reading end of a pipe that
    workers inherit: they turn NOT_SERVING when the other end is closed. `certificates` is None without TLS.
    """

    settings: Settings
    host: HostMode
    directory: Path
    http_port: int
    grpc_port: int
    drain_fd: int
    certificates: "CertificateFiles | None"
    worker_metrics: WorkerMetrics

    @property
    def admin_socket(self) -> Path:
        """The gateway's admin socket."""
        return self.directory / "envoy.sock"

    @property
    def upload_sockets(self) -> tuple[Path, ...]:
        """The sockets on which batch processes receive files."""
        return tuple(self.directory / f"batch-{number}.sock" for number in range(self.settings.batch_workers))

    def worker_socket(self, number: int) -> Path:
        """The socket on which a worker behind the gateway listens."""
        return self.directory / f"worker-{number}.sock"

    def addresses(self, number: int) -> Sequence[str]:
        """The addresses on which a worker behind the gateway takes calls, in gRPC's notation: its socket and, if it is
        native, the gRPC port."""
        addresses = [f"unix:{self.worker_socket(number)}"]
        if not self._gateway_has_both_ports:
            host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
            addresses.append(f"{host}:{self.grpc_port}")
        return addresses

    def worker(self, number: int) -> Program:
        """A worker behind the gateway."""
        return Program(
            f"worker-{number}",
            _module("worker"),
            env=os.environ | self.worker_metrics.environment(number),
            pass_fds=(self.drain_fd,),
        )

    def batch_worker(self, number: int) -> Program:
        """A batch process. Among all workers, it is numbered after those that serve calls."""
        env = os.environ | self.worker_metrics.environment(self.settings.workers + number)
        return Program(f"batch-{number}", _module("batch_worker"), env=env)

    def worker_config(self, number: int, redis: str, addresses: Sequence[str] = ()) -> bytes:
        """The configuration, for standard input, of the worker with this number among all workers. `redis` is the
        cluster's URL."""
        config = WorkerConfig(
            number=number,
            host=self.host,
            settings=self.settings,
            redis=redis,
            addresses=list(addresses),
            hashing_lock=self.directory / "hashing.lock",
            upload_marks=self._upload_marks,
            drain_fd=self.drain_fd,
            certificates=None if self.certificates is None else self.certificates.for_workers,
        )
        return config.model_dump_json().encode()

    def gateway(self) -> Program:
        """The gateway in front of the workers; writes Envoy's configuration."""
        gateway = gateway_settings(
            self.settings,
            self.admin_socket,
            http_port=self.http_port,
            grpc_port=self.grpc_port if self._gateway_has_both_ports else None,
            tls=None if self.certificates is None else self.certificates.for_gateway,
            upstream_sockets=tuple(map(self.worker_socket, range(self.settings.workers))),
            passes_json=self.host == "native",
            max_unary_calls=UNARY_CALLS_AT_GRPCIO * self.settings.workers if self.host == "grpcio" else None,
            upload_sockets=self.upload_sockets,
            upload_marks=self._upload_marks,
        )
        argv = envoy_command(self.directory / "envoy.json", gateway, concurrency=self.settings.workers)
        return Program("gateway", argv, bare(os.environ))

    def metrics_server(self, listening: int, directory: Path) -> Program:
        """The server of the metrics that workers write into `directory`. `listening` is the file descriptor of its
        socket."""
        config = MetricsConfig(
            listening=listening,
            directory=directory,
            admin_sockets={"0": self.admin_socket},
            certificates=None if self.certificates is None else self.certificates.for_workers,
            log_level=self.settings.log_level,
            log_format=self.settings.log_format,
        )
        stdin = config.model_dump_json().encode()
        return Program("metrics", _module("metrics_server"), bare(os.environ), stdin, pass_fds=(listening,))

    @property
    def _upload_marks(self) -> Path:
        """The file with the marks of upload URLs."""
        return self.directory / "upload-marks"

    @property
    def _gateway_has_both_ports(self) -> bool:
        """Whether the gateway serves the gRPC port too. With grpcio it has to, because a path that is not valid text
        ends grpcio's server, and because grpcio supports neither revocation lists nor optional client certificates."""
        return self.host != "native"


def _module(name: str) -> list[str]:
    """The command line that runs a module of this package (`__main__`)."""
    return [sys.executable, "-m", "instantaudience_server.running", name]
