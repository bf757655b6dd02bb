"""The connection to one node of the cluster.

redis-py opens the connection (name resolution, TLS, authentication); after its handshake the socket is ours, so that
all that the calls of one event-loop turn have queued goes out in one write, and replies are matched in order without a
coroutine for each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from hiredis import Reader, ReplyError
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from instantaudience_server.metrics import STORE_CONNECTION_FAILURES, STORE_CONNECTIONS, STORE_REFUSALS, store_replies
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.batch import Part
from instantaudience_server.store.cluster.commands import ASKING
from instantaudience_server.store.cluster.confirming import REPLIES, Awaited, Confirmation, unanswered
from instantaudience_server.store.interfaces.health import Problem

FEWEST_LOOKED_AT = 64
"""Parts that wait before it is looked for the first time which of them nobody waits for."""
_MORE = object()
"""What hiredis gives where a reply is not there yet, or not whole."""


class Router(Protocol):
    """Who decides what becomes of commands that a node did not carry out."""

    def refused(self, node: "Node", part: Part, index: int, error: ReplyError) -> None:
        """The node answered the command at `index` of the part's batch with an error."""

    def unreachable(self, node: "Node", parts: Iterable[Part]) -> None:
        """The connection is gone, or could not be made; these parts are unanswered."""

    def unconfirmed(self, node: "Node", parts: Iterable[Part]) -> None:
        """The node has not confirmed in time that these parts are where they are to be."""

    def another_slot(self, node: "Node", slot: int) -> int | None:
        """A slot of the node's, where there is one but for this one, which is another node's or on its way there."""


class Node:
    """One primary: a queue of parts, and the connection they go out on.

    `connect` makes a connection of redis-py that is not connected yet. `stalled_seconds` is how long the node may leave
    commands unanswered before its connection is taken for dead. What has to be confirmed goes out on connections of its
    own, so that nothing else waits behind it: `confirmations` has one for each durability beyond the primary's word.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], AbstractConnection],
        router: Router,
        *,
        stalled_seconds: float,
        confirmations: Mapping[Durability, Confirmation] | None = None,
        confirmation: Confirmation | None = None,
    ) -> None:
        self._lanes = {
            durability: Node(name, connect, router, stalled_seconds=stalled_seconds, confirmation=each)
            for durability, each in (confirmations or {}).items()
        }
        self._confirmation = confirmation
        self.name = name
        STORE_CONNECTION_FAILURES.labels(name)  # begins at 0, as alerts want it
        STORE_REFUSALS.labels(name, Problem.OTHER)
        self._connect = connect
        self._router = router
        self._stalled_seconds = stalled_seconds
        self._loop = asyncio.get_running_loop()
        self._outbox: list[Part] = []
        self._look_at = FEWEST_LOOKED_AT
        """How many parts wait when it is looked which of them nobody waits for."""
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._flush_scheduled = False
        self.problem: Problem | None = None
        """Why there is no connection, as of the last attempt."""

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in flight or being connected."""
        own = not self._outbox and self._connecting is None and (self._wire is None or self._wire.idle)
        return own and all(lane.idle for lane in self._lanes.values())

    def send(self, part: Part) -> None:
        """Queue a part; it goes out at the end of this event-loop turn, or when the connection stands."""
        lane = self._lanes.get(part.batch.durability)
        if lane is not None:
            lane.send(part)
            return
        self._outbox.append(part)
        if len(self._outbox) >= self._look_at:
            # A node that takes nothing for long must not keep ever more of what was given up.
            self._outbox = [each for each in self._outbox if not each.batch.done.done()]
            self._look_at = max(FEWEST_LOOKED_AT, 2 * len(self._outbox))
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    async def close(self) -> None:
        """Drop the connections. Queued parts are left to their deadlines."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._wire is not None:
            await self._wire.close()

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._wire is None:
            if self._connecting is None:
                self._connecting = self._loop.create_task(self._open())
        elif self._wire.writable:
            parts, self._outbox = self._outbox, []
            self._wire.write(parts)

    async def _open(self) -> None:
        connection = self._connect()
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
            self._wire = _Wire(connection, self, self._stalled_seconds, self._confirmation)
            STORE_CONNECTIONS.labels(self.name).inc()
            self.problem = None
        except (RedisError, OSError) as error:
            denied = isinstance(error, AuthenticationError | NoPermissionError)
            self.problem = Problem.NO_ACCESS if denied else Problem.NO_CONNECTION
            await connection.disconnect(nowait=True)
            parts, self._outbox = self._outbox, []
            self._router.unreachable(self, parts)
        finally:
            self._connecting = None
        if self._wire is not None:
            self._flush()

    def on_writable(self) -> None:
        """The connection takes data again."""
        if self._outbox:
            self._flush()

    def on_lost(self, unanswered: Iterable[Part]) -> None:
        """The connection is gone, with these parts unanswered."""
        self._wire = None
        self.problem = Problem.NO_CONNECTION
        outbox, self._outbox = self._outbox, []
        self._router.unreachable(self, [*unanswered, *outbox])

    def on_unconfirmed(self, parts: Iterable[Part]) -> None:
        """The node has not confirmed these parts in time."""
        self._router.unconfirmed(self, parts)

    def another_slot(self, slot: int) -> int | None:
        """A slot of the node's, where there is one but for this one, which is not, or not for long."""
        return self._router.another_slot(self, slot)

    def on_error(self, part: Part, index: int, error: ReplyError) -> None:
        """The node answered a command with an error."""
        self._router.refused(self, part, index, error)


class _Wire(asyncio.Protocol):
    """An open connection: what is in flight on it, in order."""

    def __init__(
        self, connection: AbstractConnection, node: Node, stalled_seconds: float, confirmation: Confirmation | None
    ) -> None:
        self._confirmation = confirmation
        self._mark_slot: int | None = None
        """Where marks stand, once one could not stand in a slot of what it was for."""
        self._connection = connection
        self._node = node
        self._stalled_seconds = stalled_seconds
        self._reader = Reader(notEnoughData=_MORE)
        self._in_flight: deque[Part | Awaited] = deque()
        self._timed: Part | None = None
        """The part whose replies are timed: one at a time, so that what is in flight need not be marked."""
        self._timed_since = 0.0
        self._observe_reply = store_replies(node.name).observe
        self.writable = True
        self._closed = False
        # redis-py has no public way to hand over a connected socket; `_writer` is pinned by requirements.lock and
        # tests/rooms/store covers it on every server.
        writer = connection._writer
        if writer is None:
            raise ConnectionError("the connection closed during its handshake")
        self._transport = writer.transport
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._watch = self._loop.call_later(stalled_seconds, self._check_stalled)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._in_flight

    def write(self, parts: Iterable[Part]) -> None:
        """Send parts in one write; those that nobody waits for any more are left out."""
        pieces: list[bytes] = []
        sent: list[Part] = []
        if not self._in_flight:
            self._heard = self._loop.time()
        for part in parts:
            batch = part.batch
            if batch.done.done():
                continue
            if part.asking:
                for index in part.indexes:
                    pieces += (ASKING, part.group.packed([index]))
            else:
                pieces.append(part.group.packed(part.indexes))
            sent.append(part)
        self._in_flight += sent
        if pieces:
            if self._timed is None:
                self._timed, self._timed_since = sent[0], self._loop.time()
            if self._confirmation is not None:
                slot = self._mark_slot
                if slot is None:
                    slot = sent[0].group.slot(sent[0].indexes[0])
                pieces.append(self._confirmation.after(slot))
                self._in_flight.append(Awaited(sent, slot))
            self._transport.write(b"".join(pieces))

    async def close(self) -> None:
        """Close the socket. Nobody is told of it: nothing has failed."""
        self._closed = True
        self._watch.cancel()
        self._transport.abort()
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Match replies to the commands in flight, in order."""
        self._heard = self._loop.time()
        self._take_replies(data)
        timed = self._timed
        if timed is not None and timed.position >= len(timed.indexes):
            self._observe_reply(self._heard - self._timed_since)
            self._timed = None

    def _take_replies(self, data: bytes) -> None:
        in_flight = self._in_flight
        if self._confirmation is None and not self._reader.has_data():
            data = self._take_usual(data)
            if not data:
                return
        self._reader.feed(data)
        while in_flight and self._take(in_flight[0]):
            in_flight.popleft()

    def _take_usual(self, data: bytes) -> bytes:
        """Take the replies of commands that were all carried out as usual, as many of a part as there are; what is left
        of the data.

        Most data is such, and comparing it costs a fraction of reading one reply after the other.
        """
        position, in_flight = 0, self._in_flight
        while in_flight and position < len(data):
            part = in_flight[0]
            assert isinstance(part, Part)
            reply = part.group.usual_reply
            if not reply or part.asking:
                break
            missing = len(part.indexes) - part.position
            there = min(missing, (len(data) - position) // len(reply))
            if not there or not data.startswith(reply * there, position):
                break
            position += there * len(reply)
            if there == missing:
                in_flight.popleft()
                part.end()
            else:
                part.position += there
            part.batch.answered(there)
        return data[position:] if position else data

    def _take(self, part: Part | Awaited) -> bool:
        """Take a part's replies, or a confirmation; True when they are complete."""
        if isinstance(part, Awaited):
            return self._take_confirmation(part)
        if part.asking:
            return self._take_asking(part)
        start, indexes = part.position, part.indexes
        replies = list(islice(iter(self._reader.gets, _MORE), len(indexes) - start))
        if not replies:
            return False
        part.position += len(replies)
        answered = indexes[start : part.position] if start or len(replies) < len(indexes) else indexes
        if ReplyError in map(type, replies):
            answered, replies = self._sort_out(part, answered, replies)
        part.group.answer(answered, replies)
        self._answered(part, answered)
        return part.position == len(indexes)

    def _sort_out(self, part: Part, indexes: Sequence[int], replies: Sequence[Any]) -> tuple[list[int], list[Any]]:
        """Hand errors over; the commands, and their replies, that are left."""
        good: tuple[list[int], list[Any]] = ([], [])
        for index, reply in zip(indexes, replies, strict=True):
            if isinstance(reply, ReplyError):
                self._node.on_error(part, index, reply)
            else:
                good[0].append(index)
                good[1].append(reply)
        return good

    def _take_asking(self, part: Part) -> bool:
        """Take the replies of a part whose commands follow ASKING; True when they are complete."""
        while part.position < 2 * len(part.indexes):
            reply: Any = self._reader.gets()
            if reply is _MORE:
                return False
            command, is_command_reply = divmod(part.position, 2)
            part.position += 1
            if not is_command_reply:
                continue
            index = part.indexes[command]
            if isinstance(reply, ReplyError):
                self._node.on_error(part, index, reply)
            else:
                part.group.answer([index], [reply])
                self._answered(part, [index])
        return True

    def _answered(self, part: Part, indexes: list[int]) -> None:
        """Count answers; where they have to be confirmed, later."""
        if self._confirmation is None:
            part.batch.answered(len(indexes))
        else:
            part.unconfirmed += indexes

    def _take_confirmation(self, awaited: Awaited) -> bool:
        """Take the replies that tell whether a write is confirmed; True when they are there."""
        replies = awaited.replies
        replies += islice(iter(self._reader.gets, _MORE), REPLIES - len(replies))
        if len(replies) < REPLIES:
            return False
        assert self._confirmation is not None
        if self._confirmation.given(replies):
            awaited.confirm()
        else:
            if awaited.misplaced and self._mark_slot in (None, awaited.slot):
                self._mark_slot = self._node.another_slot(awaited.slot)
            self._node.on_unconfirmed([part for part in awaited.parts if part.unconfirmed])
        return True

    def pause_writing(self) -> None:
        """The socket's buffer is full (asyncio's flow control)."""
        self.writable = False

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        self.writable = True
        self._node.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand back what is unanswered, unless the connection was closed on purpose."""
        self._watch.cancel()
        if self._closed:
            return
        closing = self._loop.create_task(self._connection.disconnect(nowait=True))
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._node.on_lost(unanswered(self._in_flight))

    def _check_stalled(self) -> None:
        quiet = self._loop.time() - self._heard
        if self._in_flight and quiet >= self._stalled_seconds:
            self._transport.abort()
            return
        delay = self._stalled_seconds - quiet if self._in_flight else self._stalled_seconds
        self._watch = self._loop.call_later(delay, self._check_stalled)
