"""Who is told of calls and their attempts: for metrics, logs and traces."""

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
"""What became of an attempt that was cancelled."""


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt of a call, for `on_attempt`: for metrics and logs."""

    method: str
    """Its path: `/instantaudience.v1.AudienceService/ApplySegments`."""
    number: int
    """Which attempt of the call it was, from 1."""
    code: grpc.StatusCode
    reason: str
    """The reason that the service gave, as listed in errors.proto; "" where it gave none."""
    seconds: float
    request_id: str


OnAttempt = Callable[[Attempt], None]


class FollowedAttempt(Protocol):
    """An attempt under way."""

    @property
    @abstractmethod
    def metadata(self) -> Metadata:
        """What it sends besides: whose child the service's span is."""

    @abstractmethod
    def end(self, attempt: Attempt, message: str) -> None:
        """What became of it; `message` is the error's, "" where there is none."""


class Telemetry(Protocol):
    """What follows calls; `instantaudience.OpenTelemetry` is one."""

    @abstractmethod
    def call(self, method: str) -> AbstractContextManager[None]:
        """Around a call: its sign-in, attempts and pauses."""

    @abstractmethod
    def attempt(self, method: str, number: int, request_id: str) -> FollowedAttempt:
        """An attempt of a call, or a stream, begins."""


@dataclass(frozen=True)
class Watchers:
    """Who is told of calls."""

    on_attempt: OnAttempt | None = None
    telemetry: Telemetry | None = None

    def call(self, method: str) -> AbstractContextManager[None]:
        """Around a call."""
        return nullcontext() if self.telemetry is None else self.telemetry.call(method)

    def attempt(self, method: str, number: int, request_id: str) -> "Watched":
        """An attempt begins."""
        return Watched(self, method, number, request_id)


class Watched:
    """An attempt under way."""

    def __init__(self, watchers: Watchers, method: str, number: int, request_id: str) -> None:
        self._watchers = watchers
        self._method = method
        self._number = number
        self._request_id = request_id
        telemetry = watchers.telemetry
        self._followed = None if telemetry is None else telemetry.attempt(method, number, request_id)
        self._began = time.monotonic()

    def metadata(self, token: str | None) -> Metadata:
        """What goes with it."""
        mine = (("x-request-id", self._request_id),)
        token_too = () if token is None else (("authorization", token),)
        return (*mine, *token_too, *(() if self._followed is None else self._followed.metadata))

    def end(self, error: AudienceError | None) -> None:
        """Tell what became of it."""
        code, reason = (grpc.StatusCode.OK, "") if error is None else (error.code, error.reason)
        seconds = time.monotonic() - self._began
        attempt = Attempt(self._method, self._number, code, reason, seconds, self._request_id)
        if self._followed is not None:
            self._followed.end(attempt, "" if error is None else error.message)
        if self._watchers.on_attempt is not None:
            self._watchers.on_attempt(attempt)
