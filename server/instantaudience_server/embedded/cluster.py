"""The embedded cluster: three primaries under a data directory, for a deployment that brings no Redis of its own.

Sources: the cluster tutorial and the CLUSTER command pages of Redis and Valkey. A data directory holds
`node-1` … `node-3` (each node's append-only files, its nodes.conf and its log), `ports.json` and `lock`.
"""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from instantaudience_server.embedded.server import EmbeddedClusterError, find_server
from instantaudience_server.processes import Child, Program, Supervised, free_ports, port_is_free
from instantaudience_server.telemetry import Event

HOST = "127.0.0.1"
SLOTS = 16_384
_SLOTS_OF_NODE = (range(0, 5461), range(5461, 10923), range(10923, SLOTS))
_POLL_SECONDS = 0.02
_START_SECONDS = 30.0
_MEET_AGAIN_SECONDS = 1.0
_NODE_TIMEOUT = "cluster-node-timeout"
_FORMING_TIMEOUT_MS = 1000
_LOCK_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_PORT_ATTEMPTS = 3
_LOG_LINES = 10

_CONFIG = {
    "bind": HOST,
    "protected-mode": "yes",
    "enable-debug-command": "no",
    "daemonize": "no",
    "tcp-backlog": "128",  # the kernel's usual limit; more is a warning in the log
    # Log lines go to stdout, and that to the node's log file, as do errors of the configuration.
    "logfile": '""',
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
    "cluster-enabled": "yes",
    "cluster-announce-ip": HOST,
    # A node that is down takes only its own slots with it. Its memberships have no other copy, so what a node
    # reads back is never stale, even while it sees none of the others.
    "cluster-require-full-coverage": "no",
    "cluster-allow-reads-when-down": "yes",
    # There is no replica to fail over to. A shorter one would take a busy machine for a failed node.
    _NODE_TIMEOUT: "5000",
}

_log = structlog.get_logger()


class DataDirInUseError(EmbeddedClusterError):
    """Another embedded cluster runs on the data directory."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(f"{data_dir} is in use by another process: stop it, or use another data directory")
        self.data_dir = data_dir


class NodeStartError(EmbeddedClusterError):
    """A node ended, or did not answer in time, while it started. The message ends with the last lines of its log."""

    def __init__(self, node: "Node", problem: str) -> None:
        lines = node.log.read_text(errors="replace").splitlines() if node.log.exists() else []
        tail = "\n".join(lines[-_LOG_LINES:])
        super().__init__(f"{node.name} of the embedded cluster {problem}; its log ({node.log}) ends:\n{tail}")
        self.node = node.name


class _Peer(NamedTuple):
    """A line of CLUSTER NODES."""

    node_id: str
    address: str
    flags: frozenset[str]
    connected: bool
    has_slots: bool

    @property
    def healthy(self) -> bool:
        return self.connected and self.flags.isdisjoint({"fail", "fail?", "handshake", "noaddr"})


class Node:
    """One primary: its process, its directory and its ports."""

    def __init__(self, data_dir: Path, number: int, port: int, bus_port: int, server: Path) -> None:
        self.name = f"node-{number}"
        self.dir = data_dir / self.name
        self.log = self.dir / "server.log"
        self.port = port
        self.bus_port = bus_port
        self.server = server
        self.client = Redis(
            host=HOST, port=port, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), retries=0)
        )
        self._child: Child | None = None
        self._supervised: Supervised | None = None

    @property
    def address(self) -> str:
        """As CLUSTER NODES writes it."""
        return f"{HOST}:{self.port}@{self.bus_port}"

    @property
    def child(self) -> Child:
        """Its process of now."""
        child = self._supervised.child if self._supervised else self._child
        if child is None:
            raise RuntimeError(f"{self.name} was not started")
        return child

    async def start(self, config: Mapping[str, str], lock: int) -> None:
        """Start the process, which keeps the lock on the data directory for as long as it lives."""
        self.dir.mkdir(mode=0o700, exist_ok=True)
        own = {"port": str(self.port), "cluster-port": str(self.bus_port), "dir": _quoted(self.dir.absolute())}
        lines = "".join(f"{key} {value}\n" for key, value in {**config, **own}.items())
        program = Program(self.name, [self.server, "-"], stdin=lines.encode(), output=self.log, pass_fds=[lock])
        self._child = await Child.start(program)

    async def ready(self) -> None:
        """Wait until it has loaded its data. Raises NodeStartError; loading, which is progress, may take any time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while self.child.returncode is None:
            with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
                info = await self.client.info()
                # Who answers may be another program, while ours is about to find its port taken.
                if info["process_id"] == self.child.pid:
                    if not info["loading"]:
                        return
                    deadline = loop.time() + _START_SECONDS
            if loop.time() > deadline:
                raise NodeStartError(self, f"did not answer within {_START_SECONDS:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)
        raise NodeStartError(self, f"ended with status {self.child.returncode}")

    def supervise(self) -> None:
        """Restart it from now on when it ends."""
        self._supervised = Supervised(self.child)

    async def stop(self) -> None:
        """Stop the process; it writes and syncs what is left first."""
        running = self._supervised or self._child
        if running is not None:
            await running.stop(_GRACE_SECONDS)

    async def admin(self, *words: str | int) -> Any:
        """Send an administrative command; with its name as one word (`CLUSTER INFO`), redis-py parses the reply.

        Raises NodeStartError when the node is gone or does not answer.
        """
        try:
            return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise NodeStartError(self, f"stopped answering ({error})") from error

    async def peers(self) -> list[_Peer]:
        """The cluster as this node sees it, itself first."""
        lines: str = await self.admin("CLUSTER", "NODES")  # redis-py's parser drops a node with another's address
        peers = []
        for line in lines.splitlines():
            node_id, address, flags, _, _, _, _, link, *slots = line.split()
            flag_set = frozenset(flags.split(","))
            peers.append(_Peer(node_id, address.split(",")[0], flag_set, link == "connected", bool(slots)))
        return sorted(peers, key=lambda peer: "myself" not in peer.flags)


class EmbeddedCluster:
    """Three primaries on loopback that restart when they crash, and keep everything over a stop and a start.

    `data_dir` is made with its parents where it does not exist, for its owner alone. `server` defaults to
    `find_server()`. `extra_config` adds lines to each node's configuration or replaces ours; a directive that may
    repeat takes its first argument into the key: `{"rename-command HSETEX": '""'}`.
    """

    def __init__(
        self, data_dir: Path, server: Path | None = None, extra_config: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.nodes: tuple[Node, ...] = ()
        self._server = server
        self._config = {**_CONFIG, **(extra_config or {})}
        self._lock: int | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """The nodes' client ports; they change over a restart only where another program has taken one."""
        return tuple(node.port for node in self.nodes)

    @property
    def url(self) -> str:
        """An address to reach the cluster by."""
        return f"redis://{HOST}:{self.ports[0]}"

    async def start(self) -> None:
        """Start the nodes and wait until each one serves and sees all slots.

        A first start that was cut short is completed. Takes two seconds and the time to load the data: a primary
        takes no writes before (CLUSTER_WRITABLE_DELAY in the server's cluster_legacy.c). Raises
        EmbeddedClusterError, and OSError when the directory cannot be written.
        """
        server = self._server or find_server()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = await _locked(self.data_dir)
        try:
            await self._start_nodes(server, self._lock)
            # A node that the last run left marked as failed stays so for twice the timeout.
            await self._configure(_NODE_TIMEOUT, _FORMING_TIMEOUT_MS)
            await self._form()
            await self._configure(_NODE_TIMEOUT, self._config[_NODE_TIMEOUT])
        except BaseException:
            await self.stop()
            raise
        finally:
            await self._close_clients()
        for node in self.nodes:
            node.supervise()
        _log.info(Event.EMBEDDED_CLUSTER_STARTED, data_dir=str(self.data_dir), ports=self.ports)

    async def stop(self) -> None:
        """Stop the nodes and let go of the data directory; `start` may follow."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _start_nodes(self, server: Path, lock: int) -> None:
        """Start all nodes, on other ports where one is taken: before the start, or between our look and theirs."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            ports = _ports(self.data_dir)
            self.nodes = tuple(
                Node(self.data_dir, number, port, bus_port, server)
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
                if attempt == _PORT_ATTEMPTS or _all_free(ports):
                    raise

    async def _configure(self, directive: str, value: str | int) -> None:
        for node in self.nodes:
            await node.admin("CONFIG SET", directive, value)

    async def _form(self) -> None:
        """Hand out the slots where that is still to do, introduce the nodes, and wait for the cluster."""
        for number, (node, slots) in enumerate(zip(self.nodes, _SLOTS_OF_NODE, strict=True), start=1):
            info = await node.admin("CLUSTER INFO")
            if info["cluster_known_nodes"] == "1" and info["cluster_my_epoch"] == "0":
                await node.admin("CLUSTER SET-CONFIG-EPOCH", number)
            if not (await node.peers())[0].has_slots:
                await node.admin("CLUSTER ADDSLOTSRANGE", slots[0], slots[-1])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
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
                raise NodeStartError(self.nodes[0], f"did not see the whole cluster within {_START_SECONDS:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def _introduce(self, views: list[list[_Peer]]) -> None:
        """Let each node meet those that it does not know, or knows under a former address.

        All at once rather than from one node: gossip about the others takes seconds, and never moves the address of a
        node that has not failed.
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


async def _locked(data_dir: Path) -> int:
    """Lock the directory. Waits a moment: nodes hold the lock too, and those of a killed supervisor are ending."""
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = asyncio.get_running_loop().time() + _LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    raise DataDirInUseError(data_dir) from None
            await asyncio.sleep(_POLL_SECONDS)
    except BaseException:
        os.close(lock)
        raise


def _ports(data_dir: Path) -> list[tuple[int, int]]:
    """Each node's client and bus port: those of the last start if all are free, else new ones, which are kept."""
    file = data_dir / "ports.json"
    if file.exists():
        ports = [(port, bus_port) for port, bus_port in json.loads(file.read_text())]
        if _all_free(ports):
            return ports
        _log.warning(Event.EMBEDDED_CLUSTER_PORTS_TAKEN, data_dir=str(data_dir), ports=ports)
    found = free_ports(HOST, 2 * len(_SLOTS_OF_NODE))
    ports = list(zip(found[::2], found[1::2], strict=True))
    draft = file.with_suffix(".tmp")
    draft.write_text(json.dumps(ports))
    draft.replace(file)
    return ports


def _all_free(ports: Iterable[tuple[int, int]]) -> bool:
    return all(port_is_free(HOST, port) for pair in ports for port in pair)


async def _together(waits: Iterable[Coroutine[object, object, None]]) -> None:
    """Run them at once; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for wait in waits:
                tasks.create_task(wait)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _quoted(path: Path) -> str:
    """As an argument in a configuration file."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
