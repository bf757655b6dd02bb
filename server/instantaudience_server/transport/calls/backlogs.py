"""Streams that came through the gateway and send faster than they are read. What they have sent waits in the gateway's
memory, which is everybody's: so there are only so many of them, and members share that."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from instantaudience_server.errors import AudienceError

LOOK_SECONDS = 0.5
"""How often it is looked who is behind; that is who has waited for its caller for less than half of the time since."""


class Backlog:
    """What is known of a stream. Between `wait` and `come`, it waits for its caller. `refusal` makes the error with
    which it is `end`ed."""

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
        """The stream is read in here.

        Raises:
            AudienceError: it was ended.
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
        """Nothing has come that could be read."""
        self._waits_since = self._time()

    def come(self) -> None:
        """Something has."""
        if self._waits_since is not None:
            self._waited_seconds += self._time() - self._waits_since
            self._waits_since = None

    def is_behind(self, now: float) -> bool:
        """Whether more came than was read since this was asked last, or since the stream began; not of one that began a
        moment ago, or of which all was read."""
        if self._waits_since is not None:
            self._waited_seconds += now - self._waits_since
            self._waits_since = now
        seconds, waited_seconds = now - self._since, self._waited_seconds
        self._since, self._waited_seconds = now, 0.0
        return self._is_read and seconds * 2 >= LOOK_SECONDS and waited_seconds * 2 < seconds

    def end(self) -> None:
        """It is read no further."""
        self.ended = True
        self._reading.reschedule(self._time())


class Backlogs:
    """Lets at most so many streams be behind. Where there are more, those end that the members with most of them began
    last, and such members begin no other ones; `refusal` makes the error."""

    def __init__(self, most: int, refusal: Callable[[], AudienceError]) -> None:
        self._most = most
        self._refusal = refusal
        self._loop = asyncio.get_running_loop()
        self._streams: dict[Backlog, None] = {}
        """In the order in which they began."""
        self._counts: Counter[int] = Counter()
        """How many streams of each member were behind at the last look. One that was ended counts until it has gone."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, member_id: int) -> Backlog:
        """A stream is about to be read.

        Raises:
            AudienceError: UNAVAILABLE, there are too many.
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
        """The stream has gone."""
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
