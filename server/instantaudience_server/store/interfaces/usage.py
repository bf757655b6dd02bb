"""What members sent, by hours."""

import asyncio
import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from instantaudience_server.settings import Durability


class Tally(NamedTuple):
    """What is counted of a member's calls (source: contract, "GET /rt-segment-processed").

    `calls`, which the contract does not have, are those that were applied.
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
    """Why calls of a member failed: what `other_errors` is made of."""

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
    """Why users and blocks of applied calls were skipped before the catalog was asked (source: contract, the tables of
    "POST /rt-segment"), or because the user is suppressed."""

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
"""How many calls failed, and how many parts were skipped, for each reason that there was."""
NO_REASONS: Reasons = MappingProxyType({})

KEPT_HOURS = 30 * 24
"""Older hours are no longer kept."""
MOST_LINES = 200
MOST_LINE_BYTES = 60_000
"""Lines that an hour keeps of each kind, and their bytes: the newest, and at least one."""


class Lines(NamedTuple):
    """Samples of what was not applied, and of what was; oldest first. No line has a line break."""

    errors: Sequence[str] = ()
    segments: Sequence[str] = ()


class HourUsage(NamedTuple):
    """What a member sent in an hour."""

    tally: Tally
    lines: Lines
    reasons: Reasons = NO_REASONS


class Addition(NamedTuple):
    """What to add to an hour of a member. An hour is given by how many had passed since 1970 when it began (UTC).

    `number` is larger than that of this worker's earlier additions to the hour. `durability` says where it has to be
    before it counts as made; None: where the service wants it.
    """

    member_id: int
    hour: int
    number: int
    tally: Tally
    lines: Lines
    reasons: Reasons = NO_REASONS
    durability: Durability | None = None


class UsageStore(Protocol):
    """What members sent, by hours, which are kept for 30 days."""

    def add(self, addition: Addition, deadline: float) -> "asyncio.Future[None]":
        """Add to an hour; the addition has gone out when this returns. After UNAVAILABLE, the same addition may be sent
        again: it counts once.

        Of one member and hour, a worker may have at most one addition under way, and must not leave one for another
        before it is answered.
        """

    async def read(
        self, member_id: int, hours: Sequence[int], deadline: float, *, with_lines: bool
    ) -> list[HourUsage | None]:
        """Read hours, in their order; None where nothing was sent. Without lines, these are empty."""
