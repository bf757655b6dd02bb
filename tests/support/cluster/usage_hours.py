"""Usage hours of members in the cluster (docs/adr/0014-usage.md)."""

from collections.abc import Iterable, Mapping
from typing import Any

from instantaudience_server.store.interfaces.usage import Lines
from instantaudience_server.store.keys import usage_key, usage_lines_key
from redis.asyncio import RedisCluster


def put_hour(pipeline: Any, member_id: int, hour: int, counters: Mapping[Any, Any], lines: Mapping[str, str]) -> None:
    """Add the commands that write an hour to a pipeline; the lines of a kind are joined by line breaks."""
    pipeline.hset(usage_key(member_id, hour), mapping=dict(counters))
    for kind, text in lines.items():
        pipeline.set(usage_lines_key(member_id, hour, kind), f"{text}\n")


async def put_hours(
    nodes: RedisCluster, member_id: int, hours: Iterable[int], counters: Mapping[Any, Any], lines: Mapping[str, str]
) -> None:
    """Write hours with equal content."""
    pipeline = nodes.pipeline()
    for hour in hours:
        put_hour(pipeline, member_id, hour, counters, lines)
    await pipeline.execute()


async def delete_hours(nodes: RedisCluster, member_id: int, hours: Iterable[int]) -> None:
    """Delete hours."""
    pipeline = nodes.pipeline()
    for hour in hours:
        pipeline.delete(usage_key(member_id, hour))
        for kind in Lines._fields:
            pipeline.delete(usage_lines_key(member_id, hour, kind))
    await pipeline.execute()
