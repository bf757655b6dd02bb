"""The workload (users and segments), and the load generator in `server/native/load`, which sends it (`workload.rs`).

The generator is built when it is first used. A client in Python would cost as much as the service; the generator's own
CPU time is reported with every result.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

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


WORKSPACE = Path(__file__).parents[1] / "server" / "native"
CRATE = "instantaudience-load"
WARMUP_SECONDS = 1.0

Address = tuple[str, int]


class LoadError(Exception):
    """The generator cannot run, or the service did not answer as expected; the measurement is invalid."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The users that calls cycle through, in order of ID or `scattered`; all IDs have the same number of digits."""

    users: int = POOL
    first_id: int = FIRST_USER
    order: str = "sequential"


EVERYONE = Pool()
ONE_USER = Shape(1, 2)


@dataclass(frozen=True, slots=True)
class Request:
    """A request without users; of its responses, only the status is checked."""

    method: str
    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Lane:
    """Calls of one kind: `unary`, `stream`, `rest`, `rest_http1`, or a request.

    Either each connection has `in_flight` calls in flight (closed loop), or `per_second` calls are made regardless of
    the results (open loop), which needs a deadline. Tokens are assigned to connections in turn.
    """

    name: str
    address: Address
    call: str | Request
    tokens: Sequence[str]
    shape: Shape = ONE_USER
    connections: int = 64
    in_flight: int | None = None
    per_second: float | None = None
    deadline_seconds: float | None = None
    pool: Pool = EVERYONE
    ca: Path | None = None
    """The CA file of a service with TLS."""

    def plan(self) -> dict[str, Any]:
        """The lane in the generator's format."""
        request = None
        if isinstance(self.call, Request):
            request = asdict(self.call) | {"body": list(self.call.body)}
        pace = {"in_flight": self.in_flight} if self.per_second is None else {"per_second": self.per_second}
        return {
            "name": self.name,
            "address": f"{self.address[0]}:{self.address[1]}",
            "call": "other" if request else self.call,
            "request": request,
            "tokens": list(self.tokens),
            "users": self.shape.users,
            "blocks": self.shape.blocks,
            "connections": self.connections,
            "pace": pace,
            "deadline_ms": self.deadline_seconds and round(self.deadline_seconds * 1000),
            "pool": asdict(self.pool),
            "ca": self.ca and str(self.ca),
        }


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies in ms."""

    p50: float
    p99: float
    p99_9: float
    max: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a lane's calls: answered completely and in time (`ok`), refused, not answered in time, failed
    otherwise, or never sent; and how many were answered or refused within half a second (`soon`)."""

    seconds: float
    calls: int
    ok: int
    refused: int
    late: int
    failed: int
    missed: int
    soon: int
    body_bytes: int
    ok_per_second: float
    answered_ms: Latencies
    refused_ms: Latencies
    lag_ms: Latencies
    """How late the generator sent calls."""
    reasons: Mapping[str, int]
    """Reasons of calls that were not `ok`."""

    def checked(self, *, some_refused: bool = False) -> "Outcome":
        """Return self if all calls were `ok` or, with `some_refused`, none failed otherwise; else raise LoadError."""
        wrong = self.failed if some_refused else self.calls - self.ok
        if wrong or not self.calls:
            raise LoadError(f"{wrong} of {self.calls} calls went wrong: {dict(self.reasons)}")
        return self


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of a run, by lane, and the generator's own CPU time."""

    seconds: float
    processor_seconds: float
    processor_us_per_call: float
    lanes: Mapping[str, Outcome]


def missing() -> str | None:
    """What is missing to run the generator here, or None."""
    return None if shutil.which("cargo") else "cargo is not on PATH: install Rust to build the load generator"


@cache
def binary() -> Path:
    """Build the generator; returns its path.

    Raises:
        LoadError: It cannot be built here.
    """
    if problem := missing():
        raise LoadError(problem)
    argv = ["cargo", "build", "--quiet", "--locked", "--release", "--package", CRATE]
    if subprocess.run(argv, cwd=WORKSPACE, check=False).returncode:
        raise LoadError("the load generator could not be built")
    return WORKSPACE / "target" / "release" / CRATE


async def drive(*lanes: Lane, seconds: float, warmup_seconds: float = WARMUP_SECONDS) -> Report:
    """Run the lanes at once; calls count after the warm-up."""
    plan = {"seconds": seconds, "warmup_seconds": warmup_seconds, "lanes": [lane.plan() for lane in lanes]}
    generator = await asyncio.to_thread(binary)
    process = await asyncio.create_subprocess_exec(
        generator, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, problem = await process.communicate(json.dumps(plan).encode())
    if process.returncode:
        raise LoadError(problem.decode().strip())
    report = json.loads(output)
    report["lanes"] = {lane.pop("name"): _outcome(lane, report["seconds"]) for lane in report["lanes"]}
    return Report(**report)


def _outcome(lane: dict[str, Any], seconds: float) -> Outcome:
    for name in ("answered_ms", "refused_ms", "lag_ms"):
        lane[name] = Latencies(**lane[name])
    return Outcome(seconds=seconds, **lane)
