"""Sends commands to the nodes that serve their slots, and again where needed, until each is answered or the deadline
has passed."""

import asyncio
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from hiredis import ReplyError
from redis.asyncio.connection import AbstractConnection

from instantaudience_server.errors import AudienceError, RefusedCommandError, overloaded, unavailable
from instantaudience_server.observation import tracing
from instantaudience_server.observation.metrics import STORE_CONNECTION_FAILURES, STORE_REFUSALS
from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster.batch import Answer, Batch, Listed, Part, Question, Single
from instantaudience_server.store.cluster.commands import Command
from instantaudience_server.store.cluster.confirming import confirmation
from instantaudience_server.store.cluster.node import Node
from instantaudience_server.store.cluster.refusals import Refusals
from instantaudience_server.store.cluster.routes import Routes
from instantaudience_server.store.cluster.topology import Topology
from instantaudience_server.store.interfaces.groups import Group
from instantaudience_server.store.interfaces.health import Problem

TRANSIENT = frozenset(
    ("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "BUSY", "OOM", "MISCONF", "NOREPLICAS")
)
"""Prefixes of errors that mean "not now": the command is sent again until the deadline. To repeat any command of the
service does no harm."""

FORBIDDEN = ("NOPERM ", "ERR ACL failure in script")
"""How errors begin where the ACL forbids a command, or one that a script runs."""
_COMMAND = re.compile(r"'([a-z|-]{1,40})' command")

OVERDUE = "the cluster did not answer in time"
"""The message of UNAVAILABLE: commands may or may not have been carried out. Whether to send the call again is safe
depends on the call: another segment or job would be made."""
SHORTEST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
SWEEP_SECONDS = 0.02
"""How long after its deadline a call ends, at most."""
CONFIRMATION_SHARE = 0.75
"""How long a node may take to confirm writes (see `confirming`), as a share of `stalled_seconds`."""


class Cluster:
    """A client of the Redis Cluster, for any number of tasks of one event loop.

    `max_pending_bytes` bounds the commands that wait for answers; past it, bounded calls fail at once.
    `stalled_seconds` is how long a node may leave commands unanswered before its connection is replaced. `durability`
    is the default for the writes of stores, and `confirming_replicas` the number of replicas that have to confirm a
    write where replicas do.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        max_pending_bytes: int,
        stalled_seconds: float,
        durability: Durability = Durability.PRIMARY,
        confirming_replicas: int = 1,
    ) -> None:
        self.durability = durability
        # Shorter than stalled_seconds: a connection that awaits a confirmation is silent, but not dead.
        wait_seconds = CONFIRMATION_SHARE * stalled_seconds
        self._confirmations = {
            durability: confirmation(durability, replicas=confirming_replicas, wait_seconds=wait_seconds)
            for durability in (Durability.REPLICA, Durability.DISK)
        }
        self._max_pending_bytes = max_pending_bytes
        self._stalled_seconds = stalled_seconds
        self._pending_bytes = 0
        self._waiting: dict[asyncio.Future[Any], Batch] = {}
        """`Batch.done` → the batch, for the batches that are not done."""
        self._sweeper: asyncio.TimerHandle | None = None
        self.routes = Routes(topology, self._make_node)
        self._slots = self.routes.slots
        self._refusals = Refusals()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def pending_bytes(self) -> int:
        """The memory of the batches that wait for answers, in bytes."""
        return self._pending_bytes

    async def open(self) -> None:
        """Learn the topology.

        Raises:
            StoreUnusableError: the cluster is out of reach or a server is too old.
        """
        await self.routes.open()

    async def close(self) -> None:
        """Close every connection; calls under way fail with UNAVAILABLE."""
        self._closed = True
        for batch in self._waiting.values():
            batch.give_up(unavailable(OVERDUE))
        await self.routes.close()
        self._refusals.close()

    async def execute(
        self,
        commands: Sequence[Command],
        deadline: float,
        *,
        bounded: bool = True,
        durability: Durability = Durability.PRIMARY,
    ) -> list[Any]:
        """Carry out commands and return their replies, in order; otherwise as `begin`.

        `bounded` is False for the service's own small questions, one at a time, which have to work under overload too.

        Raises:
            AudienceError: UNAVAILABLE, as `begin`, or when the deadline has passed. Some commands may have been
                carried out then.
            RefusedCommandError: a node refused a command, which is logged.
        """
        listed = Listed(commands)
        batch = self.begin([listed], deadline, bounded=bounded, durability=durability)
        await batch.done
        for failure in batch.failures():
            raise failure.error
        return listed.replies

    def begin(
        self,
        groups: Sequence[Group],
        deadline: float,
        *,
        bounded: bool = True,
        durability: Durability = Durability.PRIMARY,
        may_go: Callable[[], bool] | None = None,
        name: str = "cluster",
    ) -> Batch:
        """Begin to carry out commands. The batch is done when each is answered, or the deadline has passed. The answer
        to a write counts once the write has the `durability`.

        `deadline` is a time of the event loop's clock, in seconds. It must do no harm to repeat a command: one whose
        answer was lost is sent again. Commands on one key are carried out in the order of the calls, as long as none
        has to be sent again. `may_go` is as in `Batch`. `name` is that of the span (`tracing`).

        Raises:
            AudienceError: UNAVAILABLE, when the deadline has passed or too much is pending; nothing was sent.
        """
        batch = Batch(groups, deadline, self._loop, durability, may_go)
        if not batch.size:
            batch.done.set_result(None)
            return batch
        self._begin(batch, groups, bounded=bounded, name=name)
        return batch

    def ask(
        self,
        command: Command,
        deadline: float,
        read: Callable[[Any], Answer],
        *,
        bounded: bool = True,
        durability: Durability = Durability.PRIMARY,
        in_need: Callable[[], Command] | None = None,
    ) -> "asyncio.Future[Answer]":
        """As `execute`, for one command and without a task: the command is begun before this returns. The future's
        result is what `read` makes of the reply. `in_need` is as in `Single`.

        Raises, from the future:
            AudienceError: UNAVAILABLE.
            RefusedCommandError: the node refused the command, which is logged.
        """
        group = Single(command, in_need=in_need)
        question = Question(group, read, deadline, self._loop, durability)
        try:
            self._begin(question, (group,), bounded=bounded, name="cluster")
        except AudienceError as error:
            question.give_up(error)
        return question.done

    def _begin(self, batch: Batch, groups: Sequence[Group], *, bounded: bool, name: str) -> None:
        """Register a batch and send its commands.

        Raises:
            AudienceError: as `begin`.
        """
        if bounded and self._pending_bytes + batch.held_bytes > self._max_pending_bytes:
            raise overloaded("the service is overloaded; nothing was changed")
        if self._closed or batch.deadline <= batch.started:
            raise unavailable(OVERDUE)
        self._pending_bytes += batch.held_bytes
        self._waiting[batch.done] = batch
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        batch.done.add_done_callback(self._ended)
        for group in groups:
            self._send(batch, group, group.by_node(self._slots))
        if tracing.is_on():
            tracing.watch(name, batch.done, partial(self._attributes, groups, batch), lambda: bool(batch.failures()))

    def _attributes(self, groups: Sequence[Group], batch: Batch) -> tracing.Attributes:
        """The attributes of the span of a batch."""
        nodes = {node.name for group in groups for node in group.by_node(self._slots) if node is not None}
        return {
            "db.system.name": "redis",
            "db.operation.batch.size": batch.size,
            f"{tracing.PREFIX}nodes": sorted(nodes),
            f"{tracing.PREFIX}durability": batch.durability,
        }

    def _ended(self, done: "asyncio.Future[Any]") -> None:
        self._pending_bytes -= self._waiting.pop(done).held_bytes

    def _sweep(self) -> None:
        """Give up the batches whose deadline has passed. One timer serves all, because timers are costly and deadlines
        rarely pass."""
        now = self._loop.time()
        for batch in [batch for batch in self._waiting.values() if batch.deadline <= now]:
            error = unavailable(OVERDUE)
            error.nodes = self._unanswering(batch)
            batch.give_up(error)
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep) if self._waiting else None

    def _unanswering(self, batch: Batch) -> list[str]:
        """The nodes that owe answers to a batch, each with its latest problem where there is one, and the first slot of
        it that no node serves."""
        slots = {group.slot(index) for group, indexes in batch.unanswered() for index in indexes}
        names = {node.name for slot in slots if (node := self._slots[slot]) is not None}
        nodes = [f"{name} ({batch.problems[name]})" if name in batch.problems else name for name in names]
        lost = sorted(slot for slot in slots if self._slots[slot] is None)
        return sorted([*nodes, *(f"slot {slot} ({Problem.NO_PRIMARY})" for slot in lost[:1])])

    def refused(self, node: Node, part: Part, index: int, error: ReplyError) -> None:
        """Redirect, retry or fail a command that a node answered with an error (see `node.Router`)."""
        batch, group = part.batch, part.group
        prefix, _, rest = str(error).partition(" ")
        if prefix == "MOVED":
            slot, _, name = rest.partition(" ")
            target = self.routes.named(name, node)
            self.routes.moved(int(slot), target)
            self._send_on(batch, group, index, target, asking=False)
        elif prefix == "ASK":
            self._send_on(batch, group, index, self.routes.named(rest.partition(" ")[2], node), asking=True)
        elif prefix in TRANSIENT:
            batch.note(node.name, _note(node, prefix))
            if prefix in ("CLUSTERDOWN", "READONLY", "MASTERDOWN"):
                self.routes.look_again()
            elif prefix in ("TRYAGAIN", "OOM") and isinstance(group, Single):
                group.make_do()
            self._retry_later(batch.part(group, [index]))
        else:
            problem = _for_good(str(error))
            batch.note(node.name, _note(node, problem.partition(" ")[0]))
            self._refusals.note(node.name, problem, group.slot(index))
            batch.refused(group, index, RefusedCommandError(node.name, problem))

    def unreachable(self, node: Node, parts: Iterable[Part], problem: Problem) -> None:
        """After a pause, send again what a lost node left unanswered (see `node.Router`)."""
        if self._closed:
            return
        STORE_CONNECTION_FAILURES.labels(node.name).inc()
        self.routes.look_again()
        for part in parts:
            part.batch.note(node.name, problem)
            self._retry_later(part)

    def unconfirmed(self, node: Node, parts: Iterable[Part]) -> None:
        """After a pause, send again what was carried out but not confirmed (see `node.Router`)."""
        STORE_REFUSALS.labels(node.name, Problem.NO_CONFIRMATION).inc()
        for part in parts:
            part.batch.note(node.name, Problem.NO_CONFIRMATION)
            self._retry_later(part)

    def another_slot(self, node: Node, slot: int) -> int | None:
        """See `node.Router`."""
        self.routes.look_again()
        return self.routes.another_slot(node, slot)

    def _send_on(self, batch: Batch, group: Group, index: int, target: Node, *, asking: bool) -> None:
        """Follow a redirection at once, or after a pause where there were many: nodes that disagree would otherwise
        send the command to and fro in a busy loop."""
        batch.redirections += 1
        if batch.redirections > 4 * batch.size:
            self._retry_later(batch.part(group, [index]))
        else:
            target.send(batch.part(group, [index], asking=asking))

    def _retry_later(self, part: Part) -> None:
        """After a pause, send again what is unanswered of a part."""
        batch = part.batch
        if batch.done.done():
            return
        # Half of the time since the batch began makes an exponential backoff without a counter. Jitter keeps the
        # commands for a lost node from coming back all at once.
        pause = min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, (self._loop.time() - batch.started) / 2))
        self._loop.call_later(pause * random.uniform(0.5, 1), self._route_again, part)  # noqa: S311

    def _route_again(self, part: Part) -> None:
        """Send what is unanswered of a part to the nodes that serve its slots now."""
        batch, group = part.batch, part.group
        if batch.done.done():
            return
        by_node: defaultdict[Node | None, list[int]] = defaultdict(list)
        for index in part.unanswered:
            by_node[self._slots[group.slot(index)]].append(index)
        part.end()
        batch.forget_ended()
        self._send(batch, group, by_node)

    def _send(self, batch: Batch, group: Group, by_node: Mapping[Node | None, list[int]]) -> None:
        for node, indexes in by_node.items():
            part = batch.part(group, indexes)
            if node is None:
                self.routes.look_again()
                self._retry_later(part)
            else:
                node.send(part)

    def _make_node(self, name: str, connect: Callable[[], AbstractConnection]) -> Node:
        return Node(name, connect, self, stalled_seconds=self._stalled_seconds, confirmations=self._confirmations)


def _for_good(answer: str) -> str:
    """A short form of an error that sending again will not mend: its first word. Where the ACL forbids something,
    `NOPERM` and the command, or `key`."""
    if not answer.startswith(FORBIDDEN):
        return answer.partition(" ")[0]
    command = _COMMAND.search(answer)
    return f"NOPERM {command[1] if command else 'key'}"


def _note(node: Node, prefix: str) -> Problem:
    """Count an error that a node answered, and return the `Problem` of its first word."""
    try:
        problem = Problem(prefix)
    except ValueError:
        problem = Problem.OTHER
    STORE_REFUSALS.labels(node.name, problem).inc()
    return problem
