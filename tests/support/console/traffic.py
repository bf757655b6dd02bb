"""Usage of a member, for the console to show."""

import time
from collections.abc import Iterable

import httpx
from instantaudience_server.store.interfaces.usage import Tally
from redis.asyncio import RedisCluster

from support.cluster.usage_hours import put_hour

MEMBER = 777
"""The member of the demo catalog whose usage is known; nothing else calls for it."""
ACCOUNT = "private"
"""The account of that member."""
USAGE = {
    2: Tally(10, 400, 800, 50, 100, 3, 2, 1, 4),
    3: Tally(5, 5, 5),
    20: Tally(1, 1, 0, 1),
    60: Tally(1000, 90_001, 180_000, 7, 10_000, 0, 0, 0, 12),
    300: Tally(7, 70, 700, 0, 0, 0, 0, 9, 0),
}
"""Hours before the current one → usage. None is near the end of a displayed time span."""
REASONS = {
    2: {"failed:rate_limit": 3, "failed:limit": 1, "skipped:invalid_user_id": 1200},
    3: {"skipped:segment_required": 5},
    60: {"failed:unavailable": 12},
}
"""The same for reasons of failed calls, and of skipped users and blocks."""
ERROR_LINES = [
    "Inactive users: a-b, c",
    "Invalid segments (id, code, segment owner member id): (99, '', 0)",
    "Inactive segments (id, code, segment owner member id): (41, '<b>old</b>', 777)",
]
SEGMENT_LINES = [
    "Valid users: 18",
    """Valid segments (id, code, segment owner member id): (40002, 'x', 777), (7, "it's, (1", 1262)""",
    "Valid additions (user id, segment id, expiration): (17, 40002, 60), (9, 40002, 0)",
    "Valid removals (user id, segment id, expiration): (17, 40001, -1)",
]
"""Lines of hour 2, oldest first."""
MORE_SEGMENTS = 199
"""Number of segments that are added to the member's one in the demo catalog."""
LONG_NAME = "W" * 255
"""The name of the first of them, as long as names may be."""


async def put_usage(cluster: RedisCluster) -> None:
    """Write `USAGE` and the lines."""
    now = int(time.time()) // 3600
    lines = {2: {"errors": "\n".join(ERROR_LINES), "segments": "\n".join(SEGMENT_LINES)}}
    pipeline = cluster.pipeline()
    for back, tally in USAGE.items():
        counters = {name: count for name, count in tally._asdict().items() if count} | REASONS.get(back, {})
        put_hour(pipeline, MEMBER, now - back, counters, lines.get(back, {}))
    await pipeline.execute()


async def put_segments(http: httpx.AsyncClient) -> None:
    """Create `MORE_SEGMENTS` segments, as the member."""
    for number in range(MORE_SEGMENTS):
        fields = {"code": f"more_{number}", "short_name": f"Number {number}" if number else LONG_NAME}
        (await http.post("/segment", json={"segment": fields})).raise_for_status()


def total(hours: int) -> Tally:
    """The sum of the last hours."""
    tallies: Iterable[Tally] = (tally for back, tally in USAGE.items() if back < hours)
    return Tally(*map(sum, zip(*tallies, strict=True)))
