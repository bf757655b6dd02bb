"""Usage: what members sent, by the hour."""

import asyncio
import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from instantaudience_server.settings import Durability


class Tally(NamedTuple):
    """The counters of a member's calls (source: contract, "GET /rt-segment-processed").

    `calls`, which the contract does not have, is the number of calls that were applied.
    """

    calls: int = 0
    valid_users: int = 0
    valid_adds: int = 0
    valid_removes: int = 0
    invalid_users: int = 0
    invalid_segments: int = 0
    unauth_segments: int = 0
    inactive_segments: int = 0
    other_errors: int = 0


class CallFailure(enum.StrEnum):
    """Why calls of a member failed; `Tally.other_errors` is their sum."""

    SYNTAX = enum.auto()
    INVALID = enum.auto()
    NOAUTH = enum.auto()
    UNAUTH = enum.auto()
    NOT_FOUND = enum.auto()
    METHOD = enum.auto()
    TIMEOUT = enum.auto()
    INTEGRITY = enum.auto()
    LIMIT = enum.auto()
    RATE_LIMIT = enum.auto()
    UNAVAILABLE = enum.auto()
    INTERNAL = enum.auto()


class Skip(enum.StrEnum):
    """Why users and blocks of applied calls were skipped: by rules that need no catalog (source: contract, the tables
    of "POST /rt-segment"), or because the user is suppressed."""

    TOO_MANY_USERS = enum.auto()
    USER_ID_REQUIRED = enum.auto()
    SEG_BLOCK_REQUIRED = enum.auto()
    INVALID_DOMAIN = enum.auto()
    INVALID_USER_ID = enum.auto()
    NO_VALID_SEGMENTS = enum.auto()
    SEGMENT_REQUIRED = enum.auto()
    SEGMENT_AMBIGUOUS = enum.auto()
    INVALID_EXPIRATION = enum.auto()
    TOO_MANY_SEGMENTS = enum.auto()
    SUPPRESSED_USER_ID = enum.auto()


Reason = CallFailure | Skip
Reasons = Mapping[Reason, int]
"""Reason → how many calls failed, or how many users or blocks were skipped, for it."""
NO_REASONS: Reasons = MappingProxyType({})

KEPT_HOURS = 30 * 24
"""How long an hour is kept, in hours."""
MOST_LINES = 200
MOST_LINE_BYTES = 60_000
"""The most lines of each kind that an hour keeps, and their most bytes; the newest ones are kept, and at least one."""


class Lines(NamedTuple):
    """Sampled lines about what was not applied (`errors`) and what was (`segments`), oldest first, without line
    breaks."""

    errors: Sequence[str] = ()
    segments: Sequence[str] = ()


class HourUsage(NamedTuple):
    """What a member sent in an hour."""

    tally: Tally
    lines: Lines
    reasons: Reasons = NO_REASONS


class Addition(NamedTuple):
    """What to add to an hour of a member. `hour` is the number of hours since 1970 (UTC).

    `number` is larger than those of this worker's earlier additions to the hour. `durability` is what the addition
    needs before it counts as made; None: the service's.
    """

    member_id: int
    hour: int
    number: int
    tally: Tally
    lines: Lines
    reasons: Reasons = NO_REASONS
    durability: Durability | None = None


class UsageStore(Protocol):
    """What members sent, by the hour; hours are kept for 30 days."""

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        """Add to an hour; the addition has been sent when this returns. After UNAVAILABLE, the same addition may be
        made again: it counts once.

        For each member and hour, a worker may have at most one addition in flight, and has to repeat it until it is
        answered before it makes another.
        """

    async def read(
        self, member_id: int, hours: Sequence[int], deadline: float, *, with_lines: bool
    ) -> list[HourUsage | None]:
        """Read hours, in the given order; None where nothing was sent. Without `with_lines`, their lines are empty."""
