"""Floods of all kinds: others are answered meanwhile, and what a flood took is given back."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc
import pytest
from support.contract.messages import APPLY, one_user
from support.service.processes import descendants, needs_proc
from support.service.running import HOST_MODES, Service, running_service
from support.wire import floods
from support.wire.floods import Flood
from support.wire.http1 import answer_to

from bench import processes
from bench.service import WORKERS, ports

pytestmark = [pytest.mark.wide, pytest.mark.alone, needs_proc]

MOST_KEPT = 2.5
"""What workers and gateway may have after a flood, of what they had before. Python itself keeps the most: arenas that
are not quite empty."""


@pytest.fixture(scope="module", params=HOST_MODES)
async def flooded(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service with one worker and the demo catalog, whose members have the default limits."""
    async with running_service("--workers", "1", "--demo", host_mode=request.param, catalog="") as running:
        async with running.http(headers={"authorization": await running.token()}) as http:
            for number in range(30):
                await http.post("/rt-segment", json=one_user(str(number + 1)))
        await asyncio.sleep(1)
        yield running


GIVEN_BACK_SECONDS = 60.0


def server_pids(service: Service) -> list[int]:
    """Workers and gateway."""
    below = [process for process in descendants(service.process.pid) if process.command]
    return [
        process.pid
        for process in below
        if process.command.split()[0].endswith("envoy") or "instantaudience_server.running worker" in process.command
    ]


def resident_bytes(service: Service) -> int:
    """What they have in memory."""
    return processes.resident_bytes(server_pids(service))


def processor_seconds(service: Service) -> float:
    """What they have used of processors."""
    return processes.processor_seconds(server_pids(service))


def posting(token: str, body: bytes) -> bytes:
    """An HTTP/1.1 POST request."""
    head = f"POST /rt-segment HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_memory_is_given_back_after_a_flood(flooded: Service) -> None:
    """Two hundred bodies of 1 MB at once, then a little of what is usual."""
    token = await flooded.token()
    blocks = [{"seg_id": 10001, "value": 1, "expiration": 1440}]
    users = [{"user_id": str(10**15 + number), "seg_block": blocks} for number in range(9_500)]
    request = posting(token, json.dumps({"rt_segment": users}).encode())
    start = resident_bytes(flooded)
    answers = await asyncio.gather(*(answer_to(flooded.http_address, request) for _ in range(200)))
    assert {answer.status_code for answer in answers} <= {200, 408, 429, 503}  # 408: a busy machine sends slowly
    deadline = time.monotonic() + GIVEN_BACK_SECONDS
    async with flooded.http(headers={"authorization": token}) as http:
        while resident_bytes(flooded) > MOST_KEPT * start:
            assert time.monotonic() < deadline
            await http.post("/rt-segment", json={"rt_segment": users[:20]})
            await asyncio.sleep(0.1)


FLOODS: list[Flood] = [
    floods.amplify,
    floods.post_without_token,
    floods.bomb_headers,
    floods.watch_health,
    floods.reset_at_once,
    floods.continue_headers,
    floods.ping,
    floods.settle,
]
REFUSED = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
MOST_PROCESSOR_SECONDS = 0.2
"""What a body may take of a processor, of several that come at once."""
BUSY = 2
"""On a machine that does other things, too, the same takes so many times as much."""
BODIES: dict[Flood, float] = {floods.amplify: 4}
"""Of floods that are bounded by what they take of the processors; once, each of these took 3 s."""
MOST_TAKEN_MB = {"native": 200, "grpcio": 400}
"""What a flood may take of memory. Two thousand streams with headers of 50 KB are 100 MB wherever they are held: in the
gateway alone, or in a gateway and a worker that takes them all."""


@contextmanager
def bounded(service: Service, bodies: float) -> Iterator[None]:
    """So many bodies take no more of the processors than they may."""
    before = processor_seconds(service)
    yield
    assert processor_seconds(service) - before < BUSY * bodies * MOST_PROCESSOR_SECONDS


@pytest.mark.parametrize("flood", FLOODS)
async def test_others_are_answered_meanwhile(flooded: Service, flood: Flood) -> None:
    """A caller of another member, one call after the other; none fails."""
    await assert_others_are_answered(flooded, flood, flooded.http_address)


@pytest.mark.parametrize("flood", [floods.amplify, floods.post_with_made_up_token, floods.post_without_token])
@pytest.mark.parametrize(
    "flooded", [host for host in HOST_MODES if WORKERS in ports("rest", host)], indirect=True, scope="module"
)
async def test_others_are_answered_meanwhile_on_the_workers_port(flooded: Service, flood: Flood) -> None:
    """Where it takes REST, there is no gateway that would refuse anything."""
    await assert_others_are_answered(flooded, flood, flooded.grpc_address)


async def assert_others_are_answered(flooded: Service, flood: Flood, address: str) -> None:
    start = most = resident_bytes(flooded)
    calls, token = 0, await flooded.token()
    with bounded(flooded, BODIES.get(flood, math.inf)):
        flooding = asyncio.create_task(flood(address, token))
        async with flooded.http(headers={"authorization": await flooded.token("private")}) as http:
            while not flooding.done() or calls < 10:
                answer = await http.get("/rt-segment?user_id=1")
                assert answer.status_code == 200, answer.text
                calls += 1
                most = max(most, resident_bytes(flooded))
                await asyncio.sleep(0.02)
        await flooding
    assert most - start < MOST_TAKEN_MB[flooded.host_mode] * 2**20


async def test_forty_messages_at_once_take_little(flooded: Service) -> None:
    """Of empty users; most are refused, and must cost less than those that are not."""
    token = await flooded.token()
    async with flooded.channel("gateway") as channel:
        apply = channel.unary_unary(APPLY)

        async def call() -> bytes:
            try:
                return await apply(floods.EMPTY_USERS_OF_GRPC, metadata=(("authorization", token),))
            except grpc.aio.AioRpcError as error:
                if error.code() in REFUSED:
                    return b""
                raise

        with bounded(flooded, 40):
            answers = await asyncio.gather(*(call() for _ in range(40)))
    assert max(map(len, answers)) < floods.LONGEST_ANSWER_BYTES
