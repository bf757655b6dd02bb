"""Members' quotas: the calls that were admitted in windows of a second."""

import asyncio
import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Quota(enum.StrEnum):
    """A kind of calls that is limited for each member."""

    POSTS = "posts"
    """Requests to apply memberships, and their users."""
    GETS = "gets"
    """Requests to read."""


class Counts(NamedTuple):
    """Numbers of calls, and of units in them (users, for example): admitted in a window, or a limit."""

    calls: int
    units: int


class Admissions(NamedTuple):
    """Whether each of some calls was admitted, in their order, and everything that was admitted in the window so far.

    `left_seconds` is what was left of the window when the cluster answered.
    """

    admitted: Sequence[bool]
    counts: Counts
    left_seconds: float


class QuotaStore(Protocol):
    """Quota windows of one second, shared by all workers."""

    def ask(
        self, member_id: int, quota: Quota, calls: Sequence[int], limits: Counts, deadline: float
    ) -> "asyncio.Future[Admissions]":
        """Admit calls, each given by its number of units, in this order, as far as the window has room. The question
        has been sent when this returns.

        A call that does not fit is not counted, and a later one may fit. At most one question may be in flight for each
        member and quota. A question that the store has to send again counts once.
        """

    async def used(self, member_id: int, quota: Quota, deadline: float) -> Counts:
        """What was admitted so far in the current window."""
