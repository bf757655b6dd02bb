"""The native host with methods of the tests' own, and a service that others share; one each for this directory."""

from collections.abc import AsyncIterator

import grpc
import pytest
from instantaudience_server.observation.telemetry import Event
from support.hosts.running import Host, report, running_host
from support.service.running import HOST_MODES, Service, running_service
from support.waiting import eventually
from support.wire.peer import Peer, connected

TOLD = (Event.CALL_REFUSED, Event.CALLS_REFUSED, Event.CALL_FAILED, Event.CALLS_FAILED)
"""What the log tells of calls that are refused, or fail, as they should."""


@pytest.fixture(scope="package")
async def host() -> AsyncIterator[Host]:
    """The native host; at the end, it has complained of nothing but the calls that the tests had fail."""
    if "native" not in HOST_MODES:
        pytest.skip("the native host is not built")
    async with running_host("native") as running:
        yield running
        assert running.child.returncode is None
        lines = running.output.read_text().splitlines()
        assert [line for line in lines if not any(f" {event} " in line for event in TOLD)] == []


@pytest.fixture(scope="package")
async def open_service(host_mode: str) -> AsyncIterator[Service]:
    """A service with one worker that pages of other sites may call."""
    origins = "https://app.example.com, http://localhost:3000"
    words = ("--workers", "1", "--allowed-origins", origins)
    async with running_service(*words, host_mode=host_mode) as running:
        yield running


@pytest.fixture
async def channel(host: Host) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC caller; when it has done, nothing that it called goes on."""
    async with host.channel() as opened:
        before = await report(opened)
        yield opened

        async def nothing_left() -> None:
            assert await report(opened) == before

        await eventually(nothing_left, seconds=5)


@pytest.fixture
async def peer(host: Host) -> AsyncIterator[Peer]:
    """A caller that need not keep to the protocol."""
    async with connected(host.address) as opened:
        yield opened
