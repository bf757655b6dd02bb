"""Counts what members send, hour by hour, for the reports (source: contract, "GET /rt-segment-processed").

A worker makes one addition to a member's hour at a time: calls that come meanwhile share the next one, so that each
costs a fraction of a command. A call is answered after its addition; docs/adr/0014-usage.md says why each counts once.
"""

import asyncio
from collections import Counter
from functools import partial
from itertools import count

import structlog
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.errors import AudienceError, unavailable
from instantaudience_server.observation.metrics import MEMBER_CALL_FAILURES, SKIPPED_PARTS, applied_parts
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.clock import MS_PER_HOUR, Clock
from instantaudience_server.process.waiting import Sweeper, Waiter, fail_late
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.usage import NO_REASONS, Addition, CallFailure, Skip, Tally, UsageStore
from instantaudience_server.store.interfaces.usage import Reason as CountedReason
from instantaudience_server.usage.samples import LinePace, Samples

log = structlog.get_logger()

MOST_HOURS = 20_000
"""About the most hours of members that a worker holds in memory."""
ATTEMPT_SECONDS = 5.0
RETRY_SECONDS = 0.1
"""How long the cluster has to take an addition, and the pause before it is sent again."""
KEPT_SECONDS = 1800.0
"""How long an addition is retried: longer than any call lasts, and shorter than the store remembers its number."""
FAILURE_SECONDS = 0.2
"""How long the answer to a failed call waits for its count, at most."""
CLOSE_SECONDS = 1.0
"""How long the last additions may take at shutdown."""
NOT_COUNTED = "the cluster did not count the call in time; it may be applied, and sending it again is safe"

Counted = asyncio.Future[None]
"""Done when a call is counted; fails with AudienceError UNAVAILABLE at the deadline. It need not be awaited."""

_Waiter = Waiter[None]
_position = Tally._fields.index
_CALLS, _OTHER_ERRORS = _position("calls"), _position("other_errors")
_USERS, _ADDS, _REMOVES = map(_position, ("valid_users", "valid_adds", "valid_removes"))
_REFUSED = {
    pb.WARNING_CODE_UNKNOWN_USER_ID: _position("invalid_users"),
    pb.WARNING_CODE_SUPPRESSED_USER_ID: _position("invalid_users"),
    pb.WARNING_CODE_UNKNOWN_SEGMENT: _position("invalid_segments"),
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: _position("unauth_segments"),
    pb.WARNING_CODE_INACTIVE_SEGMENT: _position("inactive_segments"),
}
"""Warning code → the position of its counter in a `Tally`."""


_SKIPS = {pb.WarningCode.Value(f"WARNING_CODE_{skip.name}"): skip for skip in Skip}
_count_failure = {each: MEMBER_CALL_FAILURES.labels(each).inc for each in CallFailure}
_count_skip = {each: SKIPPED_PARTS.labels(each).inc for each in Skip}


class Usage:
    """Counts the calls of all members. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: UsageStore, catalog: Catalog, clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._hours: dict[tuple[int, int], _Hour] = {}
        self._newest = 0
        """The newest hour that was counted for; an earlier one if the clock was set back by more than an hour."""
        self._numbers = count(1)
        self._pace = LinePace()
        self._sweeper = Sweeper()

    def count(self, member_id: int, applied: Applied, deadline: float) -> Counted:
        """Count a call that is being applied, in the hour in which it was read."""
        waiter: _Waiter = Waiter(deadline, self._loop.create_future())
        self._hour(member_id, applied.now_ms).add(applied, waiter)
        return waiter.done

    def count_failure(self, member_id: int, failure: CallFailure, calls: int = 1) -> Counted:
        """Count failed calls. The future returned ends after `FAILURE_SECONDS` at most; they are counted even later.

        `usage/failures.py` has the `CallFailure` of a reason or status.
        """
        _count_failure[failure](calls)
        waiter: _Waiter = Waiter(self._loop.time() + FAILURE_SECONDS, self._loop.create_future())
        self._hour(member_id, self._clock.now_ms()).add_failure(waiter, failure, calls)
        return waiter.done

    async def close(self) -> None:
        """Make the last additions, within `CLOSE_SECONDS`."""
        self._sweeper.close()
        await asyncio.gather(*[hour.close() for hour in self._hours.values()])

    def _hour(self, member_id: int, now_ms: int) -> "_Hour":
        key = member_id, now_ms // MS_PER_HOUR
        hour = self._hours.get(key)
        if hour is None:
            if not self._newest - 1 <= key[1] <= self._newest or len(self._hours) >= MOST_HOURS:
                self._newest = key[1]
                self._hours = {key: hour for key, hour in self._hours.items() if hour.open}
            hour = self._hours[key] = _Hour(self._store, self._catalog, self._numbers, self._pace, *key)
        self._sweeper.arm(hour)
        return hour


async def wait_counted(counted: Counted) -> None:
    """Wait until a call is counted, or is not in time: also if the count is cancelled, and the caller of this is not.

    Raises:
        Exception: a defect of the count.
    """
    await asyncio.wait([counted])
    if counted.cancelled():
        return
    error = counted.exception()
    if error is not None and not isinstance(error, AudienceError):
        raise error


class _Hour:
    """The counts of an hour of a member. One addition is under way at a time; what comes meanwhile is in the next."""

    def __init__(
        self, store: UsageStore, catalog: Catalog, numbers: "count[int]", pace: LinePace, member_id: int, hour: int
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._numbers = numbers
        self._member_id = member_id
        self._hour = hour
        self._loop = asyncio.get_running_loop()
        self._tally = [0] * len(Tally._fields)
        self._reasons: Counter[CountedReason] = Counter()
        self._samples = Samples(catalog, pace, self._send)
        self._waiting: list[_Waiter] = []
        self._asked: list[_Waiter] = []
        self._addition: asyncio.Future[None] | None = None
        self._gathering = False

    @property
    def busy(self) -> bool:
        """Whether calls wait to be counted."""
        return bool(self._asked or self._waiting)

    @property
    def open(self) -> bool:
        """Whether an addition is under way or anything is left to add."""
        return self._addition is not None or any(self._tally) or bool(self._samples)

    def add(self, applied: Applied, waiter: _Waiter) -> None:
        """Count a call in the next addition."""
        tally = self._tally
        users, adds, removes = applied.totals
        applied_parts.add(applied.totals)
        tally[_CALLS] += applied.calls
        tally[_USERS] += users
        tally[_ADDS] += adds
        tally[_REMOVES] += removes
        for refusal in applied.refusals:
            tally[_REFUSED[refusal.code]] += 1
        for code, parts in applied.skipped.items():
            skip = _SKIPS[code]
            self._reasons[skip] += parts
            _count_skip[skip](parts)
        self._samples.add(applied)
        self._wait(waiter)

    def add_failure(self, waiter: _Waiter, failure: CallFailure, calls: int) -> None:
        """Count failed calls in the next addition."""
        self._reasons[failure] += calls
        self._tally[_OTHER_ERRORS] += calls
        self._wait(waiter)

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline has passed; they are counted all the same."""
        error = partial(unavailable, NOT_COUNTED)
        self._asked, self._waiting = fail_late(self._asked, now, error), fail_late(self._waiting, now, error)

    async def close(self) -> None:
        """Make the last additions, within `CLOSE_SECONDS`; calls that still wait then fail."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.open:
                    self._samples.hurry()
                    if self._addition is None:
                        self._send()
                    if self._addition is not None:
                        await asyncio.wait([self._addition])
        except TimeoutError:
            log.error(Event.USAGE_LOST)
        finally:
            self._samples.hurry()
            if self._addition is not None:
                self._addition.cancel()
                await asyncio.gather(self._addition, return_exceptions=True)
            for waiter in (*self._asked, *self._waiting):
                waiter.fail(unavailable(NOT_COUNTED))

    def _wait(self, waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        if self._addition is None and not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Start an addition of everything that has been counted since the last one."""
        self._gathering = False
        if self._addition is not None:
            return
        lines = self._samples.take()
        if not (any(self._tally) or lines.errors or lines.segments):
            return
        addition = Addition(
            self._member_id,
            self._hour,
            next(self._numbers),
            Tally(*self._tally),
            lines,
            self._reasons or NO_REASONS,
            self._durability(),
        )
        self._tally = [0] * len(Tally._fields)
        if self._reasons:
            self._reasons = Counter()
        self._asked, self._waiting = self._waiting, []
        self._addition = self._store.add(addition, self._loop.time() + ATTEMPT_SECONDS)
        self._addition.add_done_callback(partial(self._attempted, addition))

    def _durability(self) -> Durability | None:
        """The durability that the member's additions need; None for the service's default."""
        member = self._catalog.members.get(self._member_id)
        return None if member is None else member.durability

    def _attempted(self, addition: Addition, attempt: "asyncio.Future[None]") -> None:
        """Finish an addition after its first attempt; if that failed, which is rare, start a task that retries."""
        if not attempt.cancelled() and isinstance(attempt.exception(), AudienceError):
            self._addition = self._loop.create_task(self._deliver(addition))
            self._addition.add_done_callback(self._delivered)
        else:
            self._delivered(attempt)

    async def _deliver(self, addition: Addition) -> None:
        """Retry an addition until the cluster has taken it, for `KEPT_SECONDS` at most, even if its calls have failed
        meanwhile. Each attempt uses the durability that the member has by then, because later additions wait for it.
        """
        give_up = self._loop.time() + KEPT_SECONDS
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            again = addition._replace(durability=self._durability())
            try:
                await self._store.add(again, self._loop.time() + ATTEMPT_SECONDS)
                return
            except AudienceError:
                if self._loop.time() > give_up:
                    raise

    def _delivered(self, addition: "asyncio.Future[None]") -> None:
        """Give the calls of an addition, which was made or is lost, their results; start the next one."""
        asked, self._asked, self._addition = self._asked, [], None
        error = unavailable(NOT_COUNTED) if addition.cancelled() else addition.exception()
        if error is not None and not addition.cancelled():
            log.error(Event.USAGE_LOST)
        for waiter in asked:
            if error is None:
                waiter.succeed(None)
            else:
                waiter.fail(error)
        if self.open and not addition.cancelled():
            self._send()
