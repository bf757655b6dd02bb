"""Mixed traffic while faults are caused, and a comparison of the responses with the state afterwards."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import httpx
from google.protobuf.message import Message
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience_server.store.keys import usage_key
from redis.asyncio import RedisCluster

from support.contract.messages import apply_request, one_user, stream_request
from support.service.running import Service
from support.waiting import eventually

MEMBER = 123
"""The member of all callers."""
WORKERS = 2
ARGUMENTS = ("--workers", str(WORKERS), "--call-timeout-seconds", "30", "--metrics-port", "0")
"""Options of services under test; their call timeout leaves the deadline to callers."""
DEADLINE_SECONDS = 10.0
AROUND_SECONDS = 0.3
"""How long traffic runs before and after a fault."""
PACE_SECONDS = 0.05
"""Pause of a caller between two calls; reports take longer."""
REPORT_PACE_SECONDS = 0.2
RETRY_SECONDS = 0.05
SEGMENT = 10001
REMOVE = -1
"""The expiration with which a user leaves the segment."""
CHANNEL = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
_bases = itertools.count(10**9, 10**6)


class FailedError(Exception):
    """A REST call failed; the argument is the status."""


# A stream that has ended accepts no more requests (InvalidStateError).
FAILURES = (FailedError, httpx.TransportError, grpc.aio.AioRpcError, asyncio.InvalidStateError, EOFError)


@dataclass
class Ledger:
    """The responses that callers got about memberships of users from `base` on."""

    base: int = field(default_factory=lambda: next(_bases))
    acknowledged: int = 0
    """Number of calls that were answered with OK."""
    attempted: int = 0
    """Number of calls sent, including retries."""
    inside: set[int] = field(default_factory=set)
    """Users whose last call put them into the segment, and was acknowledged."""
    outside: set[int] = field(default_factory=set)
    """Users whose last call took them out of it, and was acknowledged."""
    unknown: set[int] = field(default_factory=set)
    """Users with a call that was not acknowledged."""

    def __post_init__(self) -> None:
        self._users = itertools.count(self.base)

    def next_call(self) -> tuple[int, int]:
        """The user of the next call, and its expiration: every third call takes a user out again."""
        user = next(self._users)
        if user % 3 == 0 and self.inside:
            user = self.inside.pop()
            self.unknown.add(user)
            return user, REMOVE
        self.unknown.add(user)
        return user, 0

    def acknowledge(self, user: int, expiration: int) -> None:
        """Note that a call was answered with OK."""
        self.acknowledged += 1
        self.unknown.remove(user)
        (self.outside if expiration == REMOVE else self.inside).add(user)

    async def compare(self, cluster: RedisCluster) -> tuple[int, int]:
        """Number of acknowledged changes that are missing, and of memberships that nobody requested."""
        found: set[int] = set()
        for primary in cluster.get_primaries():
            keys = cluster.scan_iter(match=f"m:p:{self.base // 10**6}*", count=1000, target_nodes=primary)
            found |= {int(key.decode().rpartition(":")[2]) async for key in keys}
        here = {user for user in found if self.base <= user < self.base + 10**6}
        return len(self.inside - here) + len(self.outside & here), len(here - self.inside - self.outside - self.unknown)


class Way(Protocol):
    """A kind of call; created for a service, and discarded after a failure."""

    async def call(self, user: int, expiration: int, seconds: float) -> None:
        """Change a user, or read one.

        Raises:
            FAILURES: the call failed.
        """

    async def close(self) -> None:
        """Close the connection."""


class _Rest:
    def __init__(self, service: Service, token: str) -> None:
        self._http = service.http(headers={"authorization": token})

    async def _answer(self, answer: Awaitable[httpx.Response]) -> None:
        got = await answer
        if got.status_code != 200:
            error = FailedError(got.status_code)
            error.add_note(f"{got.headers.get('x-request-id')} {got.text}")
            raise error

    async def close(self) -> None:
        await self._http.aclose()


class RestApply(_Rest):
    """`POST /rt-segment`."""

    async def call(self, user: int, expiration: int, seconds: float) -> None:
        body = one_user(str(user), expiration=expiration)
        await self._answer(self._http.post("/rt-segment", json=body, timeout=seconds))


class RestRead(_Rest):
    """`GET /rt-segment`."""

    async def call(self, user: int, _: int, seconds: float) -> None:
        await self._answer(self._http.get("/rt-segment", params={"user_id": str(user)}, timeout=seconds))


class RestReport(_Rest):
    """`GET /rt-segment-processed`."""

    async def call(self, _: int, __: int, seconds: float) -> None:
        await self._answer(self._http.get("/rt-segment-processed", params={"num_hours": 1}, timeout=seconds))


class _Grpc:
    port = "direct"

    def __init__(self, service: Service, token: str) -> None:
        self._metadata = (("authorization", token),)
        self._channel = service.channel(self.port, *CHANNEL)
        self._audience = AudienceServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()


class GrpcApply(_Grpc):
    """`ApplySegments`, directly to the workers."""

    async def call(self, user: int, expiration: int, seconds: float) -> None:
        request = apply_request(one_user(str(user), expiration=expiration))
        await self._audience.ApplySegments(request, metadata=self._metadata, timeout=seconds)


class StreamApply(_Grpc):
    """`StreamSegments`, through the gateway; one request at a time."""

    port = "gateway"
    _stream: Any = None

    async def call(self, user: int, expiration: int, seconds: float) -> None:
        if self._stream is None:
            self._stream = self._audience.StreamSegments(metadata=self._metadata)
        await self._stream.write(stream_request(one_user(str(user), expiration=expiration)))
        try:
            async with asyncio.timeout(seconds):
                answer: pb.StreamSegmentsResponse = await self._stream.read()
        except TimeoutError:
            raise EOFError("no answer in a stream") from None
        if not isinstance(answer, Message):
            raise EOFError("the stream has ended")
        if answer.HasField("error"):
            raise FailedError(answer.error.code)


@dataclass(frozen=True)
class Losses:
    """Deviations from the responses: acknowledged changes that are missing, memberships that nobody requested, and
    calls that are counted too often or not at all."""

    missing: int
    extra: int
    miscounted: int


Make = Callable[[Service, str], Way]
APPLYING: tuple[Make, ...] = (RestApply, RestApply, GrpcApply, GrpcApply, StreamApply)
READING: tuple[Make, ...] = (RestRead, RestReport)


async def counted_calls(cluster: RedisCluster) -> int:
    """Number of counted calls of the member, in this hour and the adjacent ones."""
    hour = int(time.time()) // 3600
    counts = [await cluster.hget(usage_key(MEMBER, each).decode(), "calls") for each in (hour - 1, hour, hour + 1)]  # type: ignore[misc]
    return sum(int(count or 0) for count in counts)


@dataclass
class Traffic:
    """Concurrent callers of one member. Each switches to the next service when a call fails.

    `url` is the cluster of the services. With `retries`, callers repeat a failed call until its deadline.
    """

    services: Sequence[Service]
    url: str
    token: str
    deadline_seconds: float = DEADLINE_SECONDS
    retries: bool = False
    applying: Sequence[Make] = APPLYING
    ledger: Ledger = field(default_factory=Ledger)
    reads: int = 0
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Responses to failed calls, if there were any."""
    longest_seconds: float = 0.0
    """The longest duration of a call, from its first attempt to its answer."""
    _counted_before: int = 0
    _stopping: bool = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the traffic; at the end, all calls have finished."""
        async with RedisCluster.from_url(self.url) as cluster:
            self._counted_before = await counted_calls(cluster)
        tasks = [asyncio.create_task(self._call(make, applies=True)) for make in self.applying]
        tasks += [asyncio.create_task(self._call(make, applies=False)) for make in READING]
        try:
            await asyncio.sleep(AROUND_SECONDS)
            await eventually(self._has_begun)
            yield
            await asyncio.sleep(AROUND_SECONDS)
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _has_begun(self) -> None:
        """Wait until calls of all kinds have been answered."""
        assert self.ledger.acknowledged >= 2 * len(self.applying)
        assert self.reads >= len(READING)

    async def losses(self) -> Losses:
        """Compare the responses with the contents of the cluster, after the traffic has ended.

        Failed calls may be counted, and so may repeated ones.
        """
        ledger = self.ledger
        async with RedisCluster.from_url(self.url) as cluster:
            missing, extra = await ledger.compare(cluster)
            counted = await counted_calls(cluster) - self._counted_before
        miscounted = max(ledger.acknowledged - counted, counted - ledger.attempted, 0)
        return Losses(missing, extra, miscounted)

    async def assert_nothing_is_lost(self) -> None:
        """Check that every acknowledged change is there, no others are, and each acknowledged call is counted once."""
        losses = await self.losses()
        assert losses == Losses(0, 0, 0), (
            f"{losses}, acknowledged {self.ledger.acknowledged} of {self.ledger.attempted}, read {self.reads}, "
            f"failed {len(self.failed)}, longest {self.longest_seconds:.2f} s"
        )

    async def _call(self, make: Make, *, applies: bool) -> None:
        targets = itertools.cycle(self.services)
        way = make(next(targets), self.token)
        while not self._stopping:
            user, expiration = self.ledger.next_call() if applies else (self.ledger.base, 0)
            started = time.monotonic()
            while True:
                self.ledger.attempted += applies
                left = started + self.deadline_seconds - time.monotonic()
                try:
                    await way.call(user, expiration, max(left, RETRY_SECONDS))
                except FAILURES as error:
                    await way.close()
                    way = make(next(targets), self.token)
                    if self.retries and left > 2 * RETRY_SECONDS:
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    self.failed.append(f"{make.__name__}: {_told(error)}")
                    self.notes += getattr(error, "__notes__", ())
                else:
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
                    if applies:
                        self.ledger.acknowledge(user, expiration)
                    else:
                        self.reads += 1
                break
            await asyncio.sleep(REPORT_PACE_SECONDS if make is RestReport else PACE_SECONDS)
        await way.close()


def _told(error: Exception) -> str:
    """An error as the caller saw it."""
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else repr(error)
