"""In which order the batches of a member begin to write."""

import asyncio

from instantaudience_server.errors import unavailable

MOST_MEMBERS = 20_000
"""Members whose newest turns are kept, about: of more, those that are over are forgotten."""
TOO_LATE = "earlier calls of the member took too long; nothing was changed"


class Turns:
    """The newest batches of each member, of all kinds and of those that are in order."""

    def __init__(self) -> None:
        self._newest: dict[int, asyncio.Future[None]] = {}
        self._newest_in_order: dict[int, asyncio.Future[None]] = {}

    def join(self, member_id: int, *, in_order: bool) -> "Turn":
        """The turn of a batch after those of the member that came before.

        One that is `in_order` waits for all that are, whatever holds them up; for others, and as one of them, only for
        those that do not let it pass.
        """
        if len(self._newest) >= MOST_MEMBERS:
            for queue in (self._newest, self._newest_in_order):
                for member in [member for member, turn in queue.items() if turn.done()]:
                    del queue[member]
        queues = [self._newest, self._newest_in_order] if in_order else [self._newest]
        earlier = [queue[member_id] for queue in queues if member_id in queue]
        turn = Turn(earlier)
        self._newest[member_id] = turn.passable
        if in_order:
            self._newest_in_order[member_id] = turn.over
        return turn


class Turn:
    """The turn of a batch. `passable`: done when those that are not in order need not wait for it, nor for any before
    it; `over`: when nobody need."""

    def __init__(self, earlier: list[asyncio.Future[None]]) -> None:
        """`earlier` are what has to be done before: of those that come next the first (see `Turns.join`)."""
        loop = asyncio.get_running_loop()
        self.passable: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._earlier = earlier

    async def come(self, deadline: float) -> None:
        """Wait until those before have begun to write.

        Raises:
            AudienceError: UNAVAILABLE, at the deadline (a time of the event loop's clock, in seconds).
        """
        left = [each for each in self._earlier if not each.done()]
        if left:
            _, pending = await asyncio.wait(left, timeout=deadline - asyncio.get_running_loop().time())
            if pending:
                raise unavailable(TOO_LATE)

    def let_pass(self) -> None:
        """Who is not in order need not wait for this one any longer."""
        _follow(self._earlier[:1], self.passable)

    def end(self) -> None:
        """The batch has begun to write, or never will: those behind it wait for those before it then."""
        self.let_pass()
        _follow(self._earlier, self.over)


def _follow(earlier: list[asyncio.Future[None]], later: asyncio.Future[None]) -> None:
    """Have this done once those are."""
    for each in earlier:
        if not each.done():
            each.add_done_callback(lambda _: _follow(earlier, later))
            return
    if not later.done():
        later.set_result(None)
