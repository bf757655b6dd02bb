"""Limits the number of streams from the gateway whose callers send faster than they are read.

What such callers send waits in the gateway's memory, which all callers share. So the number of these streams is
limited, and members share it fairly.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from instantaudience_server.errors import AudienceError

LOOK_SECONDS = 0.5
"""The interval at which streams are checked. A stream is behind if it spent less than half of it waiting for its
caller."""


class Backlog:
    """Measures how far a stream keeps up with its caller, and ends it if told to.

    Between `wait` and `come`, the stream waits for its caller. `refusal` makes the error that `end` raises in it.
    """

    def __init__(self, member_id: int, refusal: Callable[[], AudienceError]) -> None:
        self.member_id = member_id
        self.ended = False
        self._is_read = True
        self._refusal = refusal
        self._reading = asyncio.timeout(None)
        self._time = asyncio.get_running_loop().time
        self._since = self._time()
        self._waited_seconds = 0.0
        self._waits_since: float | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """The context in which the stream is read.

        Raises:
            AudienceError: `end` was called.
        """
        try:
            async with self._reading:
                yield
        except TimeoutError:
            if self.ended:
                raise self._refusal() from None
            raise
        finally:
            self._is_read = False

    def wait(self) -> None:
        """The stream starts to wait for a message."""
        self._waits_since = self._time()

    def come(self) -> None:
        """A message has come."""
        if self._waits_since is not None:
            self._waited_seconds += self._time() - self._waits_since
            self._waits_since = None

    def is_behind(self, now: float) -> bool:
        """Whether the stream has been behind since the last check, or since it began.

        A stream is not behind if it began less than half an interval ago, or if it is no longer being read.
        """
        if self._waits_since is not None:
            self._waited_seconds += now - self._waits_since
            self._waits_since = now
        seconds, waited_seconds = now - self._since, self._waited_seconds
        self._since, self._waited_seconds = now, 0.0
        return self._is_read and seconds * 2 >= LOOK_SECONDS and waited_seconds * 2 < seconds

    def end(self) -> None:
        """Stop reading the stream."""
        self.ended = True
        self._reading.reschedule(self._time())


class Backlogs:
    """Keeps at most `most` streams behind.

    Past that, the newest streams of the members with the most such streams are ended, and these members cannot begin
    further streams. `refusal` makes the error.
    """

    def __init__(self, most: int, refusal: Callable[[], AudienceError]) -> None:
        self._most = most
        self._refusal = refusal
        self._loop = asyncio.get_running_loop()
        self._streams: dict[Backlog, None] = {}
        """All open streams, in the order in which they began."""
        self._counts: Counter[int] = Counter()
        """How many streams of each member were behind at the last check. An ended one counts until it is forgotten."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, member_id: int) -> Backlog:
        """Register a stream that is about to be read.

        Raises:
            AudienceError: UNAVAILABLE, when the limit is reached and no member has more such streams than this one
                would have.
        """
        own = self._counts[member_id]
        if own and self._counts.total() >= self._most and own + 1 >= max(self._counts.values()):
            raise self._refusal()
        backlog = Backlog(member_id, self._refusal)
        self._streams[backlog] = None
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)
        return backlog

    def forget(self, backlog: Backlog) -> None:
        """Remove a stream that has ended."""
        del self._streams[backlog]

    def _look(self) -> None:
        now = self._loop.time()
        behind: dict[int, list[Backlog]] = {}
        self._counts = Counter()
        for stream in self._streams:
            if stream.ended:
                self._counts[stream.member_id] += 1
            elif stream.is_behind(now):
                self._counts[stream.member_id] += 1
                behind.setdefault(stream.member_id, []).append(stream)
        for _ in range(sum(map(len, behind.values())) - self._most):
            max(behind.values(), key=len).pop().end()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look) if self._streams else None
