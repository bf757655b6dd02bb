"""What is sent: users and segments as commands for the nodes. The load generator sends the same (`workload.rs`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

SEGMENTS = range(1, 201)
"""The segments of the benchmark's catalog."""
USERNAME = "bench"
UNLIMITED = ("posts_per_second", "users_per_second", "gets_per_second")
"""The limits that would stand in the way."""
CAMPAIGNS = 4
"""Users belong to them by turns."""
EXPIRATION_MINUTES = 1440
FIRST_USER = 10_000_000_000_000
POOL = 50_000
"""Users in all: far more than a processor's caches hold."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Calls of so many users with so many blocks each."""

    users: int
    blocks: int

    def __str__(self) -> str:
        return f"{self.users} × {self.blocks}"

    @property
    def memberships(self) -> int:
        """Blocks of a call."""
        return self.users * self.blocks

    def calls(self, places: Sequence[int] = range(POOL)) -> Iterator[list[tuple[str, list[tuple[int, int]]]]]:
        """The calls that make one round through the users with these places in the pool: (user ID, [(segment ID,
        value), …]) for each user."""
        for start in range(0, len(places) - self.users + 1, self.users):
            yield [(str(FIRST_USER + place), self.blocks_of(place)) for place in places[start : start + self.users]]

    def blocks_of(self, index: int) -> list[tuple[int, int]]:
        """(segment ID, value) of each block of the user with this place in the pool."""
        # Users of a call differ in their blocks, as an exporter's do.
        campaign = index % CAMPAIGNS
        return [(SEGMENTS[campaign * 25 + place], campaign) for place in range(self.blocks)]


def write_catalog(path: Path, password: str, usernames: Sequence[str] = (USERNAME,)) -> None:
    """The benchmark's catalog: one member with its accounts, of one password, and all segments."""
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
    """A catalog of these users and all segments. Each has a member of its own, numbered from 1, with the limits of its
    name, or with none a second."""
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
