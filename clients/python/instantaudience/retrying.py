"""Retries: which failed calls are sent again, and when."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from instantaudience.errors import AudienceError, DeadlineExceededError
from instantaudience.rules import ATTEMPT_MS, FIRST_PAUSE_MS, MOST_PAUSE_MS, SENT_AGAIN

_MOST_TIMEOUT_SECONDS = 86_400.0
"""The longest timeout that gRPC is given: a call with one of centuries would neither be sent nor end."""


@dataclass(frozen=True)
class Retries:
    """The pauses before retries, in seconds.

    The first pause is random between 0 and `first_seconds`; the maximum doubles each time, up to `most_seconds`. A
    delay that the service asks for is added. `attempt_seconds` is the timeout of one attempt; one that hangs is
    abandoned, and the next one begins.

    Raises:
        ValueError: a negative pause, a timeout that is not positive, or NaN.
    """

    first_seconds: float = FIRST_PAUSE_MS / 1000
    most_seconds: float = MOST_PAUSE_MS / 1000
    attempt_seconds: float = ATTEMPT_MS / 1000
    uniform: Callable[[float, float], float] = random.uniform

    def __post_init__(self) -> None:
        for name, pause in (("first_seconds", self.first_seconds), ("most_seconds", self.most_seconds)):
            if not pause >= 0:
                raise ValueError(f"{name} is {pause}: a pause is 0 at least")
        if not self.attempt_seconds > 0:
            raise ValueError(f"attempt_seconds is {self.attempt_seconds}: an attempt takes more than 0")

    def wait_seconds(self, error: AudienceError, attempt: int) -> float | None:
        """The pause after an attempt (the first is 0) that failed with this error; None if it is not to be retried."""
        if error.kind not in SENT_AGAIN:
            return None
        backoff = self.uniform(0.0, min(self.most_seconds, self.first_seconds * 2.0 ** min(attempt, 30)))
        return (error.retry_after_seconds or 0.0) + backoff


class Attempts:
    """The attempts of a call until its deadline, a time of `time.monotonic`."""

    def __init__(self, retries: Retries, deadline: float) -> None:
        self._retries = retries
        self._deadline = deadline
        self._failed: AudienceError | None = None
        """The error of the last attempt."""
        self.count = 0

    @property
    def left_seconds(self) -> float:
        """Time until the deadline."""
        return self._deadline - time.monotonic()

    def timeout(self) -> float:
        """The timeout of the next attempt, which it counts.

        Raises:
            AudienceError: the deadline has passed: the error of the last attempt, if there was one.
        """
        left = self.left_seconds
        if left <= 0:
            raise self._failed or DeadlineExceededError("the caller's time was over before it could be sent")
        self.count += 1
        return min(left, self._retries.attempt_seconds, _MOST_TIMEOUT_SECONDS)

    def wait_seconds(self, error: AudienceError) -> float:
        """The pause before the next attempt.

        Raises:
            AudienceError: `error`, if the call is not to be retried, or not before the deadline.
        """
        wait = self._retries.wait_seconds(error, self.count - 1)
        if wait is None or wait >= self.left_seconds:
            raise error
        self._failed = error
        return wait
