"""Confirmation of writes by replicas or disks, for durabilities beyond the primary's memory
(docs/adr/0030-durability.md).

Each write to the socket ends with a mark, which is a small write to the node, and WAIT or WAITAOF. These wait until the
connection's latest write, and thereby everything that the node wrote before it, is on the replicas or disks. Only then
do the answers count; otherwise the commands are sent again, which does no harm.

- The mark is needed because commands that change nothing, such as those sent again after a lost connection, give the
  node nothing to wait for, although their first execution may not have been replicated.
- A script writes the mark, because a node whose memory is full still carries out removals, but no plain command that
  would do as a mark.
- The mark is in a slot of one of the commands. Where that slot is migrating, it is in another slot of the node: any
  write of the connection will do.

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
"""How long marks are kept; nothing reads them."""
REPLIES = 2
"""The replies to a confirmation: that to the mark, and that to the waiting command."""


class Confirmation(NamedTuple):
    """The waiting command, encoded, and the least numbers of replicas or disks that its reply has to have."""

    waiting: bytes
    least: tuple[int, ...]

    def after(self, slot: int) -> bytes:
        """A mark in this slot and the waiting command, encoded."""
        _, mark = evaluate(MARK, [mark_key(slot)], MARK_MS, flags=ALLOW_OOM)
        return mark + self.waiting

    def given(self, replies: Sequence[Any]) -> bool:
        """Whether the replies to both commands confirm the writes. An error does not."""
        mark, reply = replies
        numbers = [reply] if isinstance(reply, int) else reply
        if isinstance(mark, ReplyError) or not isinstance(numbers, list):
            return False
        return all(number >= least for number, least in zip(numbers, self.least, strict=True))


def confirmation(durability: Durability, *, replicas: int, wait_seconds: float) -> Confirmation:
    """The confirmation for `REPLICA` or `DISK` by this many replicas (`REPLICA`: at least one). `wait_seconds` bounds
    the wait, as other commands queue behind it."""
    wait_ms = max(1, round(wait_seconds * 1000))
    if durability is Durability.REPLICA:
        replicas = max(1, replicas)
        return Confirmation(wait_for_replicas(replicas, wait_ms), (replicas,))
    return Confirmation(wait_for_disks(replicas, wait_ms), (1, replicas))


class Awaited:
    """The parts that one write to the socket sent, awaiting their confirmation. `slot` is the mark's; `replies` are
    those to the confirmation so far."""

    __slots__ = ("parts", "replies", "slot")

    def __init__(self, parts: Sequence[Part], slot: int) -> None:
        self.parts = parts
        self.slot = slot
        self.replies: list[Any] = []

    @property
    def misplaced(self) -> bool:
        """Whether the mark was redirected: its slot is on, or migrating to, another node."""
        mark = self.replies[0]
        return isinstance(mark, ReplyError) and str(mark).startswith(("MOVED ", "ASK "))

    def confirm(self) -> None:
        """Count the answers of these parts."""
        for part in self.parts:
            count, part.unconfirmed = len(part.unconfirmed), []
            part.batch.answered(count)


def unanswered(in_flight: Iterable["Part | Awaited"]) -> list[Part]:
    """The unanswered parts among what is in flight, each once, including those whose answers are not confirmed."""
    parts: dict[Part, None] = {}
    for each in in_flight:
        parts |= dict.fromkeys(each.parts if isinstance(each, Awaited) else (each,))
    return [part for part in parts if part.unanswered]
