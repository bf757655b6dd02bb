"""The adapter with methods of the tests' own, in a real Envoy; one for all of this directory."""

from collections.abc import AsyncIterator

import grpc
import pytest
from instantaudience_gateway.envoy import in_process
from support.clusters import eventually
from support.framing_peer import Peer, connected
from support.interop_host import Host, report, running_host


@pytest.fixture(scope="session")
async def host() -> AsyncIterator[Host]:
    """The host; at the end, neither Envoy nor the application has complained."""
    if reason := in_process.missing():
        pytest.skip(f"nothing runs inside Envoy here: {reason}")
    async with running_host() as running:
        yield running
        assert running.child.returncode is None
        assert running.output.read_text() == ""


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
