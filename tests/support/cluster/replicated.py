"""A cluster of three primaries with one replica each, whose nodes can be killed, stopped and isolated.

Sources: the cluster tutorial and the CLUSTER and DEBUG command pages of Valkey.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from instantaudience_server.embedded.node import HOST
from instantaudience_server.embedded.server import find_server
from instantaudience_server.process.processes import Child, Program, free_ports
from instantaudience_server.store.keys import SLOTS, key_slot

from support.cluster.nodes import on_node
from support.waiting import eventually

PRIMARIES = 3
SLOTS_OF_PRIMARY = ((0, 5460), (5461, 10922), (10923, SLOTS - 1))
NODE_TIMEOUT_MS = 2000
"""Long enough for a busy machine; a failover takes about twice as long."""
FORM_SECONDS = 60.0
FAILOVER_SECONDS = 30.0
CONFIG = {
    "bind": HOST,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "enable-debug-command": "yes",
    "cluster-enabled": "yes",
    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
    "cluster-require-full-coverage": "no",
    "cluster-replica-validity-factor": "0",
    "cluster-allow-replica-migration": "no",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}


class ReplicatedNode:
    """A node; its role may change."""

    def __init__(self, directory: Path, port: int, bus_port: int) -> None:
        self.directory = directory
        self.port = port
        self.bus_port = bus_port
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The node's process."""
        assert self._child is not None
        return self._child

    async def start(self) -> None:
        """Start the node with the data on its disk."""
        self.directory.mkdir(exist_ok=True)
        own = {"port": self.port, "cluster-port": self.bus_port, "dir": f'"{self.directory}"'}
        lines = "".join(f"{key} {value}\n" for key, value in (CONFIG | own).items())
        output = self.directory / "log"
        self._child = await Child.start(Program("node", [find_server(), "-"], stdin=lines.encode(), output=output))

        async def answers() -> None:
            await self.ask("PING")

        await eventually(answers, FORM_SECONDS)

    async def kill(self) -> None:
        """Send SIGKILL; the node is not restarted."""
        self.child.kill()
        await self.child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        os.kill(self.child.pid, number)

    async def ask(self, *words: Any) -> Any:
        """Send a command."""
        return await on_node(self.port, *words)

    async def cut_off(self) -> None:
        """Isolate the node from the other nodes and its replica; only clients can reach it.

        It receives nothing from the others, but they hear from it whenever it reconnects, after its own node timeout.
        That is therefore increased meanwhile, so that theirs expires first.
        """
        await self.ask("CONFIG", "SET", "cluster-node-timeout", 2 * NODE_TIMEOUT_MS)
        await self.ask("ACL", "SETUSER", "default", "-psync", "-sync")
        await self.ask("CLIENT", "KILL", "TYPE", "replica")
        await self.ask("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)

    async def reconnect(self) -> None:
        """End the isolation."""
        await self.ask("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1)
        await self.ask("ACL", "SETUSER", "default", "+psync", "+sync")
        await self.ask("CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS)

    async def role(self) -> str:
        """`master` or `slave`, according to ROLE."""
        return str((await self.ask("ROLE"))[0])

    async def takes_over(self) -> None:
        """Wait until the node is a primary."""

        async def check() -> None:
            assert await self.role() == "master"

        await eventually(check, FAILOVER_SECONDS)


class ReplicatedCluster:
    """The nodes of the cluster."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(HOST, 4 * PRIMARIES)
        pairs = zip(ports[::2], ports[1::2], strict=True)
        self.nodes = [ReplicatedNode(directory / f"n{number}", *pair) for number, pair in enumerate(pairs)]

    @property
    def url(self) -> str:
        """The URL of the cluster."""
        return f"redis://{HOST}:{self.nodes[0].port}"

    async def start(self) -> None:
        """Start all nodes, and form the cluster."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        primaries, replicas = self.nodes[:PRIMARIES], self.nodes[PRIMARIES:]
        for number, node in enumerate(self.nodes, start=1):
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node, slots in zip(primaries, SLOTS_OF_PRIMARY, strict=True):
            await node.ask("CLUSTER", "ADDSLOTSRANGE", *slots)
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    await node.ask("CLUSTER", "MEET", HOST, other.port, other.bus_port)
        for primary, replica in zip(primaries, replicas, strict=True):
            primary_id = await primary.ask("CLUSTER", "MYID")

            async def follows(replica: ReplicatedNode = replica, primary_id: str = primary_id) -> None:
                await replica.ask("CLUSTER", "REPLICATE", primary_id)

            await eventually(follows, FORM_SECONDS)
        await self.whole()

    async def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            if node.child.returncode is None:
                node.signal(signal.SIGCONT)
        await asyncio.gather(*(node.child.stop(grace_seconds=5) for node in self.nodes))

    async def whole(self) -> None:
        """Wait until every node sees all others, and each primary has its replica."""

        async def check() -> None:
            roles = []
            for node in self.nodes:
                info = await node.ask("CLUSTER INFO")
                assert (info["cluster_state"], info["cluster_slots_ok"]) == ("ok", str(SLOTS))
                assert int(info["cluster_known_nodes"]) == len(self.nodes)
                lines = await node.ask("CLUSTER", "NODES")
                assert not any("fail" in str(each) or "handshake" in str(each) for each in _flags(lines))
                role = await node.ask("ROLE")
                roles.append(str(role[0]))
                assert len(role[2]) == 1 if role[0] == "master" else role[3] == "connected"
            assert roles.count("master") == PRIMARIES

        await eventually(check, FORM_SECONDS)

    async def primary_of(self, slot: int) -> ReplicatedNode:
        """The node that serves a slot, according to most nodes."""
        seen: dict[int, int] = {}
        for node in self.nodes:
            for first, last, primary, *_ in await node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    port = int(primary[1])
                    seen[port] = seen.get(port, 0) + 1
        port = max(seen, key=lambda each: seen[each])
        return next(node for node in self.nodes if node.port == port)

    async def replica_of(self, primary: ReplicatedNode) -> ReplicatedNode:
        """The replica of a primary."""
        for node in self.nodes:
            role = await node.ask("ROLE")
            if role[0] == "slave" and int(role[2]) == primary.port:
                return node
        raise AssertionError(f"{primary.port} has no replica")

    async def lose_primary(self, primary: ReplicatedNode) -> None:
        """Kill a primary, and start it again once its replica has taken over."""
        replica = await self.replica_of(primary)
        await primary.kill()
        await replica.takes_over()
        await primary.start()


def _flags(nodes: Any) -> list[Any]:
    """The flags in the answer of CLUSTER NODES, which redis-py may have parsed."""
    if isinstance(nodes, str):
        return [line.split()[2] for line in nodes.splitlines()]
    return [each["flags"] for each in nodes.values()]


@asynccontextmanager
async def replicated_cluster(directory: Path) -> AsyncIterator[ReplicatedCluster]:
    """Run a cluster that is complete."""
    cluster = ReplicatedCluster(directory)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


@asynccontextmanager
async def replica_stopped(replicated: ReplicatedCluster, key: bytes) -> AsyncIterator[ReplicatedNode]:
    """Stop the replica of a key's primary; yields that replica."""
    primary = await replicated.primary_of(key_slot(key))
    replica = await replicated.replica_of(primary)
    replica.signal(signal.SIGSTOP)
    try:
        yield primary
    finally:
        replica.signal(signal.SIGCONT)
        await replicated.whole()
