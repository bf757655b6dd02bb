"""Reads the memberships in the cluster with plain commands, and compares them with what the contract demands."""

import time
from collections.abc import Mapping
from typing import Any

from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.membership_store import ClusterMembershipStore, ClusterWriting
from redis.asyncio import RedisCluster

from support.clocks import FakeClock
from support.contract.model import ExternalIds, State
from support.contract.vectors import Membership, Vector
from support.parts.readings import LETTERS, user_of

_LETTER_OF = {domain: letter for letter, domain in LETTERS.items()}
MINUTE_MS = 60_000
FAR_MS = 4_000_000_000_000
"""A time after the ends of all vectors."""


def now_ms() -> int:
    """The Unix time in ms."""
    return time.time_ns() // 1_000_000


async def let_pass(cluster: RedisCluster, ms: int) -> None:
    """Backdate sign-ins and guesses by this much: nodes date them by their own clocks, which tests cannot advance."""
    for pattern in ("a:*", "f:*"):
        async for key in cluster.scan_iter(match=pattern):
            dated = await cluster.zrange(key, 0, -1, withscores=True)
            await cluster.zadd(key, {name: score - ms for name, score in dated})


def key_of(domain: str, user_id: str) -> str:
    """A user's key (design, "Storage")."""
    return f"m:{_LETTER_OF[domain]}:{user_id}"


async def stored(cluster: RedisCluster) -> State:
    """All memberships in the cluster."""
    keys = [key async for key in cluster.scan_iter(match="m:*", count=1000)]
    pipeline = cluster.pipeline()
    for key in keys:
        pipeline.hgetall(key)
    values = await pipeline.execute()
    for key, fields in zip(keys, values, strict=True):
        pipeline.hpexpiretime(key, *fields)
    ends = await pipeline.execute()
    return {
        user_of(key): {
            int(segment_id): (int(value), max(end, 0))
            for (segment_id, value), end in zip(fields.items(), key_ends, strict=True)
        }
        for key, fields, key_ends in zip(keys, values, ends, strict=True)
    }


async def forget_users(cluster: RedisCluster) -> None:
    """Delete all memberships and external IDs; sessions stay."""
    keys = [key for pattern in ("m:*", "x:*") async for key in cluster.scan_iter(match=pattern, count=1000)]
    pipeline = cluster.pipeline()
    for key in keys:
        pipeline.delete(key)
    await pipeline.execute()


async def put(cluster: RedisCluster, state: State) -> None:
    """Write the memberships of a state."""
    pipeline = cluster.pipeline()
    for (domain, user_id), memberships in state.items():
        key = key_of(domain, user_id)
        for segment_id, (value, end_ms) in memberships.items():
            pipeline.hset(key, str(segment_id), str(value))
            if end_ms:
                pipeline.hpexpireat(key, end_ms, segment_id)
    await pipeline.execute()


async def put_before(cluster: RedisCluster, vector: Vector) -> None:
    """Write memberships for a vector to remove, or to change to another value and end."""
    await put(cluster, {user: dict.fromkeys(segments, (7, FAR_MS)) for user, segments in vector.memberships.items()})


async def put_external_ids(cluster: RedisCluster, external_ids: ExternalIds) -> None:
    """Write mappings of external IDs to users."""
    for (member_id, external_id), user_id in external_ids.items():
        await cluster.set(f"x:{member_id}:{external_id}", user_id)


def state_at(now_ms: int, memberships: Mapping[tuple[str, str], Mapping[int, Membership]]) -> State:
    """The state of a vector's memberships, if written at this time."""
    state = {
        user: {
            segment_id: (expected.value, now_ms + expected.expiration * MINUTE_MS if expected.expiration else 0)
            for segment_id, expected in segments.items()
            if expected.expiration >= 0
        }
        for user, segments in memberships.items()
    }
    return {user: segments for user, segments in state.items() if segments}


def assert_between(actual: State, earliest: State, latest: State) -> None:
    """Check that the memberships are those of both states, with ends between the ends there."""
    assert _shape(actual) == _shape(earliest) == _shape(latest)
    for user, memberships in actual.items():
        for segment_id, (_, end_ms) in memberships.items():
            assert earliest[user][segment_id][1] <= end_ms <= latest[user][segment_id][1], (user, segment_id)


def _shape(state: State) -> dict[tuple[str, str], dict[int, tuple[int, bool]]]:
    return {
        user: {segment_id: (value, end_ms == 0) for segment_id, (value, end_ms) in memberships.items()}
        for user, memberships in state.items()
    }


class SlowStore(ClusterMembershipStore):
    """A store whose writes are delayed."""

    def __init__(self, cluster: Cluster, clock: FakeClock, write_ms: int) -> None:
        super().__init__(cluster)
        self._clock = clock
        self._write_ms = write_ms

    def write(self, *arguments: Any, **options: Any) -> ClusterWriting:
        """Write, after the delay."""
        self._clock.ms += self._write_ms
        return super().write(*arguments, **options)
