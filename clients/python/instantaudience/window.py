"""The requests of a stream that the caller has no result of, and what it is told of them."""

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
    """What became of users that went in one request, in the order they were given."""

    first_user: int
    """Which of the users given its first one is, from 0."""
    users: int
    """How many of them it is about; the blocks of its last one may go on in the next."""
    result: ApplySegmentsResult | None
    """What was read and skipped; None where the request failed. Paths count the users given, from 0."""
    error: AudienceError | None
    """Why the request failed; sending it again would not help."""


@dataclass
class Sent:
    """A request under way, until it is answered for good."""

    part: Part
    attempts: int = 0
    since: float = 0.0
    outcome: ApplySegmentsResult | AudienceError | None = None


@dataclass
class Window:
    """The requests that the caller has no result of, in order; so many at most."""

    most: int
    waits_since: float
    """Since when the first one waits without any progress; where there is none, nothing waits."""
    sent: deque[Sent] = field(default_factory=deque[Sent])
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether another one may be added."""
    failures: int = 0
    """How many streams have failed since the last progress."""
    is_renewed: bool = False
    """Whether the token is new since then: one that is refused as well is refused for good."""

    def add(self, part: Part) -> Sent:
        if not self.sent:
            self.waits_since = time.monotonic()
        sent = Sent(part)
        self.sent.append(sent)
        return sent

    def results(self) -> Iterable[StreamResult]:
        """The first ones that are answered for good; each makes room, and is progress."""
        while self.sent and self.sent[0].outcome is not None:
            yield _result(self.sent.popleft())
            self.room.set()
            self.waits_since, self.failures, self.is_renewed = time.monotonic(), 0, False

    def failed(self) -> int:
        """Another stream has failed; which attempt that was of what has failed most often, from 0."""
        self.failures += 1
        if not self.sent:
            self.waits_since = time.monotonic()
        return max([self.failures, *(sent.attempts for sent in self.sent)]) - 1

    def to_repeat(self) -> list[Sent]:
        """What is not answered for good, and all after it that changes one of the same users.

        That was applied before what failed; applied again after it, it leaves what it should.
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
        return StreamResult(first, users, None, sent.outcome)
    assert sent.outcome is not None
    return StreamResult(first, users, joined([sent.part], [sent.outcome]), None)
