"""The order in which a member's batches begin to write."""

import asyncio

from instantaudience_server.errors import unavailable

MOST_MEMBERS = 20_000
"""For about this many members the newest turns are kept; past it, turns that are over are dropped."""
TOO_LATE = "earlier calls of the member took too long; nothing was changed"


class Turns:
    """The turns of each member's newest batch and newest batch in order: what the next batch has to wait for."""

    def __init__(self) -> None:
        self._newest: dict[int, asyncio.Future[None]] = {}
        self._newest_in_order: dict[int, asyncio.Future[None]] = {}

    def join(self, member_id: int, *, in_order: bool) -> "Turn":
        """Give a batch its turn behind the member's earlier ones.

        A batch in order waits for every earlier batch in order to be over. In all other cases, a batch waits for an
        earlier one only until that one lets others pass.
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
    """The turn of a batch.

    `passable` is done once batches that are not in order need not wait for this one, nor for any before it; `over` is
    done once no batch has to.
    """

    def __init__(self, earlier: list[asyncio.Future[None]]) -> None:
        """`earlier`: what has to be done first. The first item, where there is one, is an earlier turn's `passable`."""
        loop = asyncio.get_running_loop()
        self.passable: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._earlier = earlier

    async def come(self, deadline: float) -> None:
        """Wait until the earlier batches have begun to write, or let this one pass.

        Raises:
            AudienceError: UNAVAILABLE, at the deadline (a time of the event loop's clock, in seconds).
        """
        left = [each for each in self._earlier if not each.done()]
        if left:
            _, pending = await asyncio.wait(left, timeout=deadline - asyncio.get_running_loop().time())
            if pending:
                raise unavailable(TOO_LATE)

    def let_pass(self) -> None:
        """Let batches that are not in order begin before this one."""
        _follow(self._earlier[:1], self.passable)

    def end(self) -> None:
        """The batch has begun to write, or never will: later ones now wait only for those before it."""
        self.let_pass()
        _follow(self._earlier, self.over)


def _follow(earlier: list[asyncio.Future[None]], later: asyncio.Future[None]) -> None:
    """Mark `later` as done once all of `earlier` are."""
    for each in earlier:
        if not each.done():
            each.add_done_callback(lambda _: _follow(earlier, later))
            return
    if not later.done():
        later.set_result(None)
