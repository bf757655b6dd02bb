"""The log's lines about calls: one for each that failed here, some for those that were refused, and, where an access
log is wanted, one for every call.

No line holds a token, a user ID, or what a caller sent.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from google.rpc import code_pb2

from instantaudience_server.errors import AudienceError, Cause, Reason, RefusedCommandError
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

MOST_LINES = 1000
"""Lines about failed calls in a second: where more fail, a line says how many."""
SAMPLE_SECONDS = 1.0
"""Of the calls of a method that are refused for the same reason, one in so long has a line."""

Nodes = Callable[[], Mapping[str, str]]


def _no_nodes() -> Mapping[str, str]:
    return {}


class CallLog:
    """Writes the lines. `troubled` tells which nodes of the cluster take no writes now, and why; `access`: every call
    has a line."""

    def __init__(self, troubled: Nodes = _no_nodes, *, access: bool = False) -> None:
        self.access = access
        self._troubled = troubled
        self._loop = asyncio.get_running_loop()
        self._lines = self._left_out = 0
        self._refused: dict[tuple[str, Reason], int] = {}
        """How many calls were refused since the last line about such."""
        self._next: asyncio.TimerHandle | None = None

    def answered(
        self, path: str, request_id: str, code: int, seconds: float | None, member_id: int | None, **more: str
    ) -> None:
        """A call has ended; only where there is an access log."""
        took = None if seconds is None else round(seconds, 6)
        name = code_pb2.Code.Name(code)
        _write(
            log.info,
            Event.CALL_ANSWERED,
            method=_method(path),
            request_id=request_id,
            code=name,
            seconds=took,
            member_id=member_id,
            **more,
        )

    def failed(self, path: str, request_id: str, error: AudienceError, member_id: int | None) -> None:
        """A call has failed for a reason that its caller may know."""
        if error.reason is not Reason.UNAVAILABLE:
            self._note_refused(path, request_id, error.reason, member_id)
        elif self._has_room():
            cause = error.cause or Cause.UNREACHABLE
            nodes = list(error.nodes)
            if not nodes and cause is Cause.UNREACHABLE:
                nodes = [f"{name} ({problem})" for name, problem in self._troubled().items()]
            _write(
                log.warning,
                Event.CALL_FAILED,
                method=_method(path),
                request_id=request_id,
                reason=error.reason.name,
                cause=cause.name,
                error=error.message,
                nodes=nodes,
                member_id=member_id,
            )

    def defect(self, path: str, request_id: str, error: BaseException) -> None:
        """A call has met a defect, or a command that a node refused."""
        refused = {"nodes": list(error.nodes)} if isinstance(error, RefusedCommandError) else {}
        _write(log.error, Event.CALL_DEFECT, exc_info=error, method=_method(path), request_id=request_id, **refused)

    def not_noted(self, path: str, request_id: str, error: Exception) -> None:
        """How a call has ended is not in the metrics, or not in its member's usage."""
        _write(log.error, Event.OUTCOME_NOT_NOTED, exc_info=error, method=_method(path), request_id=request_id)

    def refused_before(self, path: str, calls: int, member_id: int | None) -> None:
        """A host has refused so many calls before anybody else saw them."""
        _write(log.warning, Event.CALLS_OVERLOADED, method=_method(path), calls=calls, member_id=member_id)

    def _note_refused(self, path: str, request_id: str, reason: Reason, member_id: int | None) -> None:
        kind = path, reason
        calls = self._refused.get(kind)
        if calls is not None:
            self._refused[kind] = calls + 1
            return
        self._refused[kind] = 0
        self._wake()
        _write(
            log.info,
            Event.CALL_REFUSED,
            method=_method(path),
            request_id=request_id,
            reason=reason.name,
            member_id=member_id,
        )

    def _has_room(self) -> bool:
        self._wake()
        self._lines += 1
        if self._lines > MOST_LINES:
            self._left_out += 1
            return False
        return True

    def _wake(self) -> None:
        if self._next is None:
            self._next = self._loop.call_later(SAMPLE_SECONDS, self._begin_again)

    def _begin_again(self) -> None:
        """A second is over: say what was left out in it."""
        self._next = None
        if self._left_out:
            _write(log.warning, Event.CALLS_FAILED, calls=self._left_out)
        for (path, reason), calls in self._refused.items():
            if calls:
                _write(
                    log.info,
                    Event.CALLS_REFUSED,
                    method=_method(path),
                    reason=reason.name,
                    calls=calls,
                )
        self._refused.clear()
        self._lines = self._left_out = 0


def _method(path: str) -> str:
    """A method as metrics and traces name it, too."""
    return path.removeprefix("/")


def _write(level: Callable[..., Any], event: Event, **fields: Any) -> None:
    # What the log is written to may be full or closed: no call has to suffer for that.
    with contextlib.suppress(Exception):
        level(event, **fields)
