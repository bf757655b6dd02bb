"""Logs calls: failures of the service, samples of refused calls, and every call if the access log is on.

No line holds a token, a user ID, or anything else that a caller sent, except its request ID.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from google.rpc import code_pb2

from instantaudience_server.errors import AudienceError, Cause, Reason, RefusedCommandError
from instantaudience_server.observation.telemetry import Event

log = structlog.get_logger()

MOST_LINES = 1000
"""The most lines about failed calls in a second; another line says how many more failed."""
SAMPLE_SECONDS = 1.0
"""Of the calls of a method that are refused for the same reason, one is logged in this time."""

Nodes = Callable[[], Mapping[str, str]]


def _no_nodes() -> Mapping[str, str]:
    return {}


class CallLog:
    """Writes the lines about calls.

    `troubled` returns the nodes of the cluster that take no writes now, with their problems. `access`: log every call.
    """

    def __init__(self, troubled: Nodes = _no_nodes, *, access: bool = False) -> None:
        self.access = access
        self._troubled = troubled
        self._loop = asyncio.get_running_loop()
        self._lines = self._left_out = 0
        self._refused: dict[tuple[str, Reason], int] = {}
        """By method and reason: how many calls were refused since the last line about them."""
        self._next: asyncio.TimerHandle | None = None

    def answered(
        self, path: str, request_id: str, code: int, seconds: float | None, member_id: int | None, **more: str
    ) -> None:
        """Log the end of a call, for the access log; `seconds` is its duration."""
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
        """Log a call that failed for a reason that its caller is told."""
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
        """Log a call that failed through a defect, or because a node refused a command for good."""
        refused = {"nodes": list(error.nodes)} if isinstance(error, RefusedCommandError) else {}
        _write(log.error, Event.CALL_DEFECT, exc_info=error, method=_method(path), request_id=request_id, **refused)

    def not_noted(self, path: str, request_id: str, error: Exception) -> None:
        """Log that the outcome of a call is missing from the metrics or from its member's usage."""
        _write(log.error, Event.OUTCOME_NOT_NOTED, exc_info=error, method=_method(path), request_id=request_id)

    def refused_before(self, path: str, calls: int, member_id: int | None, reason: Reason) -> None:
        """Log that a host has refused calls on its own: for overload, or over their member's quota."""
        if reason is Reason.UNAVAILABLE:
            _write(log.warning, Event.CALLS_OVERLOADED, method=_method(path), calls=calls, member_id=member_id)
        else:
            kind = path, reason
            self._refused[kind] = self._refused.get(kind, 0) + calls
            self._wake()

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
        """Log what was left out in the second that has ended."""
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
    """The name of a method, which metrics and traces use too."""
    return path.removeprefix("/")


def _write(level: Callable[..., Any], event: Event, **fields: Any) -> None:
    # Calls must not fail because the log cannot be written, when a disk is full for example.
    with contextlib.suppress(Exception):
        level(event, **fields)
