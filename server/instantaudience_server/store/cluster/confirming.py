"""How a node confirms what it has carried out, where its own word is not enough (docs/adr/0030-durability.md).

Each write to the socket ends with a mark and a command that waits until the connection's newest write, and so all that
the node wrote before it, is where it is to be. The answers count when it says so; else the commands are sent again,
which does no harm. The mark is a write in any case: commands that change nothing, as those sent again after a lost
connection, have nothing to wait for in the eyes of the node, while what changed before may not have arrived. A script
writes it, as a node whose memory is full carries out removals, and no plain command that would do for a mark. It stands
in a slot of what it is for; where that one is on its way to another node, in another slot of the node's, as any write
of the connection will do.

Sources: https://valkey.io/commands/wait/ and https://valkey.io/commands/waitaof/.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hiredis import ReplyError

from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.batch import Part
from instantaudience_server.store.cluster.commands import ALLOW_OOM, evaluate, wait_for_disks, wait_for_replicas
from instantaudience_server.store.keys import mark_key

MARK = "return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])"
MARK_MS = 60_000
"""How long marks are kept: nobody reads them."""
REPLIES = 2
"""How many there are: one of the mark, and one of the command that waits."""


class Confirmation(NamedTuple):
    """The command that waits, and the least numbers that it has to answer."""

    waiting: bytes
    least: tuple[int, ...]

    def after(self, slot: int) -> bytes:
        """A mark in this slot, and the command that waits."""
        _, mark = evaluate(MARK, [mark_key(slot)], MARK_MS, flags=ALLOW_OOM)
        return mark + self.waiting

    def given(self, replies: Sequence[Any]) -> bool:
        """Whether the node has confirmed, by the replies to both. An error is no confirmation."""
        mark, reply = replies
        numbers = [reply] if isinstance(reply, int) else reply
        if isinstance(mark, ReplyError) or not isinstance(numbers, list):
            return False
        return all(number >= least for number, least in zip(numbers, self.least, strict=True))


def confirmation(durability: Durability, *, replicas: int, wait_seconds: float) -> Confirmation:
    """What `REPLICA` and `DISK` ask for, of so many replicas; `REPLICA` asks for one at least. A connection waits so
    long at most, as other commands are behind."""
    wait_ms = max(1, round(wait_seconds * 1000))
    if durability is Durability.REPLICA:
        replicas = max(1, replicas)
        return Confirmation(wait_for_replicas(replicas, wait_ms), (replicas,))
    return Confirmation(wait_for_disks(replicas, wait_ms), (1, replicas))


class Awaited:
    """What one write to the socket has sent, until the node confirms it. `slot` is the mark's, `replies` are those to
    the confirmation."""

    __slots__ = ("parts", "replies", "slot")

    def __init__(self, parts: Sequence[Part], slot: int) -> None:
        self.parts = parts
        self.slot = slot
        self.replies: list[Any] = []

    @property
    def misplaced(self) -> bool:
        """Whether the mark's slot is another node's, or on its way there, by the replies."""
        mark = self.replies[0]
        return isinstance(mark, ReplyError) and str(mark).startswith(("MOVED ", "ASK "))

    def confirm(self) -> None:
        """The answers of these parts count."""
        for part in self.parts:
            count, part.unconfirmed = len(part.unconfirmed), []
            part.batch.answered(count)


def unanswered(in_flight: Iterable["Part | Awaited"]) -> list[Part]:
    """The parts in flight; those whose answers are not confirmed are among them. None stands twice."""
    parts: dict[Part, None] = {}
    for each in in_flight:
        parts |= dict.fromkeys(each.parts if isinstance(each, Awaited) else (each,))
    return [part for part in parts if part.unanswered]
