"""Decides which calls run now, which wait for their turn, and which are refused before they cost anything.

A limited number of calls runs at once. Past that, calls wait, each member's in a queue of its own, and members take
turns: a member that floods gets what the others leave. A call that has waited too long is refused; when the queues are
full, the newest call of the longest queue is. docs/adr/0018-admission.md has the reasons.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from instantaudience_server.admission import prices
from instantaudience_server.admission.queues import Queues, Ticket
from instantaudience_server.errors import AudienceError, overloaded
from instantaudience_server.observation.metrics import ADMISSION_REFUSALS, waited

SLOW_SECONDS = 0.1
"""A call counts as slow if it has run for longer than this, and either more than `most_running` others have ended since
it began or no call has ended for this long. Then it waits for a node of the cluster, and loses its place, so that calls
that need other nodes are served meanwhile. If all calls take long but end one after the other, the service itself is
slow, and more calls at once would not help."""
LARGE_SLOW = 4
"""A call that takes several places may run as many times longer before it is slow, up to this factor."""
MOST_UNDER_WAY = 5000
"""The most calls that run, including slow ones."""
PATIENCE_SHARE = 0.2
PATIENCE_SECONDS = 1.0
"""How long a call waits for its turn: this share of the time that it had when it came in, and at most this long."""
FEW = 8
"""A member with fewer calls under way has not caused a queue: its calls are admitted even if they come here late."""
LOOK_SECONDS = 0.02
"""The interval at which calls that have waited too long or are slow are looked for."""
RETRY_SECONDS = (1, 3)
"""The range from which the `retry-after` of refused calls is drawn, so that they do not all come again at once."""
OVERLOADED = "the service is overloaded; nothing was changed"
CROWDED = "too many streams send faster than they are read; what has no answer may be applied. Send on fewer of them"

AT_HOST = ("waited", "full")
"""Why hosts refuse calls: they waited too long, or too many waited."""
_count_refusal = {reason: ADMISSION_REFUSALS.labels(reason).inc for reason in (*AT_HOST, "late")}


class Admission:
    """Admits calls: `most_running` places for running calls, and a queue for `most_waiting` others.

    More calls at once would not be served sooner, as they share one processor. A place has `prices.PARTS` parts; what a
    call takes depends on its size (docs/adr/0031-turns-by-cost.md). On the native host, unary calls wait in Rust
    instead; `room` tells it how many it may hand over. `randint(a, b)` draws an integer from a to b.
    """

    def __init__(self, randint: Callable[[int, int], int], *, most_running: int, most_waiting: int) -> None:
        self.most_running = most_running
        self.most_waiting = most_waiting
        self._loop = asyncio.get_running_loop()
        self._randint = randint
        self.waiting_at_host = 0
        """The number of calls that wait at the host."""
        self._running = 0
        """What running calls take, without slow ones, in parts of places."""
        self._under_way = 0
        self._room_taken = 0
        """What calls take of the `room`, in parts of places."""
        self._taking_room_of: dict[int, int] = {}
        """By member: the number of calls that take room."""
        self._ended = self._ended_at_look = 0
        """What all calls that have ended had taken, in parts of places: now, and at the last sweep."""
        self._progress = self._loop.time()
        """The time of the last sweep that found a call ended, or none under way."""
        self._under_way_of: dict[int, int] = {}
        """By member: the number of calls under way."""
        self._started: deque[Ticket] = deque()
        """The tickets of running calls, in the order they began; some may have ended."""
        self._queues = Queues()
        self._look: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """How much room there is for further calls of a host that has calls wait itself, in parts of places."""
        return max(0, min(self._places - self._room_taken, MOST_UNDER_WAY - self._under_way))

    @property
    def members_with_room(self) -> list[int]:
        """The IDs of the members whose calls take room."""
        return list(self._taking_room_of)

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn, here and at the host."""
        return len(self._queues) + self.waiting_at_host

    @property
    def under_way(self) -> int:
        """How many calls have had their turn and have not ended."""
        return self._under_way

    async def enter(
        self,
        member_id: int,
        deadline: float,
        waited_seconds: float = 0.0,
        *,
        had_turn: bool = False,
        in_stream: bool = False,
        size_bytes: int = 0,
    ) -> Ticket:
        """Wait until a call may run. Pass its ticket to `leave` when it has ended.

        The call came in `waited_seconds` ago. `had_turn`: it has waited at its host, so it is not refused as late.
        `in_stream`: it is a request of a stream, with a message of `size_bytes`. Only one of a stream waits at a time,
        and holds up those behind it, so it may wait until its deadline. When its turn comes, others may `go_along`
        until `end_turn`. `deadline` is a time of the event loop's clock, in seconds.

        Raises:
            AudienceError: UNAVAILABLE, when its turn does not come in time.
        """
        now = self._loop.time()
        came = now - waited_seconds
        until = deadline if in_stream else came + min(PATIENCE_SECONDS, PATIENCE_SHARE * (deadline - came))
        if now > until and not had_turn and self._under_way_of.get(member_id, 0) >= FEW:
            raise self._refusal("late")
        ticket = Ticket(member_id, now, until, prices.PARTS)
        if in_stream:
            parts = prices.parts_of(size_bytes)
            ticket.parts, ticket.most_parts = max(parts, prices.turn_room()), parts
            ticket.spare = ticket.parts - parts
        runs = self._has_room(member_id)
        if not runs and len(self._queues) >= self.most_waiting:
            self._make_room(member_id)
        self._take_room(ticket, in_stream)
        if runs:
            self._start_at_once(ticket)
            waited.observe(waited_seconds)
            return ticket
        self._queues.add(ticket)
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
        """As `enter`, for calls that are carried out together; None if one of them would have to wait.

        `sizes` are the bytes of their messages, `waited_seconds` the time since each came in. The ticket is for all.
        """
        parts = prices.parts_of_all(sizes)
        if not self._has_room(member_id, parts - prices.parts_of(sizes[-1])):
            return None
        largest = prices.parts_of(max(sizes))
        ticket = Ticket(member_id, self._loop.time(), 0.0, parts, calls=len(sizes), most_parts=largest)
        self._take_room(ticket, in_stream)
        self._start_at_once(ticket)
        waited.observe_all(waited_seconds)
        return ticket

    def go_along(self, ticket: Ticket, size_bytes: int) -> bool:
        """Admit one more request of a stream in the turn of the one with this ticket; they share most of their costs.

        Returns False if the turn would become too long.
        """
        parts = prices.parts_of(size_bytes)
        if parts > ticket.spare:
            return False
        ticket.spare -= parts
        ticket.calls += 1
        self._under_way += 1
        self._under_way_of[ticket.member_id] += 1
        waited.observe(0.0)
        return True

    def end_turn(self, ticket: Ticket) -> None:
        """End a turn: give back the room for requests that could have gone along."""
        ticket.parts -= ticket.spare
        if ticket.running:
            self._running -= ticket.spare
        ticket.spare = 0
        self._take_turns()

    def leave(self, ticket: Ticket, sizes: Sequence[int] = ()) -> None:
        """Note that a ticket's call has ended. Of a ticket for several, those with messages of these sizes, or all."""
        calls, parts = ticket.calls, ticket.parts
        if sizes and len(sizes) < calls:
            calls, parts = len(sizes), prices.parts_of_all(sizes)
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
            ticket.spare = 0
        self._take_turns()

    def late(self) -> AudienceError:
        """The error of a call that came here when its time was over, or nearly; it is counted."""
        return self._refusal("late")

    def crowded(self) -> AudienceError:
        """The error that ends a stream because too many streams send faster than they are read; it is counted."""
        return self._refusal("full", CROWDED)

    def count_refused(self, reason: str, count: int) -> None:
        """Count calls that a host has refused itself; `reason` is one of `AT_HOST`."""
        _count_refusal[reason](count)

    def close(self) -> None:
        """Refuse all waiting calls."""
        if self._look is not None:
            self._look.cancel()
        for ticket in self._queues.take_all():
            self._refuse(ticket, "full")

    @property
    def _places(self) -> int:
        """All places, in parts."""
        return self.most_running * prices.PARTS

    def _has_room(self, member_id: int, parts_before: int = 0) -> bool:
        """Whether a call may run now, beside others that are about to start and take `parts_before`.

        A member that has no call under way or waiting, and was served less than those who wait, may pass them and use
        the places that are kept for such members.
        """
        places = self._places
        idle = member_id not in self._under_way_of and member_id not in self._queues
        if idle and self._queues.is_behind(member_id):
            places += prices.kept_room()
        elif self._queues:
            return False
        return self._running + parts_before < places and self._under_way < MOST_UNDER_WAY

    def _start_at_once(self, ticket: Ticket) -> None:
        self._queues.charge(ticket.member_id, ticket.parts)
        self._start(ticket)

    def _start(self, ticket: Ticket) -> None:
        self._running += ticket.parts
        self._under_way += ticket.calls
        self._under_way_of[ticket.member_id] = self._under_way_of.get(ticket.member_id, 0) + ticket.calls
        ticket.running = True
        ticket.ended_before = self._ended
        self._started.append(ticket)
        self._arm()

    def _take_turns(self) -> None:
        """Start waiting calls as long as there is room, one member's turn after the other."""
        while self._queues and self._running < self._places and self._under_way < MOST_UNDER_WAY:
            for ticket in self._queues.take_next(prices.turn_room()):
                assert ticket.turn is not None
                if not ticket.turn.done():
                    ticket.since = self._loop.time()
                    self._start(ticket)
                    ticket.turn.set_result(None)

    def _make_room(self, member_id: int) -> None:
        """Make room in the queues for a call of this member: refuse the newest call of the longest queue.

        Raises:
            AudienceError: UNAVAILABLE, if the member's own queue is as long; then its new call is refused.
        """
        ticket = self._queues.take_newest_before(member_id)
        if ticket is None:
            raise self._refusal("full")
        self._refuse(ticket, "full")

    def _arm(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(LOOK_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Refuse calls that have waited too long, and take the places of slow ones."""
        self._look = None
        now = self._loop.time()
        if self._ended != self._ended_at_look or not self._under_way:
            self._ended_at_look, self._progress = self._ended, now
        started = self._started
        while started and (not started[0].running or self._is_slow(started[0], now)):
            ticket = started.popleft()
            self._give_all_room_back(ticket)
            if ticket.running:
                ticket.running = False
                self._running -= ticket.parts
        self._take_turns()
        for ticket in self._queues.take_late(now):
            self._refuse(ticket, "waited")
        if started or self._queues:
            self._arm()

    def _is_slow(self, ticket: Ticket, now: float) -> bool:
        """Whether a call is slow (see `SLOW_SECONDS`)."""
        stuck = now - self._progress > SLOW_SECONDS or self._ended - ticket.ended_before > self._places
        return stuck and now - ticket.since > SLOW_SECONDS * min(LARGE_SLOW, max(1.0, ticket.most_parts / prices.PARTS))

    def _forget(self, ticket: Ticket) -> None:
        """Remove a waiting call whose caller has left, perhaps just when its turn came."""
        assert ticket.turn is not None
        if ticket.turn.done() and not ticket.turn.cancelled():
            if ticket.turn.exception() is None:
                self.leave(ticket)
            return
        self._give_all_room_back(ticket)
        self._queues.leave(ticket)

    def _take_room(self, ticket: Ticket, in_stream: bool) -> None:
        if not in_stream:
            ticket.takes_room = True
            others = self._taking_room_of.get(ticket.member_id, 0)
            self._taking_room_of[ticket.member_id] = others + ticket.calls
            self._room_taken += ticket.parts + (0 if others else prices.first_takes_more())

    def _give_room_back(self, ticket: Ticket, calls: int, parts: int) -> None:
        if ticket.takes_room:
            others = self._taking_room_of.pop(ticket.member_id) - calls
            if others:
                self._taking_room_of[ticket.member_id] = others
            self._room_taken -= parts + (0 if others else prices.first_takes_more())

    def _give_all_room_back(self, ticket: Ticket) -> None:
        self._give_room_back(ticket, ticket.calls, ticket.parts)
        ticket.takes_room = False

    def _refuse(self, ticket: Ticket, reason: str) -> None:
        self._give_all_room_back(ticket)
        assert ticket.turn is not None
        if not ticket.turn.done():
            ticket.turn.set_exception(self._refusal(reason))

    def _refusal(self, reason: str, message: str = OVERLOADED) -> AudienceError:
        _count_refusal[reason]()
        return overloaded(message, self._randint(*RETRY_SECONDS))
