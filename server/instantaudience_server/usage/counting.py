"""Counts what members send, hour by hour, for the reports (source: contract, "GET /rt-segment-processed").

A worker combines what comes while an addition to a member's hour is under way into the next one, so that a call costs a
fraction of a command. A call is answered when its addition was made; docs/adr/0014-usage.md says why each counts once.
"""

import asyncio
from collections import Counter
from functools import partial
from itertools import count

import structlog
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.clock import MS_PER_HOUR, Clock
from instantaudience_server.errors import AudienceError, unavailable
from instantaudience_server.metrics import MEMBER_CALL_FAILURES, SKIPPED_PARTS, applied_parts
from instantaudience_server.settings import Durability
from instantaudience_server.store.interfaces.usage import NO_REASONS, Addition, CallFailure, Skip, Tally, UsageStore
from instantaudience_server.store.interfaces.usage import Reason as CountedReason
from instantaudience_server.telemetry import Event
from instantaudience_server.usage.samples import LinePace, Samples
from instantaudience_server.waiting import Sweeper, Waiter, fail_late

log = structlog.get_logger()

MOST_HOURS = 20_000
"""Hours of members that a worker keeps, about."""
ATTEMPT_SECONDS = 5.0
RETRY_SECONDS = 0.1
"""How long the cluster has to take an addition, and the pause before it is sent again."""
KEPT_SECONDS = 1800.0
"""How long an addition is sent again. Longer than any call lives, and shorter than the store knows its number."""
FAILURE_SECONDS = 0.2
"""How long the answer to a failed call waits to be counted, at most."""
CLOSE_SECONDS = 1.0
"""How long the last additions may take at the end."""
NOT_COUNTED = "the cluster did not count the call in time; it may be applied, and sending it again is safe"

Counted = asyncio.Future[None]
"""Done when a call is counted; else it fails with AudienceError UNAVAILABLE. It need not be awaited."""

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
"""Code of a warning → its counter's position in a tally."""


_SKIPS = {pb.WarningCode.Value(f"WARNING_CODE_{skip.name}"): skip for skip in Skip}
_count_failure = {each: MEMBER_CALL_FAILURES.labels(each).inc for each in CallFailure}
_count_skip = {each: SKIPPED_PARTS.labels(each).inc for each in Skip}


class Usage:
    """Counts for all members. Deadlines are times of the event loop's clock, in seconds."""

    def __init__(self, store: UsageStore, catalog: Catalog, clock: Clock) -> None:
        self._store = store
        self._catalog = catalog
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._hours: dict[tuple[int, int], _Hour] = {}
        self._newest = 0
        """The newest hour that was counted for, or one since the clock was set back by more than an hour."""
        self._numbers = count(1)
        self._pace = LinePace()
        self._sweeper = Sweeper()

    def count(self, member_id: int, applied: Applied, deadline: float) -> Counted:
        """Count a call that is applied, in the hour it was read in."""
        waiter: _Waiter = Waiter(deadline, self._loop.create_future())
        self._hour(member_id, applied.now_ms).add(applied, waiter)
        return waiter.done

    def count_failure(self, member_id: int, failure: CallFailure, calls: int = 1) -> Counted:
        """Count a call that failed, or several. They are counted sooner or later; what to await ends after a moment.

        `failures` says which failure it is.
        """
        _count_failure[failure](calls)
        waiter: _Waiter = Waiter(self._loop.time() + FAILURE_SECONDS, self._loop.create_future())
        self._hour(member_id, self._clock.now_ms()).add_failure(waiter, failure, calls)
        return waiter.done

    async def close(self) -> None:
        """Add what is left, as far as the cluster takes it at once."""
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


class _Hour:
    """An hour of a member: one addition is under way at a time, and the next one gathers."""

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
        """Whether calls wait."""
        return bool(self._asked or self._waiting)

    @property
    def open(self) -> bool:
        """Whether there is something left to add."""
        return self._addition is not None or any(self._tally) or bool(self._samples)

    def add(self, applied: Applied, waiter: _Waiter) -> None:
        """Count a call, with the next addition."""
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
        """Count calls that failed, with the next addition."""
        self._reasons[failure] += calls
        self._tally[_OTHER_ERRORS] += calls
        self._wait(waiter)

    def fail_overdue(self, now: float) -> None:
        """Fail the calls whose deadline is over; what they did is counted all the same."""
        error = partial(unavailable, NOT_COUNTED)
        self._asked, self._waiting = fail_late(self._asked, now, error), fail_late(self._waiting, now, error)

    async def close(self) -> None:
        """Add what is left, within a moment; calls that still wait fail."""
        self._samples.hurry()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.open:
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
        """Add what has gathered."""
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
        """What the member's additions wait for; None: what the service's do."""
        member = self._catalog.members.get(self._member_id)
        return None if member is None else member.durability

    def _attempted(self, addition: Addition, attempt: "asyncio.Future[None]") -> None:
        """The first attempt is over. Hardly any fails; a task goes on with those that do."""
        if not attempt.cancelled() and isinstance(attempt.exception(), AudienceError):
            self._addition = self._loop.create_task(self._deliver(addition))
            self._addition.add_done_callback(self._delivered)
        else:
            self._delivered(attempt)

    async def _deliver(self, addition: Addition) -> None:
        """Send an addition until the cluster has taken it: its calls are gone by then, but what they did is counted.
        Others wait behind it, so it has to stand where its member wants it by now."""
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
        """An addition was made, or is lost."""
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
