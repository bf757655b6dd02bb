"""What a running service counts, against what it has answered and what stands in the cluster."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import audience_pb2_grpc
from support.service.processes import descendants, needs_proc
from support.service.running import HOST_MODES, Service, running_service
from support.service.usage import usage_of
from support.service.workers import WORKER_COMMAND
from support.waiting import eventually

pytestmark = [pytest.mark.wide, pytest.mark.timeout(300)]

CALLERS = 8
CALLS_BEFORE_AND_AFTER = 300
CALL_SECONDS = 60
USERS = 3
SEGMENTS = (10001, 12)


@pytest.fixture(scope="module", params=HOST_MODES)
async def counting(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """Two workers, whose usage nobody else adds to. Their calls have time: none is lost for want of it."""
    arguments = ("--workers", "2", "--call-timeout-seconds", str(CALL_SECONDS))
    async with running_service(*arguments, host_mode=request.param) as running:
        yield running


@dataclass
class Load:
    """Calls that put new users into two segments; some also hold what is refused."""

    service: Service
    token: str
    answered: int = 0
    lost: int = 0
    """Calls that ended without an answer."""
    stopped: bool = False

    async def run(self, numbers: "itertools.count[int]") -> None:
        """Calls on a connection of its own, one after the other; a connection that is lost is made again."""
        while not self.stopped:
            async with self.service.channel("direct") as channel:
                stub = audience_pb2_grpc.AudienceServiceStub(channel)
                try:
                    while not self.stopped:
                        await stub.ApplySegments(
                            request_of(next(numbers)),
                            metadata=(("authorization", self.token),),
                            timeout=CALL_SECONDS,
                        )
                        self.answered += 1
                except grpc.aio.AioRpcError as failed:
                    if failed.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise
                    self.lost += 1

    async def more(self, calls: int) -> None:
        """Until so many more calls are answered, however long that takes while they go on: both workers may start."""
        wanted = self.answered + calls
        while (before := self.answered) < wanted:

            async def goes_on(before: int = before) -> None:
                assert self.answered > before

            await eventually(goes_on, 60)


def request_of(number: int) -> pb.ApplySegmentsRequest:
    """Its last user is refused every second time, and its first one stands in it twice."""
    request = pb.ApplySegmentsRequest()
    for user in (*range(USERS), 0):
        block = [pb.SegBlock(seg_id=segment, expiration=0) for segment in SEGMENTS]
        request.rt_segment.add(user_id=str(1 + number * USERS + user), seg_block=block)
    if number % 2:
        request.rt_segment.add(user_id="7", seg_block=[pb.SegBlock(seg_id=99)])
    return request


async def memberships_of(service: Service) -> int:
    """How many stand in the cluster."""
    count = 0
    async with service.cluster() as plain:
        async for key in plain.scan_iter(match="m:*", count=1000):
            count += await plain.hlen(key)
    return count


async def load_of(service: Service, numbers: "itertools.count[int]") -> tuple[Load, list[asyncio.Task[None]]]:
    load = Load(service, await service.token())
    return load, [asyncio.create_task(load.run(numbers)) for _ in range(CALLERS)]


numbers = {host_mode: itertools.count() for host_mode in HOST_MODES}


async def test_added_memberships_are_those_that_stand(counting: Service) -> None:
    load, callers = await load_of(counting, numbers[counting.host_mode])
    await load.more(2 * CALLS_BEFORE_AND_AFTER)
    load.stopped = True
    await asyncio.gather(*callers)
    usage = await usage_of(counting)
    assert usage.valid_adds == await memberships_of(counting) == load.answered * USERS * len(SEGMENTS)
    assert usage.calls == load.answered
    assert usage.invalid_segments == load.answered // 2
    assert usage.valid_users == load.answered * USERS + usage.invalid_segments
    assert usage.other_errors == load.lost == 0


@needs_proc
async def test_no_answered_call_is_missing_when_a_worker_is_killed(counting: Service) -> None:
    before = await usage_of(counting)
    load, callers = await load_of(counting, numbers[counting.host_mode])
    killed = 0
    while killed < 2 or load.lost == 0:  # the one that is killed may have had no call
        await load.more(CALLS_BEFORE_AND_AFTER)
        command = WORKER_COMMAND
        worker = next(each for each in descendants(counting.process.pid) if command in each.command)
        os.kill(worker.pid, signal.SIGKILL)
        killed += 1
    await load.more(CALLS_BEFORE_AND_AFTER)
    load.stopped = True
    await asyncio.gather(*callers)
    usage = await usage_of(counting)
    assert load.answered <= usage.calls - before.calls <= load.answered + load.lost
    assert usage.valid_adds == (usage.calls * USERS * len(SEGMENTS))
