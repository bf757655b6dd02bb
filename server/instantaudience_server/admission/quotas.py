"""Enforces members' quotas of calls and users per second, over all workers (source: contract, "Limits").

The store decides; docs/adr/0011-quotas.md shows why it never admits more than the limit, and refuses no member below
it. A worker asks for a member's calls with one question at a time: calls that come meanwhile share the next one, so
that each costs a fraction of a command. While a window is known to be full, calls are refused without a question.
"""

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from instantaudience_server.errors import AudienceError, Reason, Spent, unavailable
from instantaudience_server.observation.metrics import QUOTA_REFUSALS
from instantaudience_server.process.waiting import Sweeper, Waiter, fail_late
from instantaudience_server.settings import BODY_LIMIT_BYTES
from instantaudience_server.store.interfaces.quotas import Admissions, Counts, Quota, QuotaStore

POSTED = "rt-segment"
"""The resource that the error text of an exceeded quota names for posts (source: contract, "Limits")."""
MOST_CALLS = 500
"""The most calls in a question: a node does nothing else while it decides on them."""
MOST_COUNTERS = 20_000
"""About the most counters that a worker keeps."""
RETRY_SECONDS = 1
"""When a refused call may be retried: windows last one second."""
UNANSWERED = "the cluster did not say in time whether the call is within its limits; nothing was changed"

_count_refusal = {quota: QUOTA_REFUSALS.labels(quota).inc for quota in ("posts", "users", "gets")}


def count_spent(quota: str, calls: int) -> None:
    """Count calls that a host has refused itself, because a quota was `Spent`."""
    _count_refusal[quota](calls)


Decision = AudienceError | None
"""The error that refuses a call (RATE_LIMIT_EXCEEDED); None if it is admitted."""
Decisions = asyncio.Future[Sequence[Decision]]
"""One decision for each call asked for, in order. Fails with AudienceError UNAVAILABLE; need not be awaited."""
Admitted = Awaitable[None]
"""Done when a call is admitted.

Raises:
    AudienceError: RATE_LIMIT_EXCEEDED, UNAVAILABLE.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """A member's limits (source: contract, "Limits"); the defaults are the contract's."""

    posts_per_second: int = 100
    gets_per_second: int = 1000
    users_per_second: int = 1000
    users_per_call: int = 1000
    segments_per_user: int = 100
    body_bytes: int = BODY_LIMIT_BYTES


class Limited(Protocol):
    """A member, as far as quotas know it."""

    @property
    def id(self) -> int:
        """The member's ID."""

    @property
    def limits(self) -> Limits:
        """The member's limits."""


class Quotas:
    """The quotas of all members. Deadlines are times of the event loop's clock, in seconds.

    If the store does not answer, a call fails with UNAVAILABLE; it is never admitted without an answer.
    """

    def __init__(self, store: QuotaStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._counters: dict[tuple[int, Quota], _Counter] = {}
        self._sweeper = Sweeper()

    def ask_posts(self, member: Limited, users: Sequence[int], deadline: float) -> Decisions:
        """Ask for posts, in the order they came; `users` has the number of users of each. Await the decisions before
        anything is changed."""
        limits = Counts(member.limits.posts_per_second, member.limits.users_per_second)
        return self._counter(member.id, Quota.POSTS).ask(POSTED, users, limits, deadline)

    def next_posts(self, member: Limited) -> float:
        """When there may be room again for refused posts (a time of the event loop's clock, in seconds)."""
        return self._counter(member.id, Quota.POSTS).until

    def ask_gets(self, member: Limited, resource: str, count: int, deadline: float) -> Admitted:
        """Ask for a request that counts as `count` reads; await the result before it is answered. `resource` is what
        the error names.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED, if that is known without asking the store.
        """
        limits = Counts(member.limits.gets_per_second, member.limits.gets_per_second)
        decisions = self._counter(member.id, Quota.GETS).ask(resource, (count,), limits, deadline)
        if decisions.done():
            _go_on(decisions.result())
        return _Admitted(decisions)

    async def close(self) -> None:
        """Cancel the questions under way, and fail the calls that wait for them."""
        self._sweeper.close()
        await asyncio.gather(*[counter.close() for counter in self._counters.values()])

    def _counter(self, member_id: int, quota: Quota) -> "_Counter":
        counter = self._counters.get((member_id, quota))
        if counter is None:
            if len(self._counters) >= MOST_COUNTERS:
                self._counters = {key: counter for key, counter in self._counters.items() if counter.busy}
            counter = self._counters[member_id, quota] = _Counter(self._store, self._loop, member_id, quota)
        self._sweeper.arm(counter)
        return counter


class _Admitted:
    """Awaits the decision on a single call (see `Admitted`)."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    def __await__(self) -> Generator[Any, None, None]:
        _go_on((yield from self._decisions))


def _go_on(decisions: Sequence[Decision]) -> None:
    """Raise the error of a single call if it was refused."""
    (decision,) = decisions
    if decision is not None:
        raise decision


class _Asked(Waiter[Sequence[Decision]]):
    """Calls that were passed to `ask` together: the units of each, and the decisions made so far.

    A unit is a user of a post, or a read.
    """

    __slots__ = ("decisions", "resource", "units")

    def __init__(self, resource: str, units: Sequence[int], deadline: float, done: Decisions) -> None:
        super().__init__(deadline, done)
        self.resource = resource
        self.units = units
        self.decisions: list[Decision] = [None] * len(units)

    def open_units(self) -> Sequence[int]:
        """The units of the calls that are not refused yet."""
        if not any(self.decisions):
            return self.units
        return [each for each, decision in zip(self.units, self.decisions, strict=True) if decision is None]


class _Counter:
    """Counts a member's calls of one kind. One question is under way at a time; calls that come meanwhile wait for the
    next one."""

    def __init__(self, store: QuotaStore, loop: asyncio.AbstractEventLoop, member_id: int, quota: Quota) -> None:
        self._store = store
        self._loop = loop
        self._member_id = member_id
        self._quota = quota
        self._limits = Counts(0, 0)
        self._waiting: list[_Asked] = []
        self._asked: list[_Asked] = []
        self._question: asyncio.Future[Admissions] | None = None
        self._sent = 0.0
        self._counts = Counts(0, 0)
        """What was admitted, when last asked, in the window that lasts at least until `until`. It can only grow."""
        self.until = 0.0
        """When the known window ends at the earliest (a time of the event loop's clock, in seconds)."""
        self._refused = 0
        """How many calls were refused in the known window."""
        self._gathering = False

    @property
    def busy(self) -> bool:
        """Whether a question is under way, or calls wait for the next one."""
        return self._question is not None or bool(self._waiting)

    def ask(self, resource: str, units: Sequence[int], limits: Counts, deadline: float) -> Decisions:
        """Have calls decided with the next question, or at once if there cannot be room for any of them."""
        self._limits = limits
        asked = _Asked(resource, units, deadline, self._loop.create_future())
        if self._loop.time() >= self.until or not self._decide(asked):
            self._waiting.append(asked)
            if self._question is None and not self._gathering:
                if self._quota is Quota.POSTS:  # memberships/gathering.py has gathered those of this turn already
                    self._ask_next()
                else:
                    self._gathering = True
                    self._loop.call_soon(self._send)
        return asked.done

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline has passed."""
        error = partial(unavailable, UNANSWERED)
        fail_late(self._asked, now, error)  # all stay in the list, which must match the answer
        self._waiting = fail_late(self._waiting, now, error)

    async def close(self) -> None:
        """Cancel the question under way, and fail all calls."""
        for asked in self._waiting:
            asked.fail(unavailable(UNANSWERED))
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)

    def _send(self) -> None:
        """Refuse waiting calls for which there is no room, and ask for the others."""
        self._gathering = False
        known = self._loop.time() < self.until
        self._waiting = [asked for asked in self._waiting if not (asked.done.done() or (known and self._decide(asked)))]
        if self._waiting:
            self._ask_next()

    def _ask_next(self) -> None:
        """Send a question with the first waiting calls, as many as it may have."""
        units: list[int] = []
        count = 0
        for asked in self._waiting:
            open_units = asked.open_units()
            if units and len(units) + len(open_units) > MOST_CALLS:
                break
            units += open_units
            count += 1
        self._asked, self._waiting = self._waiting[:count], self._waiting[count:]
        self._sent = self._loop.time()
        deadline = max([asked.deadline for asked in self._asked])
        self._question = self._store.ask(self._member_id, self._quota, units, self._limits, deadline)
        self._question.add_done_callback(self._answered)

    def _decide(self, asked: _Asked) -> bool:
        """Refuse the calls for which there cannot be room; returns whether that decides all of them."""
        for index, units in enumerate(asked.units):
            if asked.decisions[index] is None and not self._fits(units):
                asked.decisions[index] = self._refusal(asked.resource)
        if None in asked.decisions:
            return False
        asked.succeed(asked.decisions)
        return True

    def _answered(self, question: "asyncio.Future[Admissions]") -> None:
        waited, self._asked, self._question = self._asked, [], None
        error = unavailable(UNANSWERED) if question.cancelled() else question.exception()
        if error is not None:
            for asked in waited:
                asked.fail(error)
        else:
            answer = question.result()
            if self._loop.time() >= self.until:
                self._refused = 0
            self._counts = answer.counts
            # `left_seconds` counts from the answer, which is later than `_sent`: so the window ends no earlier.
            self.until = self._sent + answer.left_seconds
            any_refused = not all(answer.admitted)
            admitted = iter(answer.admitted)
            for asked in waited:
                if any_refused:
                    asked.decisions = [
                        decision or (None if next(admitted) else self._refusal(asked.resource))
                        for decision in asked.decisions
                    ]
                asked.succeed(asked.decisions)
        if self._waiting:
            self._send()

    def _fits(self, units: int) -> bool:
        """Whether a call might fit into the known window, which may be fuller than is known."""
        return self._counts.calls < self._limits.calls and self._counts.units + units <= self._limits.units

    def _refusal(self, resource: str) -> AudienceError:
        counts, limits = self._counts, self._limits
        if self._quota is Quota.GETS:
            exceeded, count, quota = f"{limits.units} reads", counts.units, "gets"
        elif counts.calls >= limits.calls:
            exceeded, count, quota = f"{limits.calls} writes", counts.calls, "posts"
        else:
            exceeded, count, quota = f"{limits.units} users", counts.calls, "users"
        _count_refusal[quota]()
        self._refused += 1
        error = AudienceError(
            Reason.RATE_LIMIT_EXCEEDED,
            f"Rate limit exceeded. You have exceeded your request limit of {exceeded} per 1 seconds to {resource}, "
            "wait and try again or contact your administrator for higher limits",
            retry_after_seconds=RETRY_SECONDS,
            count=str(count),
            subject=f"member:{self._member_id}",
        )
        if not self._fits(1):
            error.spent = Spent(self._member_id, quota, self.until, self._refused)
        return error
