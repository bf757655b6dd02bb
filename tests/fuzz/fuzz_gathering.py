"""Sends random requests to two services, to one together and to the other one by one, and compares what becomes of it.

Each has a cluster of its own, and both go on from turn to turn. Several lanes, which have no user in common, take turns
at once: what is sent one by one waits most of the time. Not part of the tests; run it by hand:
`PYTHONPATH=tests python tests/fuzz/fuzz_gathering.py --requests 1000000`. It fails when an answer differs by a byte, or
what was counted, or what stands. (Also where a node stands still for so long that the others give it up: what is sent
again then may change places with other calls of its turn, but in streams.)
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.message import DecodeError
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.admission.quotas import Limits, Quotas
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.reading.requests import ApplyRequest
from instantaudience_server.memberships.reading.wire import decode_user
from instantaudience_server.memberships.service import MembershipService
from instantaudience_server.observation.telemetry import configure_logging
from instantaudience_server.process.clock import MS_PER_HOUR
from instantaudience_server.segment_sizes import SegmentSizes
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.usage import HourUsage
from instantaudience_server.store.membership_store import ClusterMembershipStore
from instantaudience_server.store.segment_size_store import ClusterSegmentSizeStore
from instantaudience_server.store.usage_store import ClusterUsageStore
from instantaudience_server.transport.methods.audience import apply_answer
from instantaudience_server.usage.counting import Usage
from redis.asyncio import RedisCluster
from support.clocks import FakeClock
from support.cluster.running import connected, emptied, running_cluster
from support.cluster.servers import PRODUCTS
from support.cluster.stored import put_external_ids, stored
from support.contract.model import State
from support.contract.strategies import EXTERNAL_IDS
from support.parts.callers import caller
from support.parts.quotas import Windows
from support.parts.readings import CATALOG
from support.waiting import seconds_from_now

MOST_TOGETHER = 40
LARGE_SHARE = 0.002
PROGRESS_SECONDS = 10.0
AHEAD_MS = 24 * MS_PER_HOUR
"""How far the services' clock is ahead of the clusters', so that no membership ends meanwhile."""
DEADLINE_SECONDS = 600.0
LANES = 64
TURNS_BETWEEN_LOOKS = 5
"""Of each lane, until it is looked at what stands and what was counted: that costs as much as some turns."""
USERNAMES = ("demo", "external")
UNLIMITED = Limits(posts_per_second=10**6, users_per_second=10**9)
GOOD_USER_IDS = 29
BAD_USER_IDS = ["0", "01", "x", "", str(2**64), "crm-0001", "CRM-0002"]
SEGMENT_IDS = [12, 10001, 10002, 20001, 99, 0]
EXPIRATIONS = [None, -3, -1, 0, 1, 1440, 525_600_001]

Outcome = tuple[bytes, Reason | None]


class Requests:
    """A lane's random requests: most without fault, some with, some that no library writes."""

    def __init__(self, seed: int, lane: int) -> None:
        self._random = random.Random(f"{seed} {lane}")
        self._usernames = USERNAMES if lane == 0 else USERNAMES[:1]  # external IDs lead to the same users in all lanes
        self._good_ids = _good_ids(lane)
        self._ids_of_others = {each for other in range(LANES) if other != lane for each in _good_ids(other)}

    def turn(self) -> tuple[str, Limits, bool, list[Any]]:
        """What comes at once: whose it is, the member's limits, whether order matters, and the requests."""
        draw = self._random
        username = draw.choice(self._usernames)
        limits, in_order = UNLIMITED, draw.random() < 0.3
        if draw.random() < 0.1:
            limits = Limits(posts_per_second=draw.randint(1, 30), users_per_second=draw.randint(1, 60))
            in_order = False  # it would wait for the next second
        if draw.random() < 0.05:
            limits = replace(limits, users_per_call=draw.randint(1, 3), segments_per_user=draw.randint(1, 2))
        faults = draw.choice([0.0, 0.0, 0.02, 0.3])
        user_ids = self._good_ids[: draw.choice([2, 30, 30])]
        if faults == 0.3:
            user_ids += BAD_USER_IDS
        count = draw.randint(1, MOST_TOGETHER)
        requests = [self._request(user_ids, faults) for _ in range(count)]
        if draw.random() < 0.1:
            requests = [requests[0]] * count
        return username, limits, in_order, requests

    def _request(self, user_ids: list[str], faults: float) -> Any:
        draw = self._random
        detail = draw.choice([None, None, False, True])  # requests in JSON say False
        request = pb.ApplySegmentsRequest(validate_only=draw.random() < faults / 4, detail=detail)
        shared = self._blocks(faults)
        users = draw.choice([0, 1, 1, 1, 2, 3, 5]) if draw.random() < 0.5 + faults else 1
        if draw.random() < LARGE_SHARE:
            users = draw.choice([500, 1500, 2500])  # past what is read ahead, or what a batch holds
        for _ in range(users):
            user = request.rt_segment.add(seg_block=shared if draw.random() < 0.8 else self._blocks(faults))
            user.user_id = draw.choice(user_ids)
            if draw.random() < faults:
                user.domain = draw.choice(["", "idfa", "email"])
        encoded = request.SerializeToString()
        if draw.random() < faults:
            broken = bytearray(encoded)
            for _ in range(draw.randint(1, 4)):
                if broken:
                    broken[draw.randrange(len(broken))] = draw.randrange(256)
            if self._ids_of_others.isdisjoint(_named_in(bytes(broken))):
                encoded = bytes(broken)
        try:
            return ApplyRequest.FromString(encoded)
        except DecodeError:
            return ApplyRequest([], 0)

    def _blocks(self, faults: float) -> list[pb.SegBlock]:
        draw = self._random
        blocks = []
        for _ in range(draw.randint(1, 3)):
            block = pb.SegBlock(seg_id=draw.choice(SEGMENT_IDS[: 6 if draw.random() < faults else 3]))
            block.value = draw.randint(0, 3)
            expiration = draw.choice(EXPIRATIONS[: 7 if draw.random() < faults else 6])
            if expiration is not None:
                block.expiration = expiration if draw.random() < faults else max(expiration, -1)
            blocks.append(block)
        return blocks


def _good_ids(lane: int) -> list[str]:
    first = 1 + lane * GOOD_USER_IDS
    return [*map(str, range(first, first + GOOD_USER_IDS)), str(2**64 - 1 - lane)]


def _named_in(encoded: bytes) -> set[str]:
    """The IDs of the users that can be read in a request."""
    found: set[str] = set()
    with contextlib.suppress(DecodeError):
        for user in ApplyRequest.FromString(encoded).users:
            with contextlib.suppress(AudienceError):
                found.add(decode_user(user).user_id)
    return found


def outcome(result: Result | BaseException) -> Outcome:
    """What a caller sees. (A request that is past a limit and cannot be read is told one of the two; and how full a
    window is may be said differently.)"""
    if isinstance(result, AudienceError):
        if result.reason in (Reason.RATE_LIMIT_EXCEEDED, Reason.SYNTAX):
            return b"", Reason.SYNTAX
        return result.message.encode(), result.reason
    if isinstance(result, BaseException):
        raise result
    return apply_answer(result).SerializeToString(deterministic=True), None


class World:
    """A service on a cluster of its own."""

    def __init__(self, cluster: Cluster, plain: RedisCluster, clock: FakeClock) -> None:
        self._plain = plain
        self._clock = clock
        self._store = ClusterMembershipStore(cluster)
        self._usage_store = ClusterUsageStore(cluster, worker="fuzz")
        self._usage = Usage(self._usage_store, CATALOG, clock)
        self._sizes = SegmentSizes(ClusterSegmentSizeStore(cluster), clock)

    async def turn(self, calling: Caller, requests: list[Any], *, together: bool, in_order: bool) -> list[Outcome]:
        """What becomes of requests."""
        quotas = Quotas(Windows())
        service = MembershipService(CATALOG, self._store, quotas, self._usage, self._sizes, self._clock)
        deadline = seconds_from_now(DEADLINE_SECONDS)
        results: list[Result | BaseException] = []
        for some in [requests] if together else [[request] for request in requests]:
            futures = [service.apply(request, calling, deadline, in_order=in_order and together) for request in some]
            results += await asyncio.gather(*futures, return_exceptions=True)
        await service.close()
        await quotas.close()
        return [outcome(result) for result in results]

    async def look(self) -> tuple[State, list[HourUsage | None]]:
        """What stands, and what was counted for each member so far."""
        hour, deadline = self._clock.ms // MS_PER_HOUR, seconds_from_now(DEADLINE_SECONDS)
        counts = []
        for username in USERNAMES:
            member_id = caller(username, CATALOG).member.id
            counts += await self._usage_store.read(member_id, [hour], deadline, with_lines=False)
        return await stored(self._plain), counts

    async def close(self) -> None:
        """Let go of the cluster."""
        await self._usage.close()
        await self._sizes.close()


@asynccontextmanager
async def world(product: str, clock: FakeClock) -> AsyncIterator[World]:
    """One with an empty cluster, which knows external IDs."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        embedded = await stack.enter_async_context(running_cluster(product, directory))
        plain = await stack.enter_async_context(emptied(embedded))
        await put_external_ids(plain, EXTERNAL_IDS)
        cluster = await stack.enter_async_context(connected(embedded.url, stalled_seconds=DEADLINE_SECONDS))
        created = World(cluster, plain, clock)
        stack.push_async_callback(created.close)
        yield created


class DifferenceError(Exception):
    """What differs, and where."""


async def drive(requests_of: Requests, gathered: World, apart: World) -> int:
    """Some turns of a lane; how many requests these were. Raises DifferenceError."""
    done = 0
    for _ in range(TURNS_BETWEEN_LOOKS):
        username, limits, in_order, requests = requests_of.turn()
        of = caller(username, CATALOG)
        calling = Caller(of.account, replace(of.member, limits=limits))
        found, expected = await asyncio.gather(
            *[each.turn(calling, requests, together=each is gathered, in_order=in_order) for each in (gathered, apart)]
        )
        if found != expected:
            raise DifferenceError(f"{username} {limits} in order: {in_order}\n{requests}\n{found}\n{expected}")
        done += len(requests)
    return done


async def fuzz(count: int, seed: int, product: str) -> None:
    """Compare so many requests at least. Raises DifferenceError."""
    lanes, clock = [Requests(seed, lane) for lane in range(LANES)], FakeClock(FakeClock.real().ms + AHEAD_MS)
    async with world(product, clock) as gathered, world(product, clock) as apart:
        done, started = 0, time.monotonic()
        shown = started
        while done < count:
            clock.ms += 1
            done += sum(await asyncio.gather(*[drive(lane, gathered, apart) for lane in lanes]))
            found, expected = [await each.look() for each in (gathered, apart)]
            if found != expected:
                raise DifferenceError(f"in the last turns\n{found}\n{expected}")
            if time.monotonic() - shown > PROGRESS_SECONDS:
                shown = time.monotonic()
                print(f"{done} requests, {done / (shown - started):.0f}/s", flush=True)  # noqa: T201
        print(f"{done} requests ended alike, seed {seed}, {time.monotonic() - started:.0f} s")  # noqa: T201


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--product", choices=PRODUCTS, default="valkey")
    arguments = parser.parse_args()
    configure_logging("warning")
    try:
        uvloop.run(fuzz(arguments.requests, arguments.seed, arguments.product))
    except DifferenceError as difference:
        sys.exit(f"seed {arguments.seed} differs: {difference}")


if __name__ == "__main__":
    main()
