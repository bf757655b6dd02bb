"""Envoy's admin interface on its unix socket: whether it is ready, and how it drains.

Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

import asyncio
import time
from pathlib import Path

import httpx

from instantaudience_gateway.envoy.settings import STAT_PREFIX

_ACTIVE = f"http.{STAT_PREFIX}.downstream_rq_active"


def _client(admin_socket: Path) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(admin_socket))
    return httpx.AsyncClient(transport=transport, base_url="http://admin", timeout=1.0)


async def ready(admin_socket: Path) -> bool:
    """Whether Envoy takes calls: True from the moment it listens until it drains or ends."""
    try:
        async with _client(admin_socket) as admin:
            return (await admin.get("/ready")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def active_calls(admin_socket: Path) -> int:
    """REST and gRPC calls in flight, open gRPC streams included."""
    async with _client(admin_socket) as admin:
        answer = await admin.get("/stats", params={"filter": f"^{_ACTIVE}$", "format": "json"})
    return sum(int(stat["value"]) for stat in answer.raise_for_status().json()["stats"])


async def retire(admin_socket: Path) -> None:
    """Is not ready any more; takes connections still.

    From now on HTTP/1.1 answers carry `Connection: close`, and HTTP/2 connections get GOAWAY with their next answer.
    Raises httpx.HTTPError when Envoy cannot be reached.
    """
    async with _client(admin_socket) as admin:
        (await admin.post("/healthcheck/fail")).raise_for_status()


async def drain(admin_socket: Path, seconds: float, *, poll_seconds: float = 0.05) -> bool:
    """Drains: retires, takes no new connections, and waits until no call is in flight.

    Returns True when all calls have ended, False when `seconds` were over first; either way it is time to end Envoy
    with SIGTERM then. Raises httpx.HTTPError when Envoy cannot be reached.
    """
    deadline = time.monotonic() + seconds
    await retire(admin_socket)
    async with _client(admin_socket) as admin:
        (await admin.post("/drain_listeners")).raise_for_status()
    while await active_calls(admin_socket) > 0:
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(poll_seconds)
    return True
