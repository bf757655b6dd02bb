"""In which order the batches of a member begin to write."""

import asyncio


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
        queues = [self._newest, self._newest_in_order] if in_order else [self._newest]
        earlier = [queue[member_id] for queue in queues if member_id in queue]
        turn = Turn(earlier)
        self._newest[member_id] = turn.passable
        if in_order:
            self._newest_in_order[member_id] = turn.over
        return turn


class Turn:
    """The turn of a batch. `passable`: done when those that are not in order need not wait for it; `over`: when nobody
    need."""

    def __init__(self, earlier: list[asyncio.Future[None]]) -> None:
        loop = asyncio.get_running_loop()
        self.passable: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._earlier = earlier

    async def come(self) -> None:
        """Wait until those before have begun to write."""
        left = [each for each in self._earlier if not each.done()]
        if left:
            await asyncio.wait(left)

    def let_pass(self) -> None:
        """Who is not in order need not wait for this one any longer."""
        if not self.passable.done():
            self.passable.set_result(None)

    def end(self) -> None:
        """The batch has begun to write, or never will."""
        self.let_pass()
        for each in self._earlier:
            if not each.done():  # this one has failed: those behind it wait for those before it
                each.add_done_callback(lambda _: self.end())
                return
        if not self.over.done():
            self.over.set_result(None)
