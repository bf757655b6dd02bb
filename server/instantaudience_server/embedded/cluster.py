"""The embedded cluster: primaries with a data directory, for a deployment without a Redis Cluster of its own.

The data directory has `node-1`, `node-2`, … (each node's append-only files, its nodes.conf and its log), `ports.json`,
`lock` and, where the cluster has one, `password`. Sources: the cluster tutorial and the CLUSTER command pages of Redis
and Valkey.
"""

import asyncio
import os
from collections.abc import Coroutine, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import structlog

from instantaudience_server.embedded.data_dir import all_free, introduce, kept_password, kept_ports, locked
from instantaudience_server.embedded.node import (
    CONFIG,
    HOST,
    NODE_TIMEOUT,
    POLL_SECONDS,
    START_SECONDS,
    Node,
    NodeStartError,
    Peer,
)
from instantaudience_server.embedded.server import find_server
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.store.keys import SLOTS

NODES = 3
_MEET_AGAIN_SECONDS = 1.0
_FORMING_TIMEOUT_MS = 1000
_PORT_ATTEMPTS = 3

_log = structlog.get_logger()


class EmbeddedCluster:
    """Primaries on loopback that are restarted when they crash, and keep their data over a stop and a start.

    `data_dir` is created with its parents where it does not exist, for its owner alone. `server` defaults to
    `find_server()`. `extra_config` adds directives to each node's configuration, or replaces those in `CONFIG`; for a
    directive that may be repeated, the key includes its first argument: `{"rename-command HSETEX": '""'}`. With
    `guarded`, the cluster has a password, so that other accounts of this machine cannot use it. `nodes` has to be the
    number with which the data directory was created.
    """

    def __init__(
        self,
        data_dir: Path,
        server: Path | None = None,
        extra_config: Mapping[str, str] | None = None,
        *,
        guarded: bool = False,
        nodes: int = NODES,
    ) -> None:
        self.data_dir = data_dir
        self.nodes: tuple[Node, ...] = ()
        self._server = server
        self._config = {**CONFIG, **(extra_config or {})}
        self._guarded = guarded
        self._slots_of_node = slots_of_nodes(nodes)
        self._password: str | None = None
        self._lock: int | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """The nodes' client ports. A restart changes them only if another program has taken one."""
        return tuple(node.port for node in self.nodes)

    @property
    def url(self) -> str:
        """The cluster's URL, with its password."""
        credentials = "" if self._password is None else f":{self._password}@"
        return f"redis://{credentials}{HOST}:{self.ports[0]}"

    async def start(self) -> None:
        """Start the nodes, and wait until each one serves and sees all slots.

        Completes a first start that was interrupted. Takes two seconds, during which a primary takes no writes
        (CLUSTER_WRITABLE_DELAY in the server's cluster_legacy.c), and the time to load the data.

        Raises:
            EmbeddedClusterError: no server is found, the directory is in use, or a node does not start.
            OSError: the directory cannot be written.
        """
        server = self._server or find_server()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = await locked(self.data_dir)
        try:
            if self._guarded:
                self._password = kept_password(self.data_dir)
            await self._start_nodes(server, self._lock)
            # A node that was marked as failed in the last run stays so for twice the timeout.
            await self._set_node_timeout(_FORMING_TIMEOUT_MS)
            await self._form()
            await self._set_node_timeout(self._config[NODE_TIMEOUT])
        except BaseException:
            await self.stop()
            raise
        finally:
            await self._close_clients()
        for node in self.nodes:
            node.supervise()
        _log.info(Event.EMBEDDED_CLUSTER_STARTED, data_dir=str(self.data_dir), ports=self.ports)

    async def stop(self) -> None:
        """Stop the nodes and unlock the data directory; `start` may follow."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _start_nodes(self, server: Path, lock: int) -> None:
        """Start all nodes. Where another program has one of their ports, or takes it just before a node does, start
        them again on other ports."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            ports = kept_ports(self.data_dir, len(self._slots_of_node))
            introduce(self.data_dir, ports)
            self.nodes = tuple(
                Node(self.data_dir, number, port, bus_port, server, self._password)
                for number, (port, bus_port) in enumerate(ports, start=1)
            )
            try:
                for node in self.nodes:
                    await node.start(self._config, lock)
                await _together(node.ready() for node in self.nodes)
                return
            except NodeStartError:
                await asyncio.gather(*(node.stop() for node in self.nodes))
                await self._close_clients()
                if attempt == _PORT_ATTEMPTS or all_free(ports):
                    raise

    async def _set_node_timeout(self, value: str | int) -> None:
        for node in self.nodes:
            await node.admin("CONFIG SET", NODE_TIMEOUT, value)

    async def _form(self) -> None:
        """Assign the slots where that was not done yet, introduce the nodes to each other, and wait until all serve."""
        for number, (node, slots) in enumerate(zip(self.nodes, self._slots_of_node, strict=True), start=1):
            info = await node.admin("CLUSTER INFO")
            if info["cluster_known_nodes"] == "1" and info["cluster_my_epoch"] == "0":
                await node.admin("CLUSTER SET-CONFIG-EPOCH", number)
            if not (await node.peers())[0].has_slots:
                await node.admin("CLUSTER ADDSLOTSRANGE", slots[0], slots[-1])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        meet_at = loop.time()
        while True:
            views = [await node.peers() for node in self.nodes]
            if loop.time() >= meet_at:
                await self._introduce(views)
                meet_at = loop.time() + _MEET_AGAIN_SECONDS
            ids = {view[0].node_id for view in views}
            if all(ids == {peer.node_id for peer in view if peer.healthy} for view in views) and await self._serves():
                return
            if loop.time() > deadline:
                raise NodeStartError(self.nodes[0], f"did not see the whole cluster within {START_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    async def _introduce(self, views: list[list[Peer]]) -> None:
        """Let each node meet those that it does not know, or knows by a former address.

        All pairs meet, instead of each node with one: gossip about the others would take seconds, and does not change
        the address of a node that has not failed.
        """
        for node, view in zip(self.nodes, views, strict=True):
            known = {(peer.node_id, peer.address) for peer in view}
            for other, others_view in zip(self.nodes, views, strict=True):
                if other is not node and (others_view[0].node_id, other.address) not in known:
                    await node.admin("CLUSTER MEET", HOST, other.port, other.bus_port)

    async def _serves(self) -> bool:
        infos = [await node.admin("CLUSTER INFO") for node in self.nodes]
        return all(info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS) for info in infos)

    async def _close_clients(self) -> None:
        for node in self.nodes:
            await node.client.aclose()


def slots_of_nodes(nodes: int) -> list[range]:
    """All slots, divided evenly into ranges, one for each node."""
    ends = [round(SLOTS * number / nodes) for number in range(nodes + 1)]
    return [range(first, end) for first, end in pairwise(ends)]


async def _together(waits: Iterable[Coroutine[object, object, None]]) -> None:
    """Run coroutines concurrently; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for wait in waits:
                tasks.create_task(wait)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
