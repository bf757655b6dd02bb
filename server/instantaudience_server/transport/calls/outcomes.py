"""How calls end: what their callers see of it, and what is noted (log, metric, the member's usage).

A failed call is told that it failed, whatever raises wherever; noting it cannot change that, nor what a call was told.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Protocol

from google.rpc import code_pb2

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason, unavailable
from instantaudience_server.metrics import FAILED_CALLS, count_answers, count_call
from instantaudience_server.store.interfaces.usage import CallFailure
from instantaudience_server.transport.calls.call import is_request_id
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.status import DEFECT_TEXT, Failure, describe
from instantaudience_server.usage.counting import Usage
from instantaudience_server.usage.failures import REASONS

BARE_DEFECT = describe(AudienceError(Reason.INTERNAL, DEFECT_TEXT))
"""What the caller of a defect sees where not even that can be described."""
UNKNOWN_METHOD = "unknown"
"""What calls of methods that there are not are noted as: callers must not be able to make names."""
_DEFECT = Reason.INTERNAL, None
GIVEN_UP = "the server gave the call up; it may be applied, and sending it again is safe"


class CallError(Exception):
    """A call failed; `failure` is what its caller sees."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class CallerLeft(Exception):  # noqa: N818 - no error: nobody waits for the answer
    """The caller cancelled the call, or its connection is gone."""


class Answered(Protocol):
    """A call that was answered: its name, and when it came in, on the event loop's clock."""

    @property
    def request_id(self) -> str: ...
    @property
    def came(self) -> float: ...


class Outcomes:
    """Notes how calls end. `usage` counts the failed ones of members, `call_log` has lines about calls."""

    def __init__(self, usage: Usage, call_log: CallLog | None = None) -> None:
        self._usage = usage
        self._log = call_log or CallLog()
        self._access = self._log.access
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._answered: dict[str, list[float]] = {}
        """When those calls came in that were answered in this turn of the event loop, and are not counted yet: by their
        methods' paths."""

    def succeeded(self, path: str, request_id: str, came: float | None, caller: Caller | None = None) -> None:
        """Note an answer to a call of the method at `path`, which came in then, on the event loop's clock. None: how
        long it has taken says nothing."""
        try:
            seconds = None if came is None else self._time() - came
            count_call(path, code_pb2.OK, seconds)
            if self._access:
                self._log.answered(path, request_id, code_pb2.OK, seconds, None if caller is None else caller.member.id)
        except Exception as error:
            self._log.not_noted(path, request_id, error)

    def succeeded_together(self, path: str, calls: Sequence[Answered], caller: Caller) -> None:
        """As `succeeded`, of calls of one caller: they are counted after this turn of the event loop."""
        if self._access:
            for call in calls:
                self.succeeded(path, call.request_id, call.came, caller)
            return
        if not self._answered:
            self._loop.call_soon(self._count_answered)
        came = [call.came for call in calls]
        if path in self._answered:
            self._answered[path] += came
        else:
            self._answered[path] = came

    def _count_answered(self) -> None:
        answered, self._answered = self._answered, {}
        now = self._time()
        for path, came in answered.items():
            with self._noting(path, ""):
                count_answers(path, [now - each for each in came])

    def refused_before(self, path: str, member_id: int | None, calls: int) -> None:
        """Note that a host has refused so many calls, all of a member's or nobody's, with UNAVAILABLE."""
        with self._noting(path, ""):
            count_call(path, code_pb2.UNAVAILABLE, calls=calls)
            FAILED_CALLS.labels(Reason.UNAVAILABLE.name.lower()).inc(calls)
            self._log.refused_before(path, calls, member_id)
            if member_id is not None:
                self._usage.count_failure(member_id, CallFailure.UNAVAILABLE, calls)

    async def failed(
        self, path: str, request_id: str, error: BaseException, came: float | None, caller: Caller | None = None
    ) -> CallError:
        """Note a failure, and say what to raise for it: what its caller sees. Where nobody waits for that, `error` is
        raised on.

        Anything but an AudienceError is a defect: it is logged, and answered with a bare INTERNAL. Both name the
        request, which gets a name of its own where it has none. A call that is known to be a member's counts in the
        member's usage before it is answered; where the cluster may be out of reach, the answer does not wait for that.
        """
        error = _ended(error)
        reason, member_id = (error.reason, error.member_id) if isinstance(error, AudienceError) else _DEFECT
        if caller is not None:
            member_id = caller.member.id
        failure = self._refused(path, request_id, error, came, member_id)
        if member_id is not None:
            with self._noting(path, request_id):
                counted = self._usage.count_failure(member_id, REASONS[reason])
                # Who was not let in waits for nothing: how long that takes must not tell which names there are.
                if caller is not None and reason is not Reason.UNAVAILABLE:
                    try:
                        await counted
                    except AudienceError:
                        pass
                    except asyncio.CancelledError:
                        # That of the count is not the call's.
                        if _is_cancelled():
                            raise
        return CallError(failure)

    def refused(self, path: str, request_id: str, error: BaseException) -> CallError:
        """As `failed`, for a call whose caller is not known."""
        return CallError(self._refused(path, request_id, error, None))

    def _refused(
        self, path: str, request_id: str, error: BaseException, came: float | None, member_id: int | None = None
    ) -> Failure:
        failure = BARE_DEFECT
        if not is_request_id(request_id):
            request_id = str(uuid.uuid4())
        if not isinstance(error, AudienceError):
            self._log.defect(path, request_id, error)
            error = AudienceError(Reason.INTERNAL, DEFECT_TEXT, request_id=request_id)
        else:
            with self._noting(path, request_id):
                self._log.failed(path, request_id, error, member_id)
        with self._noting(path, request_id):
            failure = describe(error)
        with self._noting(path, request_id):
            seconds = None if came is None else self._time() - came
            count_call(path, failure.code, seconds)
            FAILED_CALLS.labels(error.reason.name.lower()).inc()
            if self._access:
                reason = error.reason.name
                self._log.answered(path, request_id, failure.code, seconds, member_id, reason=reason)
        return failure

    @contextlib.contextmanager
    def _noting(self, path: str, request_id: str) -> Iterator[None]:
        """Log what goes wrong, and go on."""
        try:
            yield
        except Exception as error:
            self._log.not_noted(path, request_id, error)


def _ended(error: BaseException) -> BaseException:
    """Why a call ended; what says that nobody waits for its answer is raised on.

    What a call waited for may be cancelled without the call being: when the server ends.
    """
    if isinstance(error, CallerLeft):
        raise error
    if isinstance(error, asyncio.CancelledError):
        if _is_cancelled():
            raise error
        return unavailable(GIVEN_UP)
    return error


def _is_cancelled() -> bool:
    """Whether it is the call itself that was cancelled, and not what it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
