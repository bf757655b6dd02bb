"""Envoy's admin interface on its unix socket: whether it is ready, what it counts, and how it drains.

Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

import asyncio
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import httpx

from instantaudience_gateway.envoy.settings import STAT_PREFIX

ANSWER_SECONDS = 1.0
"""How long Envoy may take to answer."""
LOOK_SECONDS = 0.05
"""The pause between two looks whether calls are in flight."""
QUIET_SECONDS = 1.0
"""How long nothing has to have come before open connections are taken for idle: calls of callers who are far away are
under way for so long, and those who sent them have not heard yet that the connection ends."""
_URL = "http://admin"
_TRAFFIC = [f"http.{STAT_PREFIX}.downstream_{each}" for each in ("rq_active", "rq_total", "cx_active")]


class Traffic(NamedTuple):
    """REST and gRPC calls in flight (open gRPC streams included), calls so far, and open connections."""

    active: int
    calls: int
    connections: int


def _client(admin_socket: Path) -> httpx.AsyncClient:
    # There is no TLS to verify; to read all authorities' certificates for it takes 36 ms.
    transport = httpx.AsyncHTTPTransport(uds=str(admin_socket), verify=False)
    return httpx.AsyncClient(transport=transport, base_url=_URL, timeout=ANSWER_SECONDS)


async def ready(admin_socket: Path) -> bool:
    """Whether Envoy takes calls: True from the moment it listens until it drains or ends."""
    try:
        async with _client(admin_socket) as admin:
            return (await admin.get("/ready")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def statistics(admin_socket: Path, pattern: str) -> Mapping[str, int]:
    """The counters and gauges whose whole names match.

    Raises httpx.HTTPError when Envoy cannot be reached, ValueError when it answers something else.
    """
    async with _client(admin_socket) as admin:
        answer = await admin.get("/stats", params={"filter": f"^({pattern})$", "format": "json"})
    stats = answer.raise_for_status().json()["stats"]
    return {stat["name"]: int(stat["value"]) for stat in stats if "value" in stat}


async def traffic(admin_socket: Path) -> Traffic:
    """What callers have of it. Raises as `statistics`."""
    found = await statistics(admin_socket, "|".join(map(re.escape, _TRAFFIC)))
    return Traffic(*(found[name] for name in _TRAFFIC))


async def retire(admin_socket: Path) -> None:
    """Is not ready any more; takes connections still.

    From now on HTTP/1.1 answers carry `Connection: close`, and HTTP/2 connections get GOAWAY with their next answer.
    Raises httpx.HTTPError when Envoy cannot be reached.
    """
    async with _client(admin_socket) as admin:
        (await admin.post("/healthcheck/fail")).raise_for_status()


async def drain(admin_socket: Path, seconds: float) -> bool:
    """Drains: retires, takes no new connections, and waits until no call is in flight, and none has come for
    `QUIET_SECONDS` where connections are open.

    Returns True when all calls have ended, False when `seconds` were over first; either way it is time to end Envoy
    with SIGTERM then. Raises httpx.HTTPError when Envoy cannot be reached.
    """
    deadline = time.monotonic() + seconds
    await retire(admin_socket)
    async with _client(admin_socket) as admin:
        (await admin.post("/drain_listeners")).raise_for_status()
    calls, since = -1, 0.0
    while time.monotonic() < deadline:
        found = await traffic(admin_socket)
        if found.active or found.calls != calls:
            calls, since = found.calls, time.monotonic()
        if not found.active and (not found.connections or time.monotonic() - since >= QUIET_SECONDS):
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False
