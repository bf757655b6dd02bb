"""A service that is stopped and started again on the same ports, as in an upgrade."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from instantaudience_server.embedded.node import HOST
from instantaudience_server.process.processes import free_ports

from support.service.metrics import scrape
from support.service.running import Service, running_service
from support.service.traffic import ARGUMENTS


class Restarted:
    """The service; `command` starts another version than this one."""

    def __init__(self, directory: Path, url: str, host_mode: str) -> None:
        self._directory = directory
        self._url = url
        self._host_mode = host_mode
        self._ports = free_ports(HOST, 3)
        self.stack = AsyncExitStack()

    async def start(self, command: Sequence[str] | None = None) -> Service:
        """Start the service; its metrics have been scraped when this returns."""
        http, grpc, metrics = map(str, self._ports)
        arguments = (*ARGUMENTS, "--workers", "1", "--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics)
        starting = running_service(
            "--redis",
            self._url,
            "--drain-wait",
            "3",
            "--drain-seconds",
            "2",
            *arguments,
            directory=self._directory,
            host_mode=self._host_mode,
            command=command,
        )
        service = await self.stack.enter_async_context(starting)
        await scrape(service)
        return service

    async def stop(self) -> None:
        """Stop the service."""
        await self.stack.aclose()
        self.stack = AsyncExitStack()
