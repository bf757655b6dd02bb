"""An open connection to a node, and the commands in flight on it.

redis-py opens the connection (name resolution, TLS, authentication). After its handshake, `Wire` takes over the socket,
so that commands that go out together are one write, and replies are matched in order without a coroutine for each.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

from hiredis import Reader, ReplyError
from redis.asyncio.connection import AbstractConnection

from instantaudience_server.observation.metrics import store_replies
from instantaudience_server.store.cluster.batch import Part
from instantaudience_server.store.cluster.commands import ASKING
from instantaudience_server.store.cluster.confirming import REPLIES, Awaited, Confirmation, unanswered

_MORE = object()
"""What hiredis returns while the next reply is not complete."""


class Owner(Protocol):
    """The node that a connection leads to, as the connection sees it."""

    @property
    def name(self) -> str:
        """The node's address, `host:port`."""

    def on_writable(self) -> None:
        """The connection accepts data again."""

    def on_lost(self, unanswered: Iterable[Part]) -> None:
        """The connection was lost, with these parts unanswered."""

    def on_unconfirmed(self, parts: Iterable[Part]) -> None:
        """The node has not confirmed these parts in time."""

    def another_slot(self, slot: int) -> int | None:
        """Another slot of the node than this one, which has moved or is migrating; None where there is none."""

    def on_error(self, part: Part, index: int, error: ReplyError) -> None:
        """The node answered the command at `index` of the part's group with an error."""


class Wire(asyncio.Protocol):
    """An open connection and the parts in flight on it, in the order of their replies."""

    def __init__(
        self, connection: AbstractConnection, owner: Owner, stalled_seconds: float, confirmation: Confirmation | None
    ) -> None:
        self._confirmation = confirmation
        self._mark_slot: int | None = None
        """The slot of marks, once a mark could not be written in a slot of the commands it was for."""
        self._connection = connection
        self._owner = owner
        self._stalled_seconds = stalled_seconds
        self._reader = Reader(notEnoughData=_MORE)
        self._in_flight: deque[Part | Awaited] = deque()
        self._timed: Part | None = None
        """The part whose replies are timed. Only one at a time is, so that parts need no time of their own."""
        self._timed_since = 0.0
        self._observe_reply = store_replies(owner.name).observe
        self._has_room = True
        """Whether the socket's buffer has room (asyncio's flow control)."""
        self._closed = False
        # redis-py has no public way to hand over a connected socket; `_writer` is pinned by requirements.lock and
        # tests/modules/store covers it on every server.
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

    @property
    def writable(self) -> bool:
        """Whether parts may be sent. Where writes have to be confirmed, parts are collected until all before them are
        confirmed: the node reads nothing more from the connection until then, so that the writes of single turns would
        queue up, each with a wait of its own."""
        return self._has_room and (self._confirmation is None or self.idle)

    def write(self, parts: Iterable[Part]) -> None:
        """Send parts in one write, but for those whose batch no longer `goes`. The clock is read here, because the
        process may have been stopped since this turn of the event loop began, and other processes may have acted
        meanwhile."""
        now = time.monotonic()  # loop.time() may be that of the turn's beginning
        pieces: list[bytes] = []
        sent: list[Part] = []
        if not self._in_flight:
            self._heard = self._loop.time()
        for part in parts:
            if not part.batch.goes(now):
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
        """Close the socket, without `on_lost`."""
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
        if self._confirmation is not None and self.writable:
            self._owner.on_writable()

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
        """Take the usual replies (`Group.usual_reply`) that the data begins with; returns the rest of the data.

        Most data consists of these, and comparing it costs a fraction of parsing each reply.
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
        """Take the replies of a part or of a confirmation; True when they are complete."""
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
        """Hand errors to the owner; returns the indexes of the other commands, and their replies."""
        good: tuple[list[int], list[Any]] = ([], [])
        for index, reply in zip(indexes, replies, strict=True):
            if isinstance(reply, ReplyError):
                self._owner.on_error(part, index, reply)
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
                self._owner.on_error(part, index, reply)
            else:
                part.group.answer([index], [reply])
                self._answered(part, [index])
        return True

    def _answered(self, part: Part, indexes: list[int]) -> None:
        """Count answers, or note them as unconfirmed where they need a confirmation."""
        if self._confirmation is None:
            part.batch.answered(len(indexes))
        else:
            part.unconfirmed += indexes

    def _take_confirmation(self, awaited: Awaited) -> bool:
        """Take the replies to a confirmation; True when they are complete."""
        replies = awaited.replies
        replies += islice(iter(self._reader.gets, _MORE), REPLIES - len(replies))
        if len(replies) < REPLIES:
            return False
        assert self._confirmation is not None
        if self._confirmation.given(replies):
            awaited.confirm()
        else:
            if awaited.misplaced and self._mark_slot in (None, awaited.slot):
                self._mark_slot = self._owner.another_slot(awaited.slot)
            self._owner.on_unconfirmed([part for part in awaited.parts if part.unconfirmed])
        return True

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._has_room = False

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        self._has_room = True
        self._owner.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand what is unanswered back to the owner, unless `close` closed the connection."""
        self._watch.cancel()
        if self._closed:
            return
        closing = self._loop.create_task(self._connection.disconnect(nowait=True))
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._owner.on_lost(unanswered(self._in_flight))

    def _check_stalled(self) -> None:
        quiet = self._loop.time() - self._heard
        if self._in_flight and quiet >= self._stalled_seconds:
            self._transport.abort()
            return
        delay = self._stalled_seconds - quiet if self._in_flight else self._stalled_seconds
        self._watch = self._loop.call_later(delay, self._check_stalled)
