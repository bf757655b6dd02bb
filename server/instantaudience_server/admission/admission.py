"""Which calls run now, which wait for their turn, and which are refused before they cost anything.

So many calls run at once. Past that they wait, each member's in a queue of its own, and members take turns: a flood
gets what the others leave. Who has waited too long is refused; where queues are full, the newest of the longest one is.
docs/adr/0018-admission.md has the reasons.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from instantaudience_server.errors import AudienceError, overloaded
from instantaudience_server.metrics import ADMISSION_REFUSALS, waited

MOST_RUNNING = 64
"""Calls that run at once. More would not be served sooner: one after the other has the processor."""
PARTS = 4
"""Of a place. A small call that is carried out together with others of its member takes one of them: what most of its
time goes into, such calls share."""
SMALL_BYTES = 1024
"""The message of a small call, at most: as much as a call costs beside it (docs/adr/0031-turns-by-cost.md)."""
PLACE_BYTES, MOST_PLACES = 4_608, 32
"""A call takes a further place for each so many bytes of its message, up to so many places: what a large one writes,
others wait for at the nodes."""
FIRST_TAKES = 3
"""How many places a member's first call takes where a host has calls wait itself. Calls of one member are carried out
together (docs/adr/0020-gathering.md) and those of many are not, so fewer of these keep a worker as busy."""
TURN_PLACES = 6
"""How many places a member's calls take in a row there, before the next member's: where many members call, each has a
few calls carried out together."""
KEPT_PLACES = 8
"""Of the places, so many are for members none of whose calls runs, where a host has calls wait itself."""
SLOW_SECONDS = 0.1
"""A call that runs longer, and is overtaken by more than `MOST_RUNNING` others, or by nobody because none has ended for
so long, waits for a part of the cluster. It has its place no longer: calls that need another part are served meanwhile.
Where all calls take long, and end one after the other, it is the service that is slow: more of them would not help."""
LARGE_SLOW = 4
"""A call that takes several places may run as many times as long, but at most so many times."""
MOST_UNDER_WAY = 5000
"""Calls that run, slow ones included."""
MOST_WAITING = 1000
"""Calls that wait for their turn."""
PATIENCE_SHARE = 0.2
PATIENCE_SECONDS = 1.0
"""How long a call waits for its turn: so much of the time it had when it came in, and at most so long."""
FEW = 8
"""A member that has no more calls under way is not to blame when they come late to their turn: all are let in."""
LOOK_SECONDS = 0.02
"""How often it is looked who has waited too long, or runs slowly."""
RETRY_SECONDS = (1, 3)
"""When those that were refused may come again, drawn for each: they must not come all at once."""
OVERLOADED = "the service is overloaded; nothing was changed"

_count_refusal = {reason: ADMISSION_REFUSALS.labels(reason).inc for reason in ("waited", "full", "late")}


def first_takes_more() -> int:
    """What a member's first call takes beyond its own, in parts of places."""
    return (FIRST_TAKES - 1) * PARTS


def kept_room() -> int:
    """What is kept for members none of whose calls runs, in parts of places."""
    return KEPT_PLACES * PARTS


def turn_room() -> int:
    """What a member's calls take in a row, in parts of places."""
    return TURN_PLACES * PARTS


def _parts_of(size_bytes: int) -> int:
    """What a call takes that is carried out together with others, by the size of its message."""
    return 1 if size_bytes <= SMALL_BYTES else PARTS * min(MOST_PLACES, 1 + size_bytes // PLACE_BYTES)


def _parts_of_all(sizes: Sequence[int]) -> int:
    """What such calls take, most of which are small."""
    return len(sizes) if max(sizes) <= SMALL_BYTES else sum(map(_parts_of, sizes))


class Ticket:
    """A call that was let in, or waits to be, or several that were let in together. `turn` is done when it may run;
    None where it runs at once.

    `takes_room` of what `Admission.room` tells: requests of streams do not, nor does what runs slowly. Its `calls` that
    have not ended take so many `parts` of places, and the largest of all `most_parts`.
    """

    __slots__ = (
        "calls",
        "ended_before",
        "member_id",
        "most_parts",
        "parts",
        "running",
        "since",
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
        self.takes_room = False
        self.ended_before = 0
        self.member_id = member_id
        self.since = since
        self.until = until
        self.running = False
        self.turn: asyncio.Future[None] | None = None


class Admission:
    """Lets calls in: `most_running` at once, while `most_waiting` wait.

    `randint(a, b)` draws an integer from a to b.
    """

    def __init__(
        self, randint: Callable[[int, int], int], *, most_running: int = MOST_RUNNING, most_waiting: int = MOST_WAITING
    ) -> None:
        self.most_running = most_running
        self.most_waiting = most_waiting
        self._loop = asyncio.get_running_loop()
        self._randint = randint
        self.waiting_at_host = 0
        """Calls that a host has wait itself."""
        self._running = 0
        """Parts of places that calls have."""
        self._under_way = 0
        self._waiting = 0
        self._room_taken = 0
        self._taking_room_of: dict[int, int] = {}
        """How many calls of each member take room."""
        self._ended = self._ended_at_look = 0
        """How many calls have ended, now and when it was looked last, in parts of places."""
        self._progress = self._loop.time()
        """When it was seen last that one had."""
        self._under_way_of: dict[int, int] = {}
        """Of each member that has any."""
        self._started: deque[Ticket] = deque()
        """What runs, in the order it began; some has ended."""
        self._queues: dict[int, deque[Ticket]] = {}
        """Who waits, by member; the first member's turn is next."""
        self._look: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """How much there is for calls from a host that has others wait where it costs less, in parts of places."""
        return max(0, min(self.most_running * PARTS - self._room_taken, MOST_UNDER_WAY - self._under_way))

    @property
    def members_with_room(self) -> list[int]:
        """The IDs of the members whose calls take room."""
        return list(self._taking_room_of)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._waiting + self.waiting_at_host

    @property
    def under_way(self) -> int:
        """How many calls have had their turn, and not ended."""
        return self._under_way

    async def enter(
        self,
        member_id: int,
        deadline: float,
        waited_seconds: float = 0.0,
        *,
        had_turn: bool = False,
        in_stream: bool = False,
    ) -> Ticket:
        """Wait until the call may run, which has waited before; give its ticket back to `leave` when it has ended. A
        host that has calls wait itself has judged that already where the call `had_turn`.

        The deadline is a time of the event loop's clock, in seconds.

        Raises:
            AudienceError: UNAVAILABLE, when its turn does not come.
        """
        now = self._loop.time()
        came = now - waited_seconds
        until = came + min(PATIENCE_SECONDS, PATIENCE_SHARE * (deadline - came))
        if now > until and not had_turn and self._under_way_of.get(member_id, 0) >= FEW:
            raise self._refusal("late")
        ticket = Ticket(member_id, now, until, PARTS)
        runs = self._has_room
        if not runs and self._waiting >= self.most_waiting:
            self._make_room(member_id)
        self._take_room(ticket, in_stream)
        if runs:
            self._start(ticket)
            waited.observe(waited_seconds)
            return ticket
        self._queues.setdefault(member_id, deque()).append(ticket)
        self._waiting += 1
        ticket.turn = self._loop.create_future()
        self._arm()
        try:
            await ticket.turn
        except asyncio.CancelledError:
            self._forget(ticket)
            raise
        waited.observe(self._loop.time() - came)
        return ticket

    def enter_at_once(
        self, member_id: int, sizes: Sequence[int], waited_seconds: Sequence[float], *, in_stream: bool
    ) -> Ticket | None:
        """As `enter`, of calls with messages of these sizes that are carried out together; None where one has to
        wait."""
        if not self._has_room:
            return None
        parts = _parts_of_all(sizes)
        if self._running + parts - _parts_of(sizes[-1]) >= self.most_running * PARTS:
            return None
        largest = _parts_of(max(sizes))
        ticket = Ticket(member_id, self._loop.time(), 0.0, parts, calls=len(sizes), most_parts=largest)
        self._take_room(ticket, in_stream)
        self._start(ticket)
        waited.observe_all(waited_seconds)
        return ticket

    def leave(self, ticket: Ticket, sizes: Sequence[int] = ()) -> None:
        """The call has ended; of several, those with messages of these sizes, or all."""
        calls, parts = ticket.calls, ticket.parts
        if sizes and len(sizes) < calls:
            calls, parts = len(sizes), _parts_of_all(sizes)
        self._give_room_back(ticket, calls, parts)
        self._ended += parts
        self._under_way -= calls
        left = self._under_way_of[ticket.member_id] - calls
        if left:
            self._under_way_of[ticket.member_id] = left
        else:
            del self._under_way_of[ticket.member_id]
        if ticket.running:
            self._running -= parts
        ticket.calls -= calls
        ticket.parts -= parts
        if not ticket.calls:
            ticket.running = ticket.takes_room = False
        if self._queues:
            self._take_turns()

    def late(self) -> AudienceError:
        """Why a call fails that came here when its time was over, or nearly."""
        return self._refusal("late")

    def count_refused(self, reason: str, count: int) -> None:
        """So many calls were refused by a host that has them wait itself: `waited` too long, or its room was `full`."""
        _count_refusal[reason](count)

    def close(self) -> None:
        """Refuse all that wait."""
        if self._look is not None:
            self._look.cancel()
        for queue in self._queues.values():
            for ticket in queue:
                self._refuse(ticket, "full")
        self._queues.clear()
        self._waiting = 0

    @property
    def _has_room(self) -> bool:
        return self._running < self.most_running * PARTS and self._under_way < MOST_UNDER_WAY and not self._queues

    def _start(self, ticket: Ticket) -> None:
        self._running += ticket.parts
        self._under_way += ticket.calls
        self._under_way_of[ticket.member_id] = self._under_way_of.get(ticket.member_id, 0) + ticket.calls
        ticket.running = True
        ticket.ended_before = self._ended
        self._started.append(ticket)
        self._arm()

    def _take_turns(self) -> None:
        """Let the members' next ones run, one of each after the other."""
        while self._queues and self._running < self.most_running * PARTS and self._under_way < MOST_UNDER_WAY:
            member_id = next(iter(self._queues))
            queue = self._queues.pop(member_id)
            ticket = queue.popleft()
            self._waiting -= 1
            self._keep(member_id, queue)
            assert ticket.turn is not None
            if not ticket.turn.done():
                ticket.since = self._loop.time()
                self._start(ticket)
                ticket.turn.set_result(None)

    def _make_room(self, member_id: int) -> None:
        """Refuse the newest call of the longest queue: this one, where its member's is that.

        Raises:
            AudienceError: UNAVAILABLE, this one is refused.
        """
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        if len(self._queues.get(member_id, ())) >= len(self._queues[longest]):
            raise self._refusal("full")
        ticket = self._queues[longest].pop()
        self._waiting -= 1
        self._keep(longest, self._queues[longest])
        self._refuse(ticket, "full")

    def _keep(self, member_id: int, queue: deque[Ticket]) -> None:
        """A member's queue is there as long as somebody waits in it."""
        if queue:
            self._queues[member_id] = queue
        else:
            self._queues.pop(member_id, None)

    def _arm(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(LOOK_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Refuse who has waited too long, and take the place of who runs slowly."""
        self._look = None
        now = self._loop.time()
        if self._ended != self._ended_at_look or not self._under_way:
            self._ended_at_look, self._progress = self._ended, now
        started = self._started
        while started and (not started[0].running or self._waits(started[0], now)):
            ticket = started.popleft()
            self._give_all_room_back(ticket)
            if ticket.running:
                ticket.running = False
                self._running -= ticket.parts
        self._take_turns()
        for member_id, queue in list(self._queues.items()):
            late = {ticket for ticket in queue if now > ticket.until}
            if not late:
                continue
            for ticket in late:
                self._refuse(ticket, "waited")
            self._waiting -= len(late)
            self._keep(member_id, deque(ticket for ticket in queue if ticket not in late))
        if started or self._queues:
            self._arm()

    def _waits(self, ticket: Ticket, now: float) -> bool:
        """Whether a call waits for something that not all do."""
        stuck = now - self._progress > SLOW_SECONDS or self._ended - ticket.ended_before > self.most_running * PARTS
        return stuck and now - ticket.since > SLOW_SECONDS * min(LARGE_SLOW, max(1.0, ticket.most_parts / PARTS))

    def _forget(self, ticket: Ticket) -> None:
        """The caller of a waiting call has left, perhaps just when its turn came."""
        assert ticket.turn is not None
        if ticket.turn.done() and not ticket.turn.cancelled():
            if ticket.turn.exception() is None:
                self.leave(ticket)
            return
        self._give_all_room_back(ticket)
        queue = self._queues.get(ticket.member_id)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            self._waiting -= 1
            self._keep(ticket.member_id, queue)

    def _take_room(self, ticket: Ticket, in_stream: bool) -> None:
        if not in_stream:
            ticket.takes_room = True
            others = self._taking_room_of.get(ticket.member_id, 0)
            self._taking_room_of[ticket.member_id] = others + ticket.calls
            self._room_taken += ticket.parts + (0 if others else first_takes_more())

    def _give_room_back(self, ticket: Ticket, calls: int, parts: int) -> None:
        if ticket.takes_room:
            others = self._taking_room_of.pop(ticket.member_id) - calls
            if others:
                self._taking_room_of[ticket.member_id] = others
            self._room_taken -= parts + (0 if others else first_takes_more())

    def _give_all_room_back(self, ticket: Ticket) -> None:
        self._give_room_back(ticket, ticket.calls, ticket.parts)
        ticket.takes_room = False

    def _refuse(self, ticket: Ticket, reason: str) -> None:
        self._give_all_room_back(ticket)
        assert ticket.turn is not None
        if not ticket.turn.done():
            ticket.turn.set_exception(self._refusal(reason))

    def _refusal(self, reason: str) -> AudienceError:
        _count_refusal[reason]()
        return overloaded(OVERLOADED, self._randint(*RETRY_SECONDS))
