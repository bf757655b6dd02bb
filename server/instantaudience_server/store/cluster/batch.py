"""A batch: the commands of one call, on their way to the cluster and back."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.commands import Command
from instantaudience_server.store.interfaces.groups import Group, Node, indexes_by
from instantaudience_server.store.interfaces.health import Problem

Answer = TypeVar("Answer")

COMMAND_OVERHEAD_BYTES = 120
"""What a queued command costs beyond its bytes for the wire, about."""


class Single:
    """One command; `replies` has its reply, once it is there. A usual one may be missing.

    `in_need` makes what goes out instead where the keys of the command are on two nodes, or the memory is full; None:
    it waits for that to end.
    """

    __slots__ = ("_in_need", "_packed", "_slot", "replies", "usual_reply")

    def __init__(
        self, command: Command, usual_reply: bytes = b"", in_need: Callable[[], Command] | None = None
    ) -> None:
        self._slot, self._packed = command
        self._in_need = in_need
        self.usual_reply = usual_reply
        self.replies: Sequence[Any] = ()

    @property
    def size_bytes(self) -> int:
        """The size of the command."""
        return len(self._packed)

    def __len__(self) -> int:
        return 1

    def by_node(self, nodes: list[Node]) -> dict[Node, list[int]]:
        """See `Group`."""
        return {nodes[self._slot]: [0]}

    def slot(self, index: int) -> int:
        """The slot of the command."""
        return self._slot

    def packed(self, indexes: Sequence[int]) -> bytes:
        """The command, for the wire."""
        return self._packed

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Keep the reply."""
        self.replies = replies

    def make_do(self) -> None:
        """No node takes the command as it is: its slot is on its way from one to another, or the memory is full."""
        if self._in_need is not None:
            self._slot, self._packed = self._in_need()


class Listed:
    """Commands that have nothing in common but perhaps their usual reply. `replies` are in their order; a usual one may
    be None there."""

    __slots__ = ("_commands", "replies", "usual_reply")

    def __init__(self, commands: Sequence[Command], usual_reply: bytes = b"") -> None:
        self._commands = commands
        self.usual_reply = usual_reply
        self.replies: list[Any] = [None] * len(commands)

    @property
    def size_bytes(self) -> int:
        """The size of all commands."""
        return sum([len(packed) for _, packed in self._commands])

    def __len__(self) -> int:
        return len(self._commands)

    def by_node(self, nodes: list[Node]) -> dict[Node, list[int]]:
        """See `Group`."""
        return indexes_by([nodes[slot] for slot, _ in self._commands])

    def slot(self, index: int) -> int:
        """The slot of a command."""
        return self._commands[index][0]

    def packed(self, indexes: Sequence[int]) -> bytes:
        """Commands, for the wire."""
        commands = self._commands
        return b"".join([commands[index][1] for index in indexes])

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Keep replies."""
        for index, reply in zip(indexes, replies, strict=True):
            self.replies[index] = reply


class Failure(NamedTuple):
    """Commands that were not carried out, as far as anybody knows: indexes into their group, and why."""

    group: Group
    indexes: Sequence[int]
    error: Exception


class Batch:
    """Commands that are answered together, `size` in all.

    `done` resolves when every command is answered, some with `refusals`, or when the batch was given up. When it is
    cancelled (the caller left), commands that were not sent yet are dropped. `held_bytes` is what it holds,
    about. `may_go` is asked before anything goes out; None: it may, until the deadline.
    """

    __slots__ = (
        "_given_up",
        "_parts",
        "deadline",
        "done",
        "durability",
        "held_bytes",
        "may_go",
        "missing",
        "problem",
        "redirections",
        "refusals",
        "size",
        "started",
    )

    def __init__(
        self,
        groups: Sequence[Group],
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        durability: Durability = Durability.PRIMARY,
        may_go: Callable[[], bool] | None = None,
    ) -> None:
        self.durability = durability
        self.may_go = may_go
        self.size = size_bytes = 0
        for group in groups:
            self.size += len(group)
            size_bytes += group.size_bytes
        self.held_bytes = size_bytes + COMMAND_OVERHEAD_BYTES * self.size
        self.deadline = deadline
        self.done: asyncio.Future[Any] = loop.create_future()
        self.started = loop.time()
        self.redirections = 0
        self.refusals: list[Failure] = []
        self.problem: Problem | None = None
        """The last that a node had with it."""
        self.missing = self.size
        """How many commands are not answered yet."""
        self._parts: list[Part] = []
        self._given_up: Exception | None = None

    def part(self, group: Group, indexes: list[int], *, asking: bool = False) -> "Part":
        """Some of the commands, to be carried out."""
        part = Part(self, group, indexes, asking=asking)
        self._parts.append(part)
        return part

    def forget_ended(self) -> None:
        """Let go of parts that nothing is left of: what is asked again and again would have ever more of them."""
        if len(self._parts) > 3 * self.size:
            self._parts = [part for part in self._parts if part.unanswered]

    def goes(self, now: float) -> bool:
        """Whether what is not sent yet may go out; `now` is by the event loop's clock, and newer than its turn."""
        return now < self.deadline and not self.done.done() and (self.may_go is None or self.may_go())

    def answered(self, count: int) -> None:
        """Count replies that arrived; the last one resolves `done`."""
        self.missing -= count
        if not self.missing and not self.done.done():
            # Each part knows its batch: kept, both would be garbage that only a collection finds, and all stand still.
            self._parts = []
            self._end()

    def refused(self, group: Group, index: int, error: Exception) -> None:
        """Note that a command will not be carried out, which is an answer too."""
        self.refusals.append(Failure(group, [index], error))
        self.answered(1)

    def give_up(self, error: Exception) -> None:
        """Wait no longer for what is not answered yet."""
        if not self.done.done():
            self._given_up = error
            self._end()

    def failures(self) -> list[Failure]:
        """What was not carried out, once `done`."""
        if self._given_up is None:
            return self.refusals
        return [*self.refusals, *(Failure(*each, self._given_up) for each in self.unanswered())]

    def unanswered(self) -> list[tuple[Group, Sequence[int]]]:
        """What has no answer yet, by indexes into groups."""
        return [(part.group, part.unanswered) for part in self._parts if part.unanswered]

    def _end(self) -> None:
        self.done.set_result(None)


class Question(Batch, Generic[Answer]):
    """One command that is answered by itself: `done` has what `read` makes of its reply, or fails with the reason why
    there is none."""

    __slots__ = ("_command", "_read")

    def __init__(
        self,
        command: Single,
        read: Callable[[Any], Answer],
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        durability: Durability,
    ) -> None:
        super().__init__((command,), deadline, loop, durability)
        self._command = command
        self._read = read

    def _end(self) -> None:
        error = self.refusals[0].error if self.refusals else self._given_up
        if error is None:
            try:
                self.done.set_result(self._read(self._command.replies[0]))
                return
            except (TypeError, ValueError) as unexpected:  # it concerns who asked, not the connection
                error = unexpected
        self.done.set_exception(error)


class Part:
    """The commands of a batch's group that go to one node, as indexes into the group."""

    __slots__ = ("asking", "batch", "group", "indexes", "position", "unconfirmed")

    def __init__(self, batch: Batch, group: Group, indexes: list[int], *, asking: bool = False) -> None:
        self.batch = batch
        self.group = group
        self.indexes = indexes
        self.asking = asking
        """True when each command follows an ASKING, because its slot is being imported."""
        self.position = 0
        """How many replies of the connection this part has taken (two a command after ASKING)."""
        self.unconfirmed: list[int] = []
        """The indexes whose replies have arrived, but do not count yet (see `confirming`)."""

    @property
    def unanswered(self) -> list[int]:
        """The indexes whose replies have not arrived, or do not count yet."""
        return self.unconfirmed + self.indexes[self.position // 2 if self.asking else self.position :]

    def end(self) -> None:
        """There is nothing left to wait for here: all is answered, or goes out in other parts."""
        self.position = 2 * len(self.indexes)
        self.unconfirmed = []
