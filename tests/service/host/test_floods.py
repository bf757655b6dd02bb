"""Floods of all kinds: others are answered meanwhile, and what a flood took is given back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.messages import one_user
from support.processes import descendants, needs_proc
from support.raw_http import answer_to
from support.service import HOST_MODES, Service, running_service

pytestmark = needs_proc

MOST_KEPT = 1.5
"""What workers and gateway may have after a flood, of what they had before; without giving back, it is over 2.5."""


@pytest.fixture(scope="module", params=HOST_MODES)
async def flooded(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service with one worker and the demo catalog, whose members have the default limits."""
    async with running_service("--workers", "1", "--demo", host_mode=request.param, catalog="") as running:
        async with running.http(headers={"authorization": await running.token()}) as http:
            for number in range(30):
                await http.post("/rt-segment", json=one_user(str(number + 1)))
        await asyncio.sleep(1)
        yield running


GIVEN_BACK_SECONDS = 30.0


def resident_bytes(service: Service) -> int:
    """What workers and gateway have in memory (proc(5))."""
    pids = [process.pid for process in descendants(service.process.pid) if process.command.split()[0].endswith("envoy")]
    pids += [process.pid for process in descendants(service.process.pid) if "grpcio_worker" in process.command]
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def posting(token: str, body: bytes) -> bytes:
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
    assert {answer.status_code for answer in answers} <= {200, 429, 503}
    deadline = time.monotonic() + GIVEN_BACK_SECONDS
    async with flooded.http(headers={"authorization": token}) as http:
        while resident_bytes(flooded) > MOST_KEPT * start:
            assert time.monotonic() < deadline
            await http.post("/rt-segment", json={"rt_segment": users[:20]})
            await asyncio.sleep(0.1)
