"""When a call that failed is sent again: where that is safe, helps, and there is time left."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from instantaudience.errors import AudienceError, DeadlineExceededError
from instantaudience.rules import ATTEMPT_MS, FIRST_PAUSE_MS, MOST_PAUSE_MS, SENT_AGAIN


@dataclass(frozen=True)
class Retries:
    """How long to wait before a call is sent again, in seconds.

    The first time somewhere up to `first_seconds`, each time up to twice as long, at most `most_seconds`; never less
    than what the service asks for, with a little more, so that not all come at once. `attempt_seconds` is what one
    attempt may take: one that hangs is given up, and the next one begins.

    Raises:
        ValueError: a pause below 0, an attempt that may take no time, or either NaN.
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
        """How long to wait after the attempt (the first is 0) that failed so; None where it is not to be repeated."""
        if error.kind not in SENT_AGAIN:
            return None
        backoff = self.uniform(0.0, min(self.most_seconds, self.first_seconds * 2.0 ** min(attempt, 30)))
        return (error.retry_after_seconds or 0.0) + backoff


class Attempts:
    """The attempts of one call, until its deadline (a time of `time.monotonic`)."""

    def __init__(self, retries: Retries, deadline: float) -> None:
        self._retries = retries
        self._deadline = deadline
        self._failed: AudienceError | None = None
        """How the last one did."""
        self.count = 0

    @property
    def left_seconds(self) -> float:
        """What the caller's time has left."""
        return self._deadline - time.monotonic()

    def timeout(self) -> float:
        """How long the next attempt may take.

        Raises:
            AudienceError: there is no time left, nothing is sent: how the last one failed, where there was one.
        """
        left = self.left_seconds
        if left <= 0:
            raise self._failed or DeadlineExceededError("the caller's time was over before it could be sent")
        self.count += 1
        return min(left, self._retries.attempt_seconds)

    def wait_seconds(self, error: AudienceError) -> float:
        """How long to wait before the next attempt.

        Raises:
            AudienceError: the error, where the call is not to be sent again, or not in time.
        """
        wait = self._retries.wait_seconds(error, self.count - 1)
        if wait is None or wait >= self.left_seconds:
            raise error
        self._failed = error
        return wait
