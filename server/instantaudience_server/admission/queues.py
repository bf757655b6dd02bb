"""The queues of calls that wait for their turn: one for each member, and members take turns by the cost of their calls
(docs/adr/0031-turns-by-cost.md)."""

import asyncio
from collections import deque

from instantaudience_server.admission import prices

CREDIT_TURNS = 2
"""How many turns before the current virtual time a member begins that has not called for a while, so that it is next.
Members that flood are all served up to about that time; beginning there, it would wait for a turn of each of them."""


class Ticket:
    """A call that was admitted or waits for its turn, or several calls that were admitted together.

    `turn` is done when the call may run; None if it did not have to wait. `since` is when it came here or began to run,
    and `until` how long it waits (times of the event loop's clock, in seconds). Its `calls` that have not ended take
    `parts` of places, the largest of them `most_parts`; `spare` of the parts are for requests that go along.
    `takes_room`: it counts against `Admission.room`, unlike requests of streams and slow calls. `ended_before` is
    `Admission._ended` when it began.
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
    """The waiting calls, by member; `len()` is how many there are.

    Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): virtual time is what a member has been served, in
    parts of places, while calls waited. The member whose next call begins first in virtual time has the next turn. A
    request of a stream counts as a whole turn, as others may go along with it.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._queues: dict[int, deque[Ticket]] = {}
        """By member: its waiting calls; a member without any has no queue."""
        self._time = 0
        """The current virtual time: the beginning of the latest turn."""
        self._begins: dict[int, int] = {}
        """By member: the virtual time at which its next call begins, or would begin, if it was served lately."""

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, member_id: int) -> bool:
        return member_id in self._queues

    def is_behind(self, member_id: int) -> bool:
        """Whether a member's next turn would begin before the current virtual time."""
        return self._next_of(member_id) < self._time

    def charge(self, member_id: int, parts: int) -> None:
        """Add what a member was served, in parts of places; it counts only while calls wait."""
        if self._queues:
            self._begins[member_id] = self._next_of(member_id) + parts

    def add(self, ticket: Ticket) -> None:
        """Append a call to its member's queue."""
        member_id = ticket.member_id
        if member_id not in self._queues:
            self._queues[member_id] = deque()
            self._begins[member_id] = self._next_of(member_id)
        self._queues[member_id].append(ticket)
        self._waiting += 1

    def take_next(self, most_parts: int) -> list[Ticket]:
        """Take the oldest calls of the member whose turn it is: as many as take `most_parts`, but at least one.

        There must be waiting calls.
        """
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
        """Take the newest call of the longest queue; None if this member's queue is as long.

        There must be waiting calls.
        """
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        queue = self._queues[longest]
        if len(self._queues.get(member_id, ())) >= len(queue):
            return None
        self._waiting -= 1
        ticket = queue.pop()
        self._keep(longest, queue)
        return ticket

    def take_late(self, now: float) -> set[Ticket]:
        """Take the calls that have waited too long; `now` is by the event loop's clock."""
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
        """Take all waiting calls."""
        everyone = [ticket for queue in self._queues.values() for ticket in queue]
        self._queues.clear()
        self._begins.clear()
        self._waiting = 0
        return everyone

    def leave(self, ticket: Ticket) -> None:
        """Remove a call, if it is still waiting."""
        queue = self._queues.get(ticket.member_id)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            self._waiting -= 1
            self._keep(ticket.member_id, queue)

    @property
    def _least(self) -> int:
        """The virtual time at which the next call of a member begins that has not called for long."""
        return self._time - CREDIT_TURNS * prices.turn_room()

    def _next_of(self, member_id: int) -> int:
        least = self._least
        return max(self._begins.get(member_id, least), least)

    def _keep(self, member_id: int, queue: deque[Ticket]) -> None:
        """Store a member's queue, or remove it if it is empty. Once no calls wait at all, what members were served is
        forgotten."""
        if queue:
            self._queues[member_id] = queue
            return
        self._queues.pop(member_id, None)
        if not self._queues:
            self._begins.clear()
