"""Envoy's admin interface on its unix socket: readiness, statistics, and draining.

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
"""Timeout of a request to the admin interface, unless the caller says otherwise."""
LOOK_SECONDS = 0.05
"""Interval between checks for calls in flight."""
QUIET_SECONDS = 1.0
"""How long no call may have arrived before open connections are considered idle: calls of distant callers take this
long to arrive, and their senders do not know yet that the connection is closing."""
_URL = "http://admin"
_TRAFFIC = [f"http.{STAT_PREFIX}.downstream_{each}" for each in ("rq_active", "rq_total", "cx_active")]


class Traffic(NamedTuple):
    """REST and gRPC calls in flight (including open gRPC streams), calls so far, and open connections."""

    active: int
    calls: int
    connections: int


def _client(admin_socket: Path, answer_seconds: float | None = None) -> httpx.AsyncClient:
    # There is no TLS to verify, and loading the CA certificates for it takes 36 ms.
    transport = httpx.AsyncHTTPTransport(uds=str(admin_socket), verify=False)
    return httpx.AsyncClient(transport=transport, base_url=_URL, timeout=answer_seconds or ANSWER_SECONDS)


async def ready(admin_socket: Path) -> bool:
    """Whether Envoy accepts calls: True from the moment it listens until it drains or ends."""
    try:
        async with _client(admin_socket) as admin:
            return (await admin.get("/ready")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def statistics(admin_socket: Path, pattern: str, answer_seconds: float | None = None) -> Mapping[str, int]:
    """The counters and gauges whose full names match the pattern.

    Raises:
        httpx.HTTPError: Envoy cannot be reached.
        ValueError: it answers something else.
    """
    async with _client(admin_socket, answer_seconds) as admin:
        answer = await admin.get("/stats", params={"filter": f"^({pattern})$", "format": "json"})
    stats = answer.raise_for_status().json()["stats"]
    return {stat["name"]: int(stat["value"]) for stat in stats if "value" in stat}


async def traffic(admin_socket: Path, answer_seconds: float | None = None) -> Traffic:
    """The current traffic on the public port. Raises as `statistics`."""
    found = await statistics(admin_socket, "|".join(map(re.escape, _TRAFFIC)), answer_seconds)
    return Traffic(*(found[name] for name in _TRAFFIC))


async def retire(admin_socket: Path, answer_seconds: float | None = None) -> None:
    """Make Envoy report that it is not ready; it still accepts connections.

    From now on HTTP/1.1 responses have `Connection: close`, and HTTP/2 connections get a GOAWAY with their next
    response.

    Raises:
        httpx.HTTPError: Envoy cannot be reached.
    """
    async with _client(admin_socket, answer_seconds) as admin:
        (await admin.post("/healthcheck/fail")).raise_for_status()


async def drain(admin_socket: Path, seconds: float, *, was_ready: bool = False) -> bool:
    """Retire, accept no new connections, and wait until no call is in flight and, if connections are open, none has
    arrived for `QUIET_SECONDS`. An Envoy that `was_ready` may have calls in flight: on a busy machine, its answers are
    waited for until then, too.

    Returns True when all calls have ended, False if that takes longer than `seconds`. Afterwards, end Envoy with
    SIGTERM.

    Raises:
        httpx.HTTPError: Envoy cannot be reached, or does not answer.
    """
    deadline = time.monotonic() + seconds

    def answer_seconds() -> float:
        return max(ANSWER_SECONDS, deadline - time.monotonic()) if was_ready else ANSWER_SECONDS

    await retire(admin_socket, answer_seconds())
    async with _client(admin_socket, answer_seconds()) as admin:
        (await admin.post("/drain_listeners")).raise_for_status()
    calls, since = -1, 0.0
    while time.monotonic() < deadline:
        found = await traffic(admin_socket, answer_seconds())
        if found.active or found.calls != calls:
            calls, since = found.calls, time.monotonic()
        if not found.active and (not found.connections or time.monotonic() - since >= QUIET_SECONDS):
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False
