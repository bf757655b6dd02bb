"""The outcomes of calls: what their callers see, and what is recorded in log, metrics and the member's usage.

Whatever is raised, the caller of a failed call gets a failure. If recording an outcome fails, the answer is the same.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from google.rpc import code_pb2

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason, Spent, unavailable
from instantaudience_server.observation.metrics import FAILED_CALLS, count_answers, count_call
from instantaudience_server.store.interfaces.usage import CallFailure
from instantaudience_server.transport.calls.call import is_request_id
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.status import DEFECT_TEXT, ROWS, Failure, describe
from instantaudience_server.usage.counting import Usage, wait_counted
from instantaudience_server.usage.failures import REASONS

BARE_DEFECT = describe(AudienceError(Reason.INTERNAL, DEFECT_TEXT))
"""What a caller sees if even the description of a failure fails."""
UNKNOWN_METHOD = "unknown"
"""The path that calls of unknown methods are recorded with: callers must not be able to add labels to metrics."""
_DEFECT = Reason.INTERNAL, None
GIVEN_UP = "the server gave the call up; it may be applied, and sending it again is safe"


class CallError(Exception):
    """A call failed; `failure` is what its caller sees."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Answered(Protocol):
    """A call that was answered: its request ID, and when it came in, on the event loop's clock in seconds."""

    @property
    def request_id(self) -> str: ...
    @property
    def came(self) -> float: ...


class Outcomes:
    """Records the outcomes of calls: in the metrics, in `call_log`, and failures in the member's `usage`."""

    def __init__(self, usage: Usage, call_log: CallLog | None = None) -> None:
        self._usage = usage
        self._log = call_log or CallLog()
        self._access = self._log.access
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self.refuse_further: Callable[[str, Spent, Failure], None] | None = None
        """Told, by a host that can refuse calls itself, for which method and quota all further calls fail alike."""
        self._answered: dict[str, list[float]] = {}
        """The calls answered in this turn of the event loop that are not counted yet: by path, when each came in."""

    def succeeded(self, path: str, request_id: str, came: float | None, caller: Caller | None = None) -> None:
        """Record an answer to a call of the method at `path`, which came in at `came` on the event loop's clock.

        `came` is None if the duration means nothing, as with a stream that is open for as long as its caller wants.
        """
        try:
            seconds = None if came is None else self._time() - came
            count_call(path, code_pb2.OK, seconds)
            if self._access:
                self._log.answered(path, request_id, code_pb2.OK, seconds, None if caller is None else caller.member.id)
        except Exception as error:
            self._log.not_noted(path, request_id, error)

    def succeeded_together(self, path: str, calls: Sequence[Answered], caller: Caller) -> None:
        """As `succeeded`, for calls of one caller; they are counted after this turn of the event loop."""
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

    def refused_before(self, path: str, member_id: int | None, calls: int, reason: Reason) -> None:
        """Record that a host has refused calls itself, with UNAVAILABLE or RATE_LIMIT_EXCEEDED. `member_id` is None if
        their member is not known."""
        with self._noting(path, ""):
            count_call(path, ROWS[reason].grpc_code, calls=calls)
            FAILED_CALLS.labels(reason.name.lower()).inc(calls)
            self._log.refused_before(path, calls, member_id, reason)
            if member_id is not None:
                self._usage.count_failure(member_id, REASONS[reason], calls)

    async def failed(
        self, path: str, request_id: str, error: BaseException, came: float | None, caller: Caller | None = None
    ) -> CallError:
        """Record a failure; returns the exception to raise for it, with what the caller sees.

        Any error but an AudienceError is a defect: it is logged, and answered with a bare INTERNAL. Both have the
        request's ID; one is made if the call has none. If the call's member is known, the failure is counted in its
        usage before the answer, except after UNAVAILABLE, when the cluster may be out of reach.

        Raises:
            CancelledError: `error` itself, if nobody waits for the answer.
        """
        error = _ended(error)
        reason, member_id = (error.reason, error.member_id) if isinstance(error, AudienceError) else _DEFECT
        if caller is not None:
            member_id = caller.member.id
        failure = self._refused(path, request_id, error, came, member_id)
        if self.refuse_further is not None and isinstance(error, AudienceError) and error.spent is not None:
            with self._noting(path, request_id):
                self.refuse_further(path, error.spent, failure)
        if member_id is not None:
            with self._noting(path, request_id):
                counted = self._usage.count_failure(member_id, REASONS[reason])
                # Without a caller, do not wait: the time to refuse a sign-in must not show whether the name exists.
                if caller is not None and reason is not Reason.UNAVAILABLE:
                    await wait_counted(counted)
        return CallError(failure)

    def refused(self, path: str, request_id: str, error: BaseException) -> CallError:
        """As `failed`, for a call whose member is not known."""
        return CallError(self._refused(path, request_id, error, None))

    def answered(self, path: str, request_id: str, error: AudienceError, caller: Caller | None) -> None:
        """As `refused`, for a call that its host has answered: as one that came too slowly, if `error` is UNAVAILABLE.
        `caller` is None if its member is not known."""
        member_id = None if caller is None else caller.member.id
        self._refused(path, request_id, error, None, member_id)
        if member_id is not None:
            with self._noting(path, request_id):
                came_too_slowly = error.reason is Reason.UNAVAILABLE
                self._usage.count_failure(member_id, CallFailure.TIMEOUT if came_too_slowly else REASONS[error.reason])

    def _refused(
        self, path: str, request_id: str, error: BaseException, came: float | None, member_id: int | None = None
    ) -> Failure:
        failure = BARE_DEFECT
        is_named = is_request_id(request_id)
        if not is_named:
            request_id = str(uuid.uuid4())
        if not isinstance(error, AudienceError):
            self._log.defect(path, request_id, error)
            error = AudienceError(Reason.INTERNAL, DEFECT_TEXT, request_id=request_id)
        else:
            with self._noting(path, request_id):
                self._log.failed(path, request_id, error, member_id)
            if error.reason is Reason.UNAVAILABLE and not is_named:
                error = _with_request_id(error, request_id)
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
        """Log what is raised inside, and go on."""
        try:
            yield
        except Exception as error:
            self._log.not_noted(path, request_id, error)


def _with_request_id(error: AudienceError, request_id: str) -> AudienceError:
    """A copy of an error that tells the caller the ID by which the log names the call; the error may be that of other
    calls, too."""
    return AudienceError(
        error.reason,
        error.message,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
        request_id=request_id,
        **error.metadata,
    )


def _ended(error: BaseException) -> BaseException:
    """The error that a call ended with; raised if it means that nobody waits for the answer.

    When the server shuts down, what a call waits for may be cancelled without the call itself being cancelled. That is
    returned as UNAVAILABLE.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise error
        return unavailable(GIVEN_UP)
    return error
