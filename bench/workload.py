"""The workload: users and segments, as commands for the nodes. The load generator sends the same (`workload.rs`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

SEGMENTS = range(1, 201)
"""The segments of the benchmark's catalog."""
USERNAME = "bench"
UNLIMITED = ("posts_per_second", "users_per_second", "gets_per_second")
"""The limits that would affect the measurements."""
CAMPAIGNS = 4
"""Users are assigned to campaigns in rotation."""
EXPIRATION_MINUTES = 1440
FIRST_USER = 10_000_000_000_000
POOL = 50_000
"""Number of users: far more than fit into a processor's caches."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of calls: users per call, and blocks per user."""

    users: int
    blocks: int

    def __str__(self) -> str:
        return f"{self.users} × {self.blocks}"

    @property
    def memberships(self) -> int:
        """Blocks of a call."""
        return self.users * self.blocks

    def calls(self, places: Sequence[int] = range(POOL)) -> Iterator[list[tuple[str, list[tuple[int, int]]]]]:
        """The calls of one round through the users with these places in the pool: (user ID, [(segment ID, value), …])
        for each user."""
        for start in range(0, len(places) - self.users + 1, self.users):
            yield [(str(FIRST_USER + place), self.blocks_of(place)) for place in places[start : start + self.users]]

    def blocks_of(self, index: int) -> list[tuple[int, int]]:
        """Segment ID and value of each block of the user with this place in the pool."""
        # Users of a call have different blocks, as in real traffic.
        campaign = index % CAMPAIGNS
        return [(SEGMENTS[campaign * 25 + place], campaign) for place in range(self.blocks)]


def write_catalog(path: Path, password: str, usernames: Sequence[str] = (USERNAME,)) -> None:
    """Write the benchmark's catalog: one member with its accounts, which have the same password, and all segments."""
    content = {
        "members": [{"id": 1, "name": "Benchmark", "limits": dict.fromkeys(UNLIMITED, 2**31 - 1)}],
        "users": [
            {"id": number, "username": username, "password": password, "member_id": 1}
            for number, username in enumerate(usernames, 1)
        ],
        "segments": [{"id": segment_id, "member_id": 1} for segment_id in SEGMENTS],
    }
    path.write_text(yaml.safe_dump(content))


def write_members(
    path: Path, password: str, usernames: Sequence[str], limits: Mapping[str, Mapping[str, int]] | None = None
) -> None:
    """Write a catalog of these users and all segments. Each user has its own member, numbered from 1, with the limits
    given for its name, or without limits per second."""
    members = {name: number for number, name in enumerate(usernames, 1)}
    unlimited = dict.fromkeys(UNLIMITED, 2**31 - 1)
    content = {
        "members": [
            {
                "id": number,
                "name": name,
                "segment_access": [1],
                "limits": unlimited if limits is None else dict(limits[name]),
            }
            for name, number in members.items()
        ],
        "users": [
            {"id": number, "username": name, "password": password, "member_id": number}
            for name, number in members.items()
        ],
        "segments": [{"id": segment_id, "member_id": 1} for segment_id in SEGMENTS],
    }
    path.write_text(yaml.safe_dump(content))
