"""A node of the embedded cluster: its process, its configuration, and its view of the cluster.

Sources: the CLUSTER command pages of Redis and Valkey.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from instantaudience_server.embedded.allocator import environment
from instantaudience_server.embedded.server import EmbeddedClusterError
from instantaudience_server.process.processes import Child, Program, Supervised

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
START_SECONDS = 30.0
NODE_TIMEOUT = "cluster-node-timeout"
_GRACE_SECONDS = 10.0
_LOG_LINES = 10
_LEAST_FREE_BYTES = 2**20
"""A disk with less free space counts as full: a node that starts needs hardly any."""

CONFIG = {
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
    # When a node is down, the others still serve their slots. Reads are never stale, even on a node that sees none of
    # the others, as there are no other copies.
    "cluster-require-full-coverage": "no",
    "cluster-allow-reads-when-down": "yes",
    # Long, as there is no replica to fail over to, and on a busy machine nodes would be taken for failed.
    NODE_TIMEOUT: "5000",
}
"""The directives that all nodes have in their configuration."""


class NodeStartError(EmbeddedClusterError):
    """A node ended, or did not answer in time, while the cluster started. The message ends with the last lines of the
    node's log. It says so if the disk is full, as the log cannot then."""

    def __init__(self, node: "Node", problem: str) -> None:
        if shutil.disk_usage(node.dir).free < _LEAST_FREE_BYTES:
            problem += ", as the disk is full"
        lines = node.log.read_text(errors="replace").splitlines() if node.log.exists() else []
        tail = "\n".join(lines[-_LOG_LINES:])
        super().__init__(f"{node.name} of the embedded cluster {problem}; its log ({node.log}) ends:\n{tail}")


class Peer(NamedTuple):
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

    def __init__(
        self, data_dir: Path, number: int, port: int, bus_port: int, server: Path, password: str | None = None
    ) -> None:
        self.name = f"node-{number}"
        self.dir = data_dir / self.name
        self.log = self.dir / "server.log"
        self.port = port
        self.bus_port = bus_port
        self.server = server
        self.client = Redis(
            host=HOST,
            port=port,
            password=password,
            decode_responses=True,
            socket_timeout=5,
            retry=Retry(NoBackoff(), retries=0),
        )
        self._password = password
        self._child: Child | None = None
        self._supervised: Supervised | None = None

    @property
    def address(self) -> str:
        """The address with both ports, as CLUSTER NODES writes it."""
        return f"{HOST}:{self.port}@{self.bus_port}"

    @property
    def child(self) -> Child:
        """The node's current process."""
        child = self._supervised.child if self._supervised else self._child
        if child is None:
            raise RuntimeError(f"{self.name} was not started")
        return child

    async def start(self, config: Mapping[str, str], lock: int) -> None:
        """Start the process, which also holds the lock on the data directory (a file descriptor) while it runs."""
        self.dir.mkdir(mode=0o700, exist_ok=True)
        own = {"port": str(self.port), "cluster-port": str(self.bus_port), "dir": _quoted(self.dir.absolute())}
        if self._password is not None:
            own |= {"requirepass": self._password, "masterauth": self._password}
        lines = "".join(f"{key} {value}\n" for key, value in {**config, **own}.items())
        program = Program(
            self.name,
            [self.server, "-"],
            env=environment(os.environ),
            stdin=lines.encode(),
            output=self.log,
            pass_fds=[lock],
        )
        self._child = await Child.start(program)

    async def ready(self) -> None:
        """Wait until the node has loaded its data, which may take any time.

        Raises:
            NodeStartError: the process ended, or does not answer for `START_SECONDS`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_SECONDS
        while self.child.returncode is None:
            with contextlib.suppress(RedisConnectionError, RedisTimeoutError):
                info = await self.client.info()
                # Another server may answer on the port, while this node is about to fail because it is taken.
                if info["process_id"] == self.child.pid:
                    if not info["loading"]:
                        return
                    deadline = loop.time() + START_SECONDS
            if loop.time() > deadline:
                raise NodeStartError(self, f"did not answer within {START_SECONDS:.0f} s")
            await asyncio.sleep(POLL_SECONDS)
        raise NodeStartError(self, f"ended with status {self.child.returncode}")

    def supervise(self) -> None:
        """From now on, restart the process when it ends."""
        self._supervised = Supervised(self.child)

    async def stop(self) -> None:
        """Stop the process, which first writes and syncs its data."""
        running = self._supervised or self._child
        if running is not None:
            await running.stop(_GRACE_SECONDS)

    async def admin(self, *words: str | int) -> Any:
        """Send an administrative command. Where its name is one word (`"CLUSTER INFO"`), redis-py parses the reply.

        Raises:
            NodeStartError: the node does not answer.
        """
        try:
            return await self.client.execute_command(*words)  # type: ignore[no-untyped-call]
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise NodeStartError(self, f"stopped answering ({error})") from error

    async def peers(self) -> list[Peer]:
        """The nodes of the cluster as this node sees them, itself first."""
        lines: str = await self.admin("CLUSTER", "NODES")  # redis-py's parser drops a node with another's address
        peers = []
        for line in lines.splitlines():
            node_id, address, flags, _, _, _, _, link, *slots = line.split()
            flag_set = frozenset(flags.split(","))
            peers.append(Peer(node_id, address.split(",")[0], flag_set, link == "connected", bool(slots)))
        return sorted(peers, key=lambda peer: "myself" not in peer.flags)


def _quoted(path: Path) -> str:
    """The path as an argument in a configuration file."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
