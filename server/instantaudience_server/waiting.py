"""Calls that wait for an answer which many of them share, each until its own deadline."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

Result = TypeVar("Result")

SWEEP_SECONDS = 0.02
"""How late, at most, a call ends whose deadline is over."""


class Waiter(Generic[Result]):
    """A call that waits for `done`, until `deadline` (a time of the event loop's clock, in seconds)."""

    __slots__ = ("deadline", "done")

    def __init__(self, deadline: float, done: asyncio.Future[Result]) -> None:
        self.deadline = deadline
        self.done = done

    def succeed(self, result: Result) -> None:
        """Let the call go on, unless it was decided before."""
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Fail, unless it was decided before. Nobody may wait for it any more, so the error counts as noticed."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()


Waiting = TypeVar("Waiting", bound=Waiter[Any])


def fail_late(waiters: Iterable[Waiting], now: float, error: Callable[[], BaseException]) -> list[Waiting]:
    """Fail the calls whose deadline is over; those that still wait. The others need not be kept: while an answer does
    not come, there may be ever more of them."""
    waiting = []
    for waiter in waiters:
        if waiter.deadline <= now and not waiter.done.done():
            waiter.fail(error())
        if not waiter.done.done():
            waiting.append(waiter)
    return waiting


class Group(Protocol):
    """Some waiters."""

    @property
    def busy(self) -> bool:
        """Whether calls wait."""

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline is over."""


class Sweeper:
    """Fails the calls whose deadline is over: one timer for all, because timers cost and deadlines rarely pass.

    It looks at those groups alone in which calls wait: there may be one for each of thousands of members.
    """

    def __init__(self) -> None:
        self._groups: set[Group] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, group: Group) -> None:
        """Sweep a group in which a call is about to wait, until none does."""
        self._groups.add(group)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self._groups = {group for group in self._groups if group.busy}
        now = self._loop.time()
        for group in list(self._groups):
            group.fail_overdue(now)
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._groups else None
