"""The requests of a stream without a result so far, and the results that the caller gets."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from instantaudience.errors import AudienceError
from instantaudience.splitting import Part, joined
from instantaudience.v1.audience_pb2 import ApplySegmentsResult


@dataclass(frozen=True)
class StreamResult:
    """The result for the users that were sent in one request, in the order in which they were given."""

    first_user: int
    """Index of the first of these users among those given."""
    users: int
    """Number of users."""
    continues: bool
    """Whether the last of these users has more blocks, which the next result is for. All others are settled."""
    result: ApplySegmentsResult | None
    """Counts and warnings; None if the request failed. Paths count the users given, from 0."""
    error: AudienceError | None
    """Why the request failed, if it did; sending it again would not help."""


@dataclass
class Sent:
    """A request in flight, until it has its final answer."""

    part: Part
    attempts: int = 0
    since: float = 0.0
    outcome: ApplySegmentsResult | AudienceError | None = None


@dataclass
class Window:
    """The requests without a result so far, in order; at most `most`."""

    most: int
    waits_since: float
    """Since when the first one has been waiting without progress."""
    sent: deque[Sent] = field(default_factory=deque[Sent])
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set if another request may be added."""
    failures: int = 0
    """Number of streams that failed since the last progress."""
    is_renewed: bool = False
    """Whether the token was renewed since then: if the new one is rejected, too, that is final."""

    def add(self, part: Part) -> Sent:
        if not self.sent:
            self.waits_since = time.monotonic()
        sent = Sent(part)
        self.sent.append(sent)
        return sent

    def results(self) -> Iterable[StreamResult]:
        """The results of the first requests, as far as they have one; each makes room, and counts as progress."""
        while self.sent and self.sent[0].outcome is not None:
            yield _result(self.sent.popleft())
            self.room.set()
            self.waits_since, self.failures, self.is_renewed = time.monotonic(), 0, False

    def failed(self) -> int:
        """Count a failed stream; returns the number of the attempt, from 0, of what has failed most often."""
        self.failures += 1
        if not self.sent:
            self.waits_since = time.monotonic()
        return max([self.failures, *(sent.attempts for sent in self.sent)]) - 1

    def excuse(self, seconds: float) -> None:
        """Do not count this time, in which the process was stopped or busy, as time without progress."""
        self.waits_since = min(time.monotonic(), self.waits_since + max(0.0, seconds))

    def to_repeat(self) -> list[Sent]:
        """The requests without a final answer, and all after them that change one of the same users.

        Those were applied before the failed ones; applying them again afterwards restores the right order.
        """
        again: list[Sent] = []
        keys = set[tuple[str, str]]()
        for sent in self.sent:
            if sent.outcome is None or keys & sent.part.keys:
                sent.outcome = None
                keys |= sent.part.keys
                again.append(sent)
        return again


def _result(sent: Sent) -> StreamResult:
    first, last = sent.part.places[0][0], sent.part.places[-1][0]
    users = last - first + 1
    if isinstance(sent.outcome, AudienceError):
        return StreamResult(first, users, sent.part.continues, None, sent.outcome)
    assert sent.outcome is not None
    return StreamResult(first, users, sent.part.continues, joined([sent.part], [sent.outcome]), None)
