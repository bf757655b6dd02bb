"""Batches: commands that are sent to the cluster together, and the state of their replies."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.commands import Command
from instantaudience_server.store.interfaces.groups import Group, Node, indexes_by
from instantaudience_server.store.interfaces.health import Problem

Answer = TypeVar("Answer")

COMMAND_OVERHEAD_BYTES = 120
"""About how much memory a queued command takes beyond its encoded bytes."""


class Single:
    """A group of one command. `replies` has its reply once that has arrived, or stays empty if it is the usual one.

    `in_need` makes a smaller command to send instead, where the keys of this one are on two nodes (their slot is
    migrating) or the node's memory is full. None: this one is sent again until that is over.
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
        """The size of the command, encoded."""
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
        """The encoded command."""
        return self._packed

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Keep the reply."""
        self.replies = replies

    def make_do(self) -> None:
        """Replace the command by that of `in_need`, if there is one."""
        if self._in_need is not None:
            self._slot, self._packed = self._in_need()


class Listed:
    """A group of any commands, which may have their usual reply in common. `replies` are in the order of the commands;
    a usual reply may be None there."""

    __slots__ = ("_commands", "replies", "usual_reply")

    def __init__(self, commands: Sequence[Command], usual_reply: bytes = b"") -> None:
        self._commands = commands
        self.usual_reply = usual_reply
        self.replies: list[Any] = [None] * len(commands)

    @property
    def size_bytes(self) -> int:
        """The size of all commands, encoded."""
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
        """The encoded commands."""
        commands = self._commands
        return b"".join([commands[index][1] for index in indexes])

    def answer(self, indexes: Sequence[int], replies: Sequence[Any]) -> None:
        """Keep replies."""
        for index, reply in zip(indexes, replies, strict=True):
            self.replies[index] = reply


class Failure(NamedTuple):
    """Commands that failed or are not known to have been carried out, as indexes into their group, and the reason."""

    group: Group
    indexes: Sequence[int]
    error: Exception


class Batch:
    """Commands that are answered together, `size` in all.

    `done` resolves when every command is answered (those in `refusals` with an error), or when the batch was given up.
    When `done` is cancelled, because the caller left, commands that were not sent yet are dropped. `held_bytes` is
    about how much memory the batch takes. `may_go` is called before each write and may veto it; None: commands may go
    out until the deadline.
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
        "problems",
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
        """The latest reason why a command has to be sent again, or was refused."""
        self.problems: dict[str, Problem] = {}
        """The latest of each node, by its name."""
        self.missing = self.size
        """How many commands are not answered yet."""
        self._parts: list[Part] = []
        self._given_up: Exception | None = None

    def part(self, group: Group, indexes: list[int], *, asking: bool = False) -> "Part":
        """A new part of the batch, with some commands of a group."""
        part = Part(self, group, indexes, asking=asking)
        self._parts.append(part)
        return part

    def forget_ended(self) -> None:
        """Drop parts that are answered or were replaced: without this, a batch that is retried for long would
        accumulate them."""
        if len(self._parts) > 3 * self.size:
            self._parts = [part for part in self._parts if part.unanswered]

    def goes(self, now: float) -> bool:
        """Whether commands that are not sent yet may go out. `now` is a current reading of the event loop's clock, not
        the time at which the turn of the loop began."""
        return now < self.deadline and not self.done.done() and (self.may_go is None or self.may_go())

    def answered(self, count: int) -> None:
        """Count replies that arrived; the last one resolves `done`."""
        self.missing -= count
        if not self.missing and not self.done.done():
            # Parts refer to their batch: this breaks the cycle, so that both are freed without a garbage collection.
            self._parts = []
            self._end()

    def note(self, node: str, problem: Problem) -> None:
        """Note why a node has not carried out a command."""
        self.problem = self.problems[node] = problem

    def refused(self, group: Group, index: int, error: Exception) -> None:
        """Note that a command will not be carried out, which is an answer too."""
        self.refusals.append(Failure(group, [index], error))
        self.answered(1)

    def give_up(self, error: Exception) -> None:
        """End the batch with an error for all commands that are not answered yet."""
        if not self.done.done():
            self._given_up = error
            self._end()

    def failures(self) -> list[Failure]:
        """The commands that were refused or given up, once `done`."""
        if self._given_up is None:
            return self.refusals
        return [*self.refusals, *(Failure(*each, self._given_up) for each in self.unanswered())]

    def unanswered(self) -> list[tuple[Group, Sequence[int]]]:
        """The commands without an answer that counts, as indexes into their groups."""
        return [(part.group, part.unanswered) for part in self._parts if part.unanswered]

    def _end(self) -> None:
        self.done.set_result(None)


class Question(Batch, Generic[Answer]):
    """A batch of one command. The result of `done` is what `read` makes of the reply; `done` fails if the command
    did."""

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
            except (TypeError, ValueError) as unexpected:  # for the caller to see, not for the connection
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
        """How many replies this part has taken from the connection (two for each command that follows an ASKING)."""
        self.unconfirmed: list[int] = []
        """The indexes whose replies have arrived, but do not count yet (see `confirming`)."""

    @property
    def unanswered(self) -> list[int]:
        """The indexes whose replies have not arrived, or do not count yet."""
        return self.unconfirmed + self.indexes[self.position // 2 if self.asking else self.position :]

    def end(self) -> None:
        """Mark all as answered: the replies are here, or the commands go out in other parts."""
        self.position = 2 * len(self.indexes)
        self.unconfirmed = []
