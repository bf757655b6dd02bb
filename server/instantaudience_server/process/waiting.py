"""Lets many calls wait for one answer that they share, each until its own deadline."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

Result = TypeVar("Result")

SWEEP_SECONDS = 0.02
"""How late after its deadline a call fails, at most."""


class Waiter(Generic[Result]):
    """A call that waits for `done`, until `deadline` (a time of the event loop's clock, in seconds)."""

    __slots__ = ("deadline", "done")

    def __init__(self, deadline: float, done: asyncio.Future[Result]) -> None:
        self.deadline = deadline
        self.done = done

    def succeed(self, result: Result) -> None:
        """Give the call its result, unless it is done already."""
        if not self.done.done():
            self.done.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Fail the call, unless it is done already. If nobody waits any more, asyncio does not log the error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()


Waiting = TypeVar("Waiting", bound=Waiter[Any])


def fail_late(waiters: Iterable[Waiting], now: float, error: Callable[[], BaseException]) -> list[Waiting]:
    """Fail the calls whose deadline has passed; returns those that still wait.

    Callers should keep only those: while no answer comes, others may go on arriving.
    """
    waiting = []
    for waiter in waiters:
        if waiter.deadline <= now and not waiter.done.done():
            waiter.fail(error())
        if not waiter.done.done():
            waiting.append(waiter)
    return waiting


class Group(Protocol):
    """A group of waiters that the `Sweeper` looks after."""

    @property
    def busy(self) -> bool:
        """Whether any call of the group waits."""

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline has passed; `now` is by the event loop's clock."""


class Sweeper:
    """Fails calls whose deadline has passed. One timer serves all calls, because timers cost and deadlines rarely pass.

    It visits only groups in which calls wait, as there may be thousands of groups, one for each member.
    """

    def __init__(self) -> None:
        self._groups: set[Group] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, group: Group) -> None:
        """Sweep this group regularly, as long as any of its calls waits."""
        self._groups.add(group)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Stop sweeping."""
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        self._groups = {group for group in self._groups if group.busy}
        now = self._loop.time()
        for group in list(self._groups):
            group.fail_overdue(now)
        self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._groups else None
