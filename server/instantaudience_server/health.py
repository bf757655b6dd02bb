"""Whether the service can serve."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from instantaudience_server.errors import AudienceError
from instantaudience_server.metrics import CLUSTER_REACHABLE
from instantaudience_server.store.interface import StoreHealth
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

PING_SECONDS = 1.0
"""How long the cluster has for a sign of life, and the pause between two questions."""


class HealthService:
    """Asks the cluster for signs of life."""

    def __init__(self, store: StoreHealth) -> None:
        self._store = store

    async def check(self, deadline: float) -> None:
        """Return when every primary has answered.

        Raises:
            AudienceError: UNAVAILABLE.
        """
        await self._store.ping(min(deadline, asyncio.get_running_loop().time() + PING_SECONDS))

    async def watch(self, report: Callable[[bool], Awaitable[None]]) -> None:
        """Ask forever, and report when the answer changes; the first answer is a change."""
        serving: bool | None = None
        while True:
            try:
                await self.check(asyncio.get_running_loop().time() + PING_SECONDS)
                now = True
            except AudienceError:
                now = False
            if now is not serving:
                serving = now
                log.info(Event.HEALTH_CHANGED, serving=serving)
                CLUSTER_REACHABLE.set(serving)
                await report(serving)
            await asyncio.sleep(PING_SECONDS)
