"""Calls that wait for their turn: each member's in a queue of its own, and members take turns by what their calls cost
(docs/adr/0031-turns-by-cost.md)."""

import asyncio
from collections import deque

from instantaudience_server.admission import prices

CREDIT_TURNS = 2
"""A member that comes after a while is next, and makes up for so many turns: members that flood are served in step, and
it would wait for a turn of each if it began where they are."""


class Ticket:
    """A call that was let in, or waits to be, or several that were let in together. `turn` is done when it may run;
    None where it runs at once.

    `takes_room` of what `Admission.room` tells: requests of streams do not, nor does what runs slowly. Its `calls` that
    have not ended take so many `parts` of places, and the largest of all `most_parts`; `spare` of the parts are for
    those that go along.
    """

    __slots__ = (
        "calls",
        "ended_before",
        "member_id",
        "most_parts",
        "parts",
        "running",
        "since",
        "spare",
        "takes_room",
        "turn",
        "until",
    )

    def __init__(
        self, member_id: int, since: float, until: float, parts: int, *, calls: int = 1, most_parts: int = 0
    ) -> None:
        self.calls = calls
        self.parts = parts
        self.most_parts = most_parts or parts
        self.spare = 0
        self.takes_room = False
        self.ended_before = 0
        self.member_id = member_id
        self.since = since
        self.until = until
        self.running = False
        self.turn: asyncio.Future[None] | None = None


class Queues:
    """Who waits, by member; its length is how many do.

    Start-time fair queueing: virtual time is what a member has been served, in parts of places, while anybody waited.
    Whose next call begins first in it has the next turn. A request of a stream counts as a whole turn, as others may go
    along with it.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._queues: dict[int, deque[Ticket]] = {}
        """Of each member of whom any wait."""
        self._time = 0
        """The virtual time: where turns have come to."""
        self._begins: dict[int, int] = {}
        """When each member's next call begins in virtual time, or would, of those that were served lately."""

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, member_id: int) -> bool:
        return member_id in self._queues

    def is_behind(self, member_id: int) -> bool:
        """Whether a member's next turn would begin before where the others are."""
        return self._next_of(member_id) < self._time

    def charge(self, member_id: int, parts: int) -> None:
        """A member was served so much, which counts while others wait."""
        if self._queues:
            self._begins[member_id] = self._next_of(member_id) + parts

    def add(self, ticket: Ticket) -> None:
        """Waits as the newest of its member's."""
        member_id = ticket.member_id
        if member_id not in self._queues:
            self._queues[member_id] = deque()
            self._begins[member_id] = self._next_of(member_id)
        self._queues[member_id].append(ticket)
        self._waiting += 1

    def take_next(self, most_parts: int) -> list[Ticket]:
        """The oldest of the member whose turn it is, as many as take so many parts of places, or one. Somebody has to
        wait."""
        member_id = min(self._queues, key=self._begins.__getitem__)
        self._time = max(self._time, self._begins[member_id])
        queue = self._queues.pop(member_id)
        tickets = [queue.popleft()]
        parts = tickets[0].parts
        while queue and parts + queue[0].parts <= most_parts:
            parts += queue[0].parts
            tickets.append(queue.popleft())
        self._waiting -= len(tickets)
        self._keep(member_id, queue)
        self.charge(member_id, parts)
        return tickets

    def take_newest_before(self, member_id: int) -> Ticket | None:
        """The newest of the longest queue; None where the member's is as long. Somebody has to wait."""
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        queue = self._queues[longest]
        if len(self._queues.get(member_id, ())) >= len(queue):
            return None
        self._waiting -= 1
        ticket = queue.pop()
        self._keep(longest, queue)
        return ticket

    def take_late(self, now: float) -> set[Ticket]:
        """Those that have waited too long."""
        all_late: set[Ticket] = set()
        for member_id, queue in list(self._queues.items()):
            late = {ticket for ticket in queue if now > ticket.until}
            if late:
                all_late |= late
                self._keep(member_id, deque(ticket for ticket in queue if ticket not in late))
        self._waiting -= len(all_late)
        for member_id in self._begins.keys() - self._queues.keys():
            if self._begins[member_id] <= self._least:
                del self._begins[member_id]
        return all_late

    def take_all(self) -> list[Ticket]:
        """All that wait."""
        everyone = [ticket for queue in self._queues.values() for ticket in queue]
        self._queues.clear()
        self._begins.clear()
        self._waiting = 0
        return everyone

    def leave(self, ticket: Ticket) -> None:
        """It waits no more, if it did."""
        queue = self._queues.get(ticket.member_id)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            self._waiting -= 1
            self._keep(ticket.member_id, queue)

    @property
    def _least(self) -> int:
        """When the next call begins of a member that comes after a long time."""
        return self._time - CREDIT_TURNS * prices.turn_room()

    def _next_of(self, member_id: int) -> int:
        least = self._least
        return max(self._begins.get(member_id, least), least)

    def _keep(self, member_id: int, queue: deque[Ticket]) -> None:
        """A member's queue is there as long as somebody waits in it. Where nobody waits at all, nobody has been served
        more."""
        if queue:
            self._queues[member_id] = queue
            return
        self._queues.pop(member_id, None)
        if not self._queues:
            self._begins.clear()
