"""Which node serves which slot, by the topology and by the redirections (MOVED) since it was read."""

import asyncio
import math
from bisect import bisect
from collections.abc import Callable

import structlog
from redis.asyncio.connection import AbstractConnection

from instantaudience_server.errors import AudienceError
from instantaudience_server.observation.metrics import STORE_PRIMARY_CHANGES
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.cluster.node import Node
from instantaudience_server.store.cluster.topology import FAILOVER, Topology, changes
from instantaudience_server.store.keys import SLOTS

log = structlog.get_logger()

REFRESH_PAUSE_SECONDS, LONGEST_REFRESH_PAUSE_SECONDS = 0.1, 1.0
"""The pause after each read of the topology: over TLS, ten reads a second take a quarter of a core."""
REFRESH_PAUSE_SHARE = 0.05
"""The pause as a share of the time for which there have been reasons to read: what ends an outage of a part of the
cluster is learnt by so much later."""
CALM_SECONDS = 2.0
"""After so long without a read, the next one is the first."""

MakeNode = Callable[[str, Callable[[], AbstractConnection]], Node]
"""Makes a node from its name and a factory of connections to it."""


class Routes:
    """The nodes of the cluster, and the slots that each serves."""

    def __init__(self, topology: Topology, make_node: MakeNode) -> None:
        self._topology = topology
        self._make_node = make_node
        self.slots: list[Node | None] = [None] * SLOTS
        """The node that serves each slot; None: none does. The list is never replaced, only its items."""
        self._nodes: dict[str, Node] = {}
        self._served: dict[int, str] = {}
        """Slot → the name of the primary that served it last, by the topology."""
        self._refreshing: asyncio.Task[None] | None = None
        self._outdated = False
        """Whether there was a reason to read the topology again since it was last read."""
        self._first_read = self._last_read = -math.inf
        """Of those that have followed each other without calm, by the event loop's clock."""
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def open(self) -> None:
        """Learn the topology.

        Raises:
            StoreUnusableError: the cluster is out of reach or a server is too old.
        """
        await self._topology.check_servers()
        self._apply_topology()

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
        await asyncio.gather(*(node.close() for node in self._nodes.values()), *self._closing)
        await self._topology.close()

    def primaries(self) -> dict[str, int]:
        """Name → one of its slots, for each node that serves any."""
        return {node.name: slot for slot, node in enumerate(self.slots) if node is not None}

    def unserved(self) -> list[int]:
        """The slots that no node serves, in ascending order."""
        return [slot for slot, node in enumerate(self.slots) if node is None]

    def another_slot(self, node: Node, slot: int) -> int | None:
        """Another slot of the node than this one; None where there is none.

        It is the next lower one where there is one: slots are mostly migrated in ascending order, so that a lower slot
        that is still the node's is not about to move.
        """
        slots = [each for each, served_by in enumerate(self.slots) if served_by and served_by.name == node.name]
        others = [each for each in slots if each != slot]
        return others[bisect(others, slot) - 1] if others else None

    def named(self, address: str, asked: Node) -> Node:
        """The node that a redirection names; an empty host means the host of the node that was asked."""
        host, _, port = address.rpartition(":")
        return self._node(f"{host or asked.name.rpartition(':')[0]}:{port}")

    def moved(self, slot: int, node: Node) -> None:
        """Note that a slot is served by this node now (MOVED)."""
        self.slots[slot] = node
        self.look_again()

    def look_again(self) -> None:
        """Have the topology read again soon; also when a read is under way, which may be from before the change."""
        self._outdated = True
        if self._refreshing is None and not self._closed:
            self._refreshing = self._loop.create_task(self._refresh())

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = self._make_node(name, lambda: self._topology.connection(name))
        return node

    async def _refresh(self) -> None:
        """Read the topology until a read has succeeded that began after the last reason for one. A pause follows each
        read, so that calls that miss a lost node do not all cause one."""
        try:
            while self._outdated:
                if not await self._ask_topology():
                    log.warning(Event.STORE_TOPOLOGY_UNKNOWN)
                    while not await self._ask_topology():
                        pass
                    log.info(Event.STORE_TOPOLOGY_KNOWN)
        finally:
            self._refreshing = None

    async def _ask_topology(self) -> bool:
        self._outdated = False
        if self._loop.time() - self._last_read > CALM_SECONDS:
            self._first_read = self._loop.time()
        try:
            await self._topology.refresh()
        except AudienceError:
            return False
        else:
            self._apply_topology()
            return True
        finally:
            self._last_read = self._loop.time()
            pause = REFRESH_PAUSE_SHARE * (self._last_read - self._first_read)
            await asyncio.sleep(min(LONGEST_REFRESH_PAUSE_SECONDS, max(REFRESH_PAUSE_SECONDS, pause)))

    def _apply_topology(self) -> None:
        primaries = self._topology.primaries()
        for kind, nodes in changes(self._served, primaries).items():
            STORE_PRIMARY_CHANGES.labels(kind).inc(len(nodes))
            for former, node in nodes if kind == FAILOVER else ():
                log.warning(Event.STORE_FAILOVER, former=former, node=node)
        self._served |= primaries
        self.slots[:] = [self._node(primaries[slot]) if slot in primaries else None for slot in range(SLOTS)]
        for name in self._nodes.keys() - set(primaries.values()):
            # A node in use that serves no slot yet is importing its first one: ASK redirected commands to it.
            if self._nodes[name].idle:
                task = self._loop.create_task(self._nodes.pop(name).close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
