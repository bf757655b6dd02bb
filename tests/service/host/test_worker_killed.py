"""`kill -9` of a worker of the Envoy host under load (the end of the whole service: tests/service/commands)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from instantaudience_gateway.envoy import in_process
from instantaudience_server.transport.framing import frame
from support.contract.messages import APPLY, GET_STATUS, apply_request, one_user
from support.service.processes import descendants, needs_proc
from support.service.running import Service, running_service
from support.service.sockets import listeners, owner
from support.waiting import eventually
from support.wire.peer import Peer, connected, grpc_headers

pytestmark = needs_proc

BACK_SECONDS = 30.0
CONNECTIONS_EACH = 3


@pytest.fixture(scope="module")
async def fragile() -> AsyncIterator[Service]:
    if reason := in_process.missing():
        pytest.skip(f"the service cannot run inside Envoy here: {reason}")
    async with running_service("--workers", "2", host_mode="envoy") as running:
        yield running


def workers(service: Service) -> list[int]:
    return [process.pid for process in descendants(service.process.pid) if "envoy-" in process.command]


def worker_of(service: Service, address: str, peer: Peer) -> int | None:
    return owner(port_of(address), peer.port, workers(service))


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@dataclass
class Caller:
    """Calls on one connection, one after the other."""

    peer: Peer
    token: str
    answered: int = 0
    failed: list[object] = field(default_factory=list)

    async def call(self) -> None:
        while not self.failed:
            for headers, body in (
                (grpc_headers(GET_STATUS), b""),
                (grpc_headers(APPLY, (b"authorization", self.token.encode())), APPLIED),
            ):
                answer = await self.peer.call(headers, frame(body))
                if answer.grpc_status == 0:
                    self.answered += 1
                else:
                    self.failed.append(answer)
            await asyncio.sleep(0.01)


APPLIED = apply_request(one_user()).SerializeToString()


async def test_a_worker_that_is_killed(fragile: Service) -> None:
    """The calls of the other worker's connections do not fail, and new connections are taken all the while."""
    token = await fragile.token()
    async with AsyncExitStack() as stack:
        callers: dict[int, list[Caller]] = {pid: [] for pid in workers(fragile)}
        assert len(callers) == 2
        while min(map(len, callers.values())) < CONNECTIONS_EACH:
            for address in (fragile.http_address, fragile.grpc_address):
                peer = await stack.enter_async_context(connected(address))
                assert (await peer.call(grpc_headers(GET_STATUS), frame(b""))).grpc_status == 0
                pid = worker_of(fragile, address, peer)
                assert pid is not None
                callers[pid].append(Caller(peer, token))
        load = [asyncio.create_task(caller.call()) for group in callers.values() for caller in group]
        killed, spared = callers
        try:
            await all_go_on(callers[killed] + callers[spared])
            await kill(fragile, killed)
            async with asyncio.timeout(BACK_SECONDS):
                await back(fragile, killed, spared)
            await all_go_on(callers[spared])
            for caller in callers[killed]:
                assert caller.peer.lost
                assert caller.failed
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)
    assert [event["returncode"] for event in fragile.events if event["event"] == "process_exited"] == [-signal.SIGKILL]


async def all_go_on(callers: list[Caller]) -> None:
    """Until each has had some more answers; none of theirs has failed."""
    before = [caller.answered for caller in callers]

    async def gone_on() -> None:
        assert all(
            caller.answered >= count + 10 or caller.failed for caller, count in zip(callers, before, strict=True)
        )

    await eventually(gone_on)
    assert [caller.failed for caller in callers] == [[]] * len(callers)


async def kill(service: Service, pid: int) -> None:
    """Until it has ended, the kernel still gives it connections."""
    port = port_of(service.http_address)
    before = listeners(port)
    os.kill(pid, signal.SIGKILL)

    async def gone() -> None:
        assert listeners(port) < before

    await eventually(gone)


async def back(service: Service, killed: int, spared: int) -> None:
    """Until a new process answers; meanwhile, every new connection is answered by one that is there."""
    seen = spared
    while seen == spared:
        async with connected(service.http_address) as peer:
            answer = await peer.call(grpc_headers(GET_STATUS), frame(b""))
            assert answer.grpc_status == 0, answer
            seen = worker_of(service, service.http_address, peer) or spared
        await asyncio.sleep(0.01)
    assert seen != killed


async def test_a_worker_that_is_killed_over_and_over(fragile: Service) -> None:
    """Each time another one takes its place; the delay grows."""
    for _ in range(2):
        killed, spared = workers(fragile)
        await kill(fragile, killed)
        async with asyncio.timeout(BACK_SECONDS):
            await back(fragile, killed, spared)
