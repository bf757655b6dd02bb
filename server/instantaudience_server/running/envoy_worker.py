"""The main module of a worker with the host `envoy`: pyvoy imports it inside Envoy and serves `app`."""

import contextlib
import sys
from typing import Any

import structlog

from instantaudience_server.processes import StartError
from instantaudience_server.running.composition import open_worker
from instantaudience_server.running.ground import WorkerConfig
from instantaudience_server.settings import MESSAGE_LIMIT_BYTES
from instantaudience_server.store.cluster.topology import StoreUnusableError
from instantaudience_server.telemetry import Event, configure_logging
from instantaudience_server.transport.hosts.envoy import GrpcApplication
from instantaudience_server.transport.hosts.exchange import Receive, Send

log = structlog.get_logger()

HANDOVER_SECONDS = 0.0005
"""Python's switch interval: how long the event loop may hold the global lock while pyvoy's thread waits for it, to hand
over the next requests.

With Python's default, 5 ms, the loop runs out of requests and waits, which costs a fifth to a third of the throughput
at 64 to 512 calls in flight (docs/performance.md).
"""


class _Application:
    """The ASGI application: opens the worker when Envoy starts, serves it, and closes it when Envoy ends."""

    def __init__(self) -> None:
        self._serve: GrpcApplication | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if self._serve is not None and scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Serve ASGI's lifespan protocol: open the worker at startup, close it at shutdown."""
        await receive()
        config = WorkerConfig.model_validate_json(sys.stdin.buffer.read())
        configure_logging(config.settings.log_level, config.settings.log_format)
        sys.setswitchinterval(HANDOVER_SECONDS)
        async with contextlib.AsyncExitStack() as stack:
            try:
                worker = await stack.enter_async_context(open_worker(config))
            except (StoreUnusableError, StartError) as error:
                print(f"worker {config.number}: {error}", file=sys.stderr)  # noqa: T201 - Envoy ends without a word
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            self._serve = GrpcApplication(worker.methods, worker.pipeline, message_limit_bytes=MESSAGE_LIMIT_BYTES)
            await send({"type": "lifespan.startup.complete"})
            log.info(Event.WORKER_READY, worker=config.number)
            await receive()
            self._serve = None
        await send({"type": "lifespan.shutdown.complete"})


app = _Application()
