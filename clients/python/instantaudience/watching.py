"""Observers of calls and attempts, for metrics, logs and traces."""

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import grpc

from instantaudience.errors import AudienceError

Metadata = Sequence[tuple[str, str]]

GIVEN_UP = AudienceError("the caller has given up", code=grpc.StatusCode.CANCELLED)
"""The result of a cancelled attempt."""


@dataclass(frozen=True)
class Attempt:
    """The result of an attempt of a call, passed to `on_attempt`."""

    method: str
    """The method's path: `/instantaudience.v1.AudienceService/ApplySegments`."""
    number: int
    """The number of the attempt within the call, from 1."""
    code: grpc.StatusCode
    reason: str
    """The reason that the service gave, as listed in errors.proto; "" if it gave none."""
    seconds: float
    request_id: str


OnAttempt = Callable[[Attempt], None]


class FollowedAttempt(Protocol):
    """An attempt in progress."""

    @property
    @abstractmethod
    def metadata(self) -> Metadata:
        """Metadata to send with the attempt: the trace context."""

    @abstractmethod
    def end(self, attempt: Attempt, message: str) -> None:
        """Called at the end of the attempt; `message` is the error's, "" if there is none."""


class Telemetry(Protocol):
    """Follows calls; `instantaudience.OpenTelemetry` implements it."""

    @abstractmethod
    def call(self, method: str) -> AbstractContextManager[None]:
        """A context manager around a call with its sign-in, attempts and pauses."""

    @abstractmethod
    def attempt(self, method: str, number: int, request_id: str) -> FollowedAttempt:
        """Called when an attempt of a call, or a stream, begins."""


@dataclass(frozen=True)
class Watchers:
    """The observers of a client."""

    on_attempt: OnAttempt | None = None
    telemetry: Telemetry | None = None

    def call(self, method: str) -> AbstractContextManager[None]:
        """A context manager around a call."""
        return nullcontext() if self.telemetry is None else self.telemetry.call(method)

    def attempt(self, method: str, number: int, request_id: str) -> "Watched":
        """Start an attempt."""
        return Watched(self, method, number, request_id)


class Watched:
    """An attempt in progress."""

    def __init__(self, watchers: Watchers, method: str, number: int, request_id: str) -> None:
        self._watchers = watchers
        self._method = method
        self._number = number
        self._request_id = request_id
        telemetry = watchers.telemetry
        self._followed = None if telemetry is None else telemetry.attempt(method, number, request_id)
        self._began = time.monotonic()

    def metadata(self, token: str | None) -> Metadata:
        """The metadata of the attempt."""
        mine = (("x-request-id", self._request_id),)
        token_too = () if token is None else (("authorization", token),)
        return (*mine, *token_too, *(() if self._followed is None else self._followed.metadata))

    def end(self, error: AudienceError | None) -> None:
        """Report the result of the attempt."""
        code, reason = (grpc.StatusCode.OK, "") if error is None else (error.code, error.reason)
        seconds = time.monotonic() - self._began
        attempt = Attempt(self._method, self._number, code, reason, seconds, self._request_id)
        if self._followed is not None:
            self._followed.end(attempt, "" if error is None else error.message)
        if self._watchers.on_attempt is not None:
            self._watchers.on_attempt(attempt)
