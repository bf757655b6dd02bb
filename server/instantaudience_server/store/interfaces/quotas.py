"""What members were admitted of their limits."""

import asyncio
import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Quota(enum.StrEnum):
    """What is counted of a member."""

    POSTS = "posts"
    """Requests to apply memberships, and their users."""
    GETS = "gets"
    """Requests to read."""


class Counts(NamedTuple):
    """How many calls, and how many units (users, for example), are or may be admitted in a window."""

    calls: int
    units: int


class Admissions(NamedTuple):
    """What became of calls: whether each was admitted, in their order, and all that was admitted in the window so far.

    `left_seconds` is how long the window lasted on when the cluster answered.
    """

    admitted: Sequence[bool]
    counts: Counts
    left_seconds: float


class QuotaStore(Protocol):
    """Windows of one second, counted over all workers."""

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """Admit calls, each given by its units, in this order, as far as the window has room for them; the question has
        gone out when this returns.

        A call that does not fit is not counted, and a later one may fit. Of one member and quota, at most one question
        may be under way; one whose answer got lost inside the store counts once.
        """

    async def used(self, member_id: int, quota: Quota, deadline: float) -> Counts:
        """What is admitted so far in the window under way."""
