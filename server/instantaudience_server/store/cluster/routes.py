"""Which node serves which slot: as the topology has told, and as nodes have said since."""

import asyncio
from bisect import bisect
from collections.abc import Callable

import structlog
from redis.asyncio.connection import AbstractConnection

from instantaudience_server.errors import AudienceError
from instantaudience_server.metrics import STORE_PRIMARY_CHANGES
from instantaudience_server.store.cluster.node import Node
from instantaudience_server.store.cluster.topology import FAILOVER, Topology, changes
from instantaudience_server.store.keys import SLOTS
from instantaudience_server.telemetry import Event

log = structlog.get_logger()

REFRESH_PAUSE_SECONDS = 0.1

MakeNode = Callable[[str, Callable[[], AbstractConnection]], Node]
"""Makes a node by its name, and what makes a connection to it."""


class Routes:
    """The nodes, and the slots of each."""

    def __init__(self, topology: Topology, make_node: MakeNode) -> None:
        self._topology = topology
        self._make_node = make_node
        self.slots: list[Node | None] = [None] * SLOTS
        """The node that serves each slot; None: nobody does. It is the same list all along."""
        self._nodes: dict[str, Node] = {}
        self._served: dict[int, str] = {}
        """By whom each slot was served last, as far as the topology has told."""
        self._refreshing: asyncio.Task[None] | None = None
        self._outdated = False
        """Whether there was a reason to ask for the topology since it was last asked for."""
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
        """The names of the nodes that serve slots, and a slot of each."""
        return {node.name: slot for slot, node in enumerate(self.slots) if node is not None}

    def unserved(self) -> list[int]:
        """The slots that nobody serves, in their order."""
        return [slot for slot, node in enumerate(self.slots) if node is None]

    def another_slot(self, node: Node, slot: int) -> int | None:
        """A slot of the node's, where there is one but for this one.

        Slots mostly move in their order: the one before stays, or has moved already.
        """
        slots = [each for each, served_by in enumerate(self.slots) if served_by and served_by.name == node.name]
        others = [each for each in slots if each != slot]
        return others[bisect(others, slot) - 1] if others else None

    def named(self, address: str, asked: Node) -> Node:
        """The node that a redirection names; an empty host means the host of the node that was asked."""
        host, _, port = address.rpartition(":")
        return self._node(f"{host or asked.name.rpartition(':')[0]}:{port}")

    def moved(self, slot: int, node: Node) -> None:
        """A slot is another node's now, as the one before has said."""
        self.slots[slot] = node
        self.look_again()

    def look_again(self) -> None:
        """Learn the topology anew, soon. What is being learned may be from before the reason to ask again."""
        self._outdated = True
        if self._refreshing is None and not self._closed:
            self._refreshing = self._loop.create_task(self._refresh())

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = self._make_node(name, lambda: self._topology.connection(name))
        return node

    async def _refresh(self) -> None:
        """Ask for the topology until there is an answer from after the last reason to ask. There is a pause after each
        one, too: a lost node is not asked about by every call that misses it."""
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
        try:
            await self._topology.refresh()
        except AudienceError:
            return False
        else:
            self._apply_topology()
            return True
        finally:
            await asyncio.sleep(REFRESH_PAUSE_SECONDS)

    def _apply_topology(self) -> None:
        primaries = self._topology.primaries()
        for kind, nodes in changes(self._served, primaries).items():
            STORE_PRIMARY_CHANGES.labels(kind).inc(len(nodes))
            for former, node in nodes if kind == FAILOVER else ():
                log.warning(Event.STORE_FAILOVER, former=former, node=node)
        self._served |= primaries
        self.slots[:] = [self._node(primaries[slot]) if slot in primaries else None for slot in range(SLOTS)]
        for name in self._nodes.keys() - set(primaries.values()):
            # A busy node that is no primary yet is importing its first slot: ASK has led here.
            if self._nodes[name].idle:
                task = self._loop.create_task(self._nodes.pop(name).close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
