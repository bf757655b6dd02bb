"""A node of the cluster: its queue of commands, and the connections that they are sent on.

All commands that are queued within one turn of the event loop go out in one write.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from hiredis import ReplyError
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError

from instantaudience_server.observation.metrics import STORE_CONNECTION_FAILURES, STORE_CONNECTIONS, STORE_REFUSALS
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.batch import Part, Question
from instantaudience_server.store.cluster.client import NO_CONNECTION
from instantaudience_server.store.cluster.confirming import Confirmation
from instantaudience_server.store.cluster.wire import Wire
from instantaudience_server.store.interfaces.health import Problem

FEWEST_LOOKED_AT = 64
"""The length of the queue at which it is first searched for parts of batches that are done."""


class Router(Protocol):
    """Decides what to do about commands that a node did not carry out."""

    def refused(self, node: "Node", part: Part, index: int, error: ReplyError) -> None:
        """The node answered the command at `index` of the part's group with an error."""

    def unreachable(self, node: "Node", parts: Iterable[Part], problem: Problem) -> None:
        """The connection was lost, or could not be made, as `problem` says; these parts are unanswered."""

    def unconfirmed(self, node: "Node", parts: Iterable[Part]) -> None:
        """The node has not confirmed in time that replicas or disks have the writes of these parts."""

    def another_slot(self, node: "Node", slot: int) -> int | None:
        """Another slot of the node than this one, which has moved or is migrating; None where there is none."""


class Node:
    """One primary: a queue of parts, and the connection they go out on.

    `connect` makes a connection of redis-py that is not connected yet. `stalled_seconds` is how long the node may leave
    commands unanswered before its connection is taken for dead. Two kinds of commands have lanes, which are nodes with
    a queue and a connection of their own:

    - Writes that need a confirmation, so that no other command waits behind them: `confirmations` has one for each
      durability beyond `PRIMARY`. None: this is a lane itself.
    - Questions, so that they do not wait behind writes: a node reads 16 KB of one connection, then of the next.
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
        lane = partial(Node, name, connect, router, stalled_seconds=stalled_seconds)
        self._confirmed = {durability: lane(confirmation=each) for durability, each in (confirmations or {}).items()}
        self._questions = None if confirmations is None else lane()
        self._lanes = [each for each in (*self._confirmed.values(), self._questions) if each is not None]
        self._confirmation = confirmation
        self.name = name
        STORE_CONNECTION_FAILURES.labels(name)  # start the counters at 0, so that alerts notice the first increase
        for problem in (Problem.OTHER, Problem.NOPERM, Problem.WRONGTYPE):
            STORE_REFUSALS.labels(name, problem)
        self._connect = connect
        self._router = router
        self._stalled_seconds = stalled_seconds
        self._loop = asyncio.get_running_loop()
        self._outbox: list[Part] = []
        self._look_at = FEWEST_LOOKED_AT
        """The length of the outbox at which it is next searched for parts of batches that are done."""
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._flush_scheduled = False

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in flight or being connected."""
        own = not self._outbox and self._connecting is None and (self._wire is None or self._wire.idle)
        return own and all(lane.idle for lane in self._lanes)

    def send(self, part: Part) -> None:
        """Queue a part; it goes out after this turn of the event loop, or once the connection is open."""
        lane = self._lane(part)
        if lane is not None:
            lane.send(part)
            return
        self._outbox.append(part)
        if len(self._outbox) >= self._look_at:
            # Parts that were given up must not pile up while the node accepts nothing.
            self._outbox = [each for each in self._outbox if not each.batch.done.done()]
            self._look_at = max(FEWEST_LOOKED_AT, 2 * len(self._outbox))
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    async def close(self) -> None:
        """Close the connections. Queued parts are left to their deadlines."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._wire is not None:
            await self._wire.close()

    def _lane(self, part: Part) -> "Node | None":
        """The lane of a part; None: it goes out on this node's own connection."""
        if part.batch.durability in self._confirmed:
            return self._confirmed[part.batch.durability]
        return self._questions if isinstance(part.batch, Question) else None

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
            self._wire = Wire(connection, self, self._stalled_seconds, self._confirmation)
            STORE_CONNECTIONS.labels(self.name).inc()
        except NO_CONNECTION as error:
            denied = isinstance(error, AuthenticationError | NoPermissionError)
            await connection.disconnect(nowait=True)
            parts, self._outbox = self._outbox, []
            self._router.unreachable(self, parts, Problem.NO_ACCESS if denied else Problem.NO_CONNECTION)
        finally:
            self._connecting = None
        if self._wire is not None:
            self._flush()

    def on_writable(self) -> None:
        """See `wire.Owner`."""
        if self._outbox:
            self._flush()

    def on_lost(self, unanswered: Iterable[Part]) -> None:
        """See `wire.Owner`."""
        self._wire = None
        outbox, self._outbox = self._outbox, []
        self._router.unreachable(self, [*unanswered, *outbox], Problem.NO_CONNECTION)

    def on_unconfirmed(self, parts: Iterable[Part]) -> None:
        """See `wire.Owner`."""
        self._router.unconfirmed(self, parts)

    def another_slot(self, slot: int) -> int | None:
        """See `wire.Owner`."""
        return self._router.another_slot(self, slot)

    def on_error(self, part: Part, index: int, error: ReplyError) -> None:
        """See `wire.Owner`."""
        self._router.refused(self, part, index, error)
