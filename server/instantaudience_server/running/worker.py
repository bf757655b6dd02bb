"""The main module of a worker behind the gateway, with the host `native` or `grpcio`; the supervisor starts it."""

import asyncio
import contextlib
from functools import partial
from pathlib import Path

import structlog
from instantaudience_gateway.contract.json_forms import json_forms

from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.processes import StartError
from instantaudience_server.running.certificates.certificate_copies import Certificates, follow
from instantaudience_server.running.certificates.certificates import authorities_in
from instantaudience_server.running.composition import Worker, open_worker
from instantaudience_server.running.ground import WorkerConfig, asked_to_stop, run, run_beside
from instantaudience_server.settings import BODY_LIMIT_BYTES, MESSAGE_LIMIT_BYTES, MOST_HEADER_BYTES
from instantaudience_server.transport.hosts.grpcio import GrpcioHost
from instantaudience_server.transport.hosts.native import NativeHost

log = structlog.get_logger()


async def serve(config: WorkerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises:
        StoreUnusableError, StartError: as `open_worker`, or `_secure`.
    """
    async with open_worker(config) as worker, contextlib.AsyncExitStack() as stack:
        stop = asked_to_stop()
        host = _open_host(config, worker)
        if config.certificates is not None and isinstance(host, NativeHost):
            await _secure(host, config.certificates, stack)
        await host.start()
        log.info(Event.WORKER_READY, worker=config.number)
        await stop.wait()
        worker.status.drain()
        await host.drain(config.settings.drain_seconds)


def _open_host(config: WorkerConfig, worker: Worker) -> NativeHost | GrpcioHost:
    settings = config.settings
    if config.host == "grpcio":
        return GrpcioHost(
            worker.methods,
            worker.pipeline,
            config.addresses,
            message_limit_bytes=MESSAGE_LIMIT_BYTES,
            call_timeout_seconds=settings.call_timeout_seconds,
        )
    return NativeHost(
        worker.methods,
        worker.pipeline,
        config.addresses,
        message_limit_bytes=MESSAGE_LIMIT_BYTES,
        call_timeout_seconds=settings.call_timeout_seconds,
        max_connections=settings.max_connections,
        max_connections_of_address=settings.max_connections_of_address,
        max_streams=settings.max_streams,
        max_header_bytes=min(settings.max_header_bytes, MOST_HEADER_BYTES),
        json_forms=json_forms(BODY_LIMIT_BYTES),
    )


async def _secure(host: NativeHost, path: Path, stack: contextlib.AsyncExitStack) -> None:
    """Have the host serve TLS on its port with the certificates in the file, and follow their changes.

    Raises:
        StartError: the host cannot use the first ones.
    """
    secured: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def secure(certificates: Certificates) -> None:
        try:
            host.secure(
                certificates.chain.encode(),
                certificates.key.encode(),
                None if certificates.client_ca is None else authorities_in(certificates.client_ca),
                None if certificates.client_crl is None else certificates.client_crl.encode(),
                required=certificates.clients_required,
            )
        except ValueError as error:
            if not secured.done():
                secured.set_exception(StartError(f"the certificates cannot be used: {error}"))
            raise
        if not secured.done():
            secured.set_result(None)

    run_beside(stack, partial(follow, path, secure))
    await secured


def main() -> None:
    """Read the configuration from standard input and serve."""
    run("worker", serve)
