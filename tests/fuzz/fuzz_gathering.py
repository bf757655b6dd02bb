"""Sends random requests to the service, some together and the same one by one, and compares what becomes of them.

Not part of the tests; run it by hand: `PYTHONPATH=tests python tests/fuzz/fuzz_gathering.py --requests 1000000`. It
fails when an answer differs by a byte, or what stands afterwards, or what was counted.
"""

import argparse
import asyncio
import random
import sys
import time
from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.posts import Result
from instantaudience_server.memberships.wire import EncodedRequest
from instantaudience_server.quotas import Limits
from instantaudience_server.transport.apply_answers import apply_answer
from support.callers import caller
from support.readings import CATALOG, Reader, applied, by_user
from support.strategies import EXTERNAL_IDS

MOST_TOGETHER = 40
LARGE_SHARE = 0.002
PROGRESS_SECONDS = 10.0
UNLIMITED = Limits(posts_per_second=10**6, users_per_second=10**9)
USER_IDS = [*map(str, range(1, 30)), "0", "01", "x", "", str(2**64 - 1), str(2**64), "crm-0001", "CRM-0002"]
SEGMENT_IDS = [12, 10001, 10002, 20001, 99, 0]
EXPIRATIONS = [None, -3, -1, 0, 1, 1440, 525_600_001]

Outcome = tuple[bytes, Reason | None]


class Requests:
    """Random requests: most without fault, some with, some that no library writes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def turn(self) -> tuple[str, Limits, bool, list[Any]]:
        """What comes at once: whose it is, the member's limits, whether order matters, and the requests."""
        draw = self._random
        username = draw.choice(["demo", "demo", "demo", "external"])
        limits = UNLIMITED
        if draw.random() < 0.1:
            limits = Limits(posts_per_second=draw.randint(1, 30), users_per_second=draw.randint(1, 60))
        if draw.random() < 0.05:
            limits = replace(limits, users_per_call=draw.randint(1, 3), segments_per_user=draw.randint(1, 2))
        faults = draw.choice([0.0, 0.0, 0.02, 0.3])
        user_ids = USER_IDS[: draw.choice([2, 29, 29])] if faults < 0.3 else USER_IDS
        count = draw.randint(1, MOST_TOGETHER)
        requests = [self._request(user_ids, faults) for _ in range(count)]
        if draw.random() < 0.1:
            requests = [requests[0]] * count
        return username, limits, draw.random() < 0.3, requests

    def _request(self, user_ids: list[str], faults: float) -> Any:
        draw = self._random
        request = pb.ApplySegmentsRequest(validate_only=draw.random() < faults / 4)
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
            encoded = bytes(broken)
        try:
            return EncodedRequest.FromString(encoded)
        except DecodeError:
            return EncodedRequest()

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


async def run_turn(
    calling: Caller, requests: list[Any], *, together: bool, in_order: bool
) -> tuple[list[Outcome], Any, Any]:
    """What becomes of requests, what stands, and what was counted."""
    reader = Reader(CATALOG, EXTERNAL_IDS)
    deadline = float("inf")
    if together:
        futures = [reader.service.apply(request, calling, deadline, in_order=in_order) for request in requests]
        results = await asyncio.gather(*futures, return_exceptions=True)
    else:
        results = [
            (await asyncio.gather(reader.service.apply(request, calling, deadline), return_exceptions=True))[0]
            for request in requests
        ]
    state: Any = {}
    for changes in reader.store.changes:
        state = applied(by_user(changes), state)
    of = reader.counted.applied
    counts = (
        sum(each.calls for each in of),
        [sum(column) for column in zip(*(each.totals for each in of), strict=True)],
        sorted(str(refusal) for each in of for refusal in each.refusals),
    )
    await reader.service.close()
    await reader.quotas.close()
    return [outcome(result) for result in results], state, counts


async def fuzz(count: int, seed: int) -> bool:
    """Whether all requests ended alike."""
    requests_of = Requests(seed)
    done, started = 0, time.monotonic()
    shown = started
    while done < count:
        username, limits, in_order, requests = requests_of.turn()
        of = caller(username, CATALOG)
        calling = Caller(of.account, replace(of.member, limits=limits))
        together = await run_turn(calling, requests, together=True, in_order=in_order)
        apart = await run_turn(calling, requests, together=False, in_order=in_order)
        if together != apart:
            print(f"PROBLEM {username} {limits} in order: {in_order}\n{requests}\n{together}\n{apart}")  # noqa: T201
            return False
        done += len(requests)
        if time.monotonic() - shown > PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"{done} requests, {done / (shown - started):.0f}/s", flush=True)  # noqa: T201
    print(f"{done} requests ended alike, seed {seed}, {time.monotonic() - started:.0f} s")  # noqa: T201
    return True


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not asyncio.run(fuzz(arguments.requests, arguments.seed)):
        sys.exit(1)


if __name__ == "__main__":
    main()
