"""Floods of calls at a steady rate, and how many of them each quota window admitted.

Callers, service and cluster run on one machine and share its clock, so the second in which the cluster decided on a
call lies between those in which it was sent and answered.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import quota_key
from redis.asyncio import RedisCluster

PATHS = {
    Quota.POSTS: "/instantaudience.v1.AudienceService/ApplySegments",
    Quota.GETS: "/instantaudience.v1.AudienceService/GetMemberships",
}
SEGMENT = 1
PACE_SECONDS = 0.002
LOOK_SECONDS = 0.01
"""How often the window's count is read. A flood fills a window long before its end, so the last count is not missed."""


@dataclass(frozen=True, slots=True)
class Flood:
    """A flood: the member, the method and the rate. Posts have this many users each, in the first segment."""

    member_id: int
    token: str
    quota: Quota
    calls_per_second: int
    users: int

    @property
    def weight(self) -> int:
        """How much a call counts against the limit: its users, or 1 if there is only a limit of calls."""
        return self.users if self.quota is Quota.POSTS else 1

    def body(self, number: int) -> bytes:
        """The message of a call; no two posts have a user in common."""
        if self.quota is Quota.GETS:
            return pb.GetMembershipsRequest(user_id="1").SerializeToString()
        request = pb.ApplySegmentsRequest()
        for user in range(self.users):
            user_id = (self.member_id * 1_000_000 + number) * self.users + user + 1
            request.rt_segment.add(user_id=str(user_id)).seg_block.add(seg_id=SEGMENT, value=1)
        return request.SerializeToString()


@dataclass(frozen=True, slots=True)
class Answer:
    """When a call was sent and answered (Unix time in seconds), and the result."""

    sent: float
    answered: float
    admitted: bool


@dataclass
class Result:
    """The result of a flood; `windows` has the cluster's final count for each second: calls, units."""

    flood: Flood
    began: float
    ended: float
    answers: list[Answer] = field(default_factory=list)
    failed: int = 0
    """Calls that the service had no time for (UNAVAILABLE)."""
    windows: dict[int, tuple[int, int]] = field(default_factory=dict)
    looked: dict[int, float] = field(default_factory=dict)
    """When the count of each window was read last (Unix time)."""
    workers: int = 0
    """Number of workers that asked the cluster about its calls."""
    is_over: bool = False

    @property
    def admitted(self) -> int:
        """Calls that were answered with OK."""
        return sum(answer.admitted for answer in self.answers)

    @property
    def refused(self) -> int:
        """Calls that were refused."""
        return len(self.answers) - self.admitted

    @property
    def counted(self) -> int:
        """Calls that the windows have counted."""
        return sum(calls for calls, _ in self.windows.values())

    @property
    def full_windows(self) -> list[int]:
        """The counts (of users, or of calls without users) in each second that lies entirely within the flood."""
        seconds = range(int(self.began) + 1, int(self.ended))
        return [self.windows.get(second, (0, 0))[1] for second in seconds]

    def is_fast(self, limit: int) -> bool:
        """Whether this process and the service were fast enough to fill the windows: in each second that lies entirely
        within the flood, calls enough for the limit were sent and answered before the last look at its window."""
        return not self.failed and all(
            sum(second <= each.sent and each.answered <= self.looked.get(second, 0.0) for each in self.answers)
            * self.flood.weight
            >= limit
            for second in range(int(self.began) + 1, int(self.ended))
        )

    def fits(self, limit: int) -> bool:
        """Whether the answers alone are consistent with no window having admitted more than the limit.

        Each call was admitted in a second between its sending and its answer. An assignment to windows of `limit`
        exists if and only if, for every range of seconds, the calls that must lie in it do not exceed its capacity
        (Hall's theorem, for intervals).
        """
        spans = [(int(answer.sent), int(answer.answered)) for answer in self.answers if answer.admitted]
        seconds = sorted({second for span in spans for second in span})
        for first, last in itertools.combinations_with_replacement(seconds, 2):
            inside = sum(first <= begin and end <= last for begin, end in spans)
            if inside * self.flood.weight > limit * (last - first + 1):
                return False
        return True


async def flood(
    address: str, floods: Sequence[Flood], redis: RedisCluster, *, connections: int, seconds: float
) -> list[Result]:
    """Run all floods at once, each over its own connections, starting with the next second."""
    await asyncio.sleep(1 - time.time() % 1)
    now = time.time()
    results = [Result(each, now, now + seconds) for each in floods]
    async with asyncio.TaskGroup() as tasks:
        for result in results:
            tasks.create_task(_watch(result, redis))
            tasks.create_task(_send(result, address, connections))
    return results


async def _send(result: Result, address: str, connections: int) -> None:
    flood = result.flood
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(connections)]
    methods = itertools.cycle([channel.unary_unary(PATHS[flood.quota]) for channel in channels])
    metadata = (("authorization", flood.token),)

    async def call(number: int) -> None:
        sent = time.time()
        try:
            await next(methods)(flood.body(number), metadata=metadata)
            admitted = True
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                result.failed += 1
                return
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            admitted = False
        result.answers.append(Answer(sent, time.time(), admitted))

    sent = 0
    try:
        async with asyncio.TaskGroup() as calls:
            while (now := time.time()) < result.ended:
                due = int((now - result.began) * flood.calls_per_second)
                for number in range(sent, due):
                    calls.create_task(call(number))
                sent = due
                await asyncio.sleep(PACE_SECONDS)
    finally:
        result.is_over = True
        await asyncio.gather(*(channel.close() for channel in channels))


async def _watch(result: Result, redis: RedisCluster) -> None:
    """Record the count of each window while calls are in flight."""
    key = quota_key(result.flood.member_id, result.flood.quota)
    is_last = False
    while not is_last:
        is_last, now = result.is_over, time.time()
        second, calls, units = await redis.hmget(key, "second", "calls", "units")
        if second is not None and int(second) >= int(result.began):
            result.windows[int(second)] = int(calls), int(units)
            result.looked[int(second)] = now
        await asyncio.sleep(LOOK_SECONDS)
    result.workers = await redis.hlen(key) - 3
