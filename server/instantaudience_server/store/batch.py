"""A batch: the commands of one call, on their way to the cluster and back."""

import asyncio
from collections.abc import Sequence
from typing import Any

from instantaudience_server.store.commands import Command


class Batch:
    """Commands whose replies belong together.

    `done` resolves to nothing when every command is answered; `replies` then holds the replies in the commands' order.
    When `done` is cancelled (the deadline passed, or the caller left), commands that were not sent yet are dropped.
    """

    __slots__ = ("_missing", "commands", "deadline", "done", "redirections", "replies", "started")

    def __init__(self, commands: Sequence[Command], deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self.commands = commands
        self.deadline = deadline
        self.replies: list[Any] = [None] * len(commands)
        self.done: asyncio.Future[None] = loop.create_future()
        self.started = loop.time()
        self.redirections = 0
        self._missing = len(commands)

    def answered(self, count: int) -> None:
        """Count replies that arrived; the last one resolves `done`."""
        self._missing -= count
        if not self._missing and not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        """Give up the whole batch."""
        if not self.done.done():
            self.done.set_exception(error)


class Part:
    """The commands of a batch that go to one node, as indexes into the batch."""

    __slots__ = ("asking", "batch", "indexes", "position")

    def __init__(self, batch: Batch, indexes: list[int], *, asking: bool = False) -> None:
        self.batch = batch
        self.indexes = indexes
        self.asking = asking
        """True when each command follows an ASKING, because its slot is being imported."""
        self.position = 0
        """How many replies of the connection this part has taken (two a command after ASKING)."""

    @property
    def unanswered(self) -> list[int]:
        """The indexes whose replies have not arrived."""
        return self.indexes[self.position // 2 if self.asking else self.position :]
