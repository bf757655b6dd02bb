"""Calls that wait for their turn: each member's in a queue of its own."""

import asyncio
from collections import deque


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
    """Who waits, by member; its length is how many do."""

    def __init__(self) -> None:
        self._waiting = 0
        self._queues: dict[int, deque[Ticket]] = {}
        """Of each member of whom any wait; the first member's turn is next."""

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, member_id: int) -> bool:
        return member_id in self._queues

    def add(self, ticket: Ticket) -> None:
        """Waits as the newest of its member's."""
        self._queues.setdefault(ticket.member_id, deque()).append(ticket)
        self._waiting += 1

    def take_next(self, most_parts: int) -> list[Ticket]:
        """The oldest of the member whose turn it is, as many as take so many parts of places, or one; the others' come
        before its next ones. Somebody has to wait."""
        member_id = next(iter(self._queues))
        queue = self._queues.pop(member_id)
        tickets = [queue.popleft()]
        parts = tickets[0].parts
        while queue and parts + queue[0].parts <= most_parts:
            parts += queue[0].parts
            tickets.append(queue.popleft())
        self._waiting -= len(tickets)
        self._keep(member_id, queue)
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
        return all_late

    def take_all(self) -> list[Ticket]:
        """All that wait."""
        everyone = [ticket for queue in self._queues.values() for ticket in queue]
        self._queues.clear()
        self._waiting = 0
        return everyone

    def leave(self, ticket: Ticket) -> None:
        """It waits no more, if it did."""
        queue = self._queues.get(ticket.member_id)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            self._waiting -= 1
            self._keep(ticket.member_id, queue)

    def _keep(self, member_id: int, queue: deque[Ticket]) -> None:
        """A member's queue is there as long as somebody waits in it."""
        if queue:
            self._queues[member_id] = queue
        else:
            self._queues.pop(member_id, None)
