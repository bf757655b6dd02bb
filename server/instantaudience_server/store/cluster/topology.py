"""The cluster's nodes and slots, as redis-py discovers them.

redis-py parses the URL, opens and authenticates connections, and discovers the cluster (CLUSTER SLOTS). It does not
send the commands of calls.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import NoPermissionError, RedisClusterException
from redis.exceptions import TimeoutError as NoAnswerInTime

from instantaudience_server.errors import RefusedCommandError, unavailable
from instantaudience_server.store.cluster.client import NO_CONNECTION, UNUSABLE, causes, cluster_client

NEEDED = {"Valkey": (9, 0), "Redis": (8, 0)}
"""Product, as `--version` names it → its first version (major, minor) with HSETEX."""
REQUIRED = " or ".join(f"{product} {major}.{minor}" for product, (major, minor) in NEEDED.items())
_NO_ANSWER = (*NO_CONNECTION, RedisClusterException)
"""What redis-py raises when discovery fails; RedisClusterException is not a RedisError."""
NO_SLOTS = "no node serves a slot; create it first, as with `redis-cli --cluster create`"
"""The error where nodes answer but form no cluster (yet)."""
_RIGHTS = "docs/cluster.md has the rights that it takes"
ATTEMPTS = 5
"""How often discovery is tried at the start where nodes do not answer in time, as on a busy machine they may not."""


FAILOVER, MOVE = "failover", "move"


class StoreUnusableError(Exception):
    """The cluster cannot be used at all; the message says why and what to do."""


@contextlib.contextmanager
def needed_to_start() -> Iterator[None]:
    """Run commands without which the service cannot start: what a node refuses for good makes the cluster unusable.

    Raises:
        StoreUnusableError: a node has refused a command.
    """
    try:
        yield
    except RefusedCommandError as error:
        raise StoreUnusableError(f"{error}; {error.mend(_RIGHTS)}") from error


class _RereadConnection(SSLConnection):
    """A TLS connection that reads the certificates each time it connects, as they may have been replaced; redis-py
    would keep the first ones."""

    async def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self.ssl_context.context = None
        await super().connect_check_health(*args, **kwargs)


class Topology:
    """The nodes and slots of a cluster.

    `url` is as in `client.cluster_client`; any node will do.
    """

    def __init__(self, url: str, *, connect_timeout_seconds: float) -> None:
        try:
            self._client = cluster_client(url, timeout_seconds=connect_timeout_seconds)
        except UNUSABLE as error:
            raise StoreUnusableError(f"the cluster's URL cannot be used: {error}") from error
        self._named = dict(self._client.nodes_manager.startup_nodes)
        """The nodes that the URL names; redis-py replaces them by those that the cluster reports."""
        options = self._client.get_connection_kwargs()
        if options["connection_class"] is SSLConnection:
            for node in self._named.values():
                node.connection_class = _RereadConnection
            options["connection_class"] = _RereadConnection
        self._refreshing: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Read the topology again. Concurrent callers share one read.

        Raises:
            AudienceError: UNAVAILABLE, when no node answers.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._ask())
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    async def _ask(self) -> None:
        try:
            await self._initialize()
        except _NO_ANSWER as error:
            raise unavailable("the cluster does not answer") from error

    async def _initialize(self) -> None:
        """Discover nodes and slots by the nodes that are known.

        Where that fails, the nodes that the URL names are asked too from then on: all nodes may have new addresses,
        which only these names resolve to.
        """
        nodes = self._client.nodes_manager
        asked = dict(nodes.startup_nodes)
        try:
            try:
                await nodes.initialize()
            except RedisClusterException as error:
                if error.__cause__ is not None or not asked:
                    raise
                # Where a slot is not served, redis-py asks all nodes, and fails if they disagree. A node that was cut
                # off may disagree for long; so one node alone is believed, as redis-py does where all slots are served.
                nodes.startup_nodes = dict([random.choice(list(asked.items()))])  # noqa: S311
                await nodes.initialize()
        except _NO_ANSWER:
            nodes.startup_nodes |= asked | self._named
            raise
        except IndexError as error:  # redis-py found no primary, and has forgotten all nodes
            nodes.startup_nodes |= asked | self._named
            raise RedisClusterException(NO_SLOTS) from error

    def _refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()

    def primaries(self) -> dict[int, str]:
        """The name (`host:port`) of the primary of each slot that has one."""
        return {slot: nodes[0].name for slot, nodes in self._client.nodes_manager.slots_cache.items() if nodes}

    def connection(self, name: str) -> AbstractConnection:
        """A new connection to the node `host:port`, not connected yet."""
        host, _, port = name.rpartition(":")
        known = self._client.nodes_manager.nodes_cache.get(name)
        kwargs: dict[str, Any] = self._client.get_connection_kwargs()
        node = known or ClusterNode(host, int(port), **kwargs)
        return node.connection_class(**node.connection_kwargs)

    async def check_servers(self) -> None:
        """Check that the servers are recent enough. A primary that is out of reach now is not asked.

        Raises:
            StoreUnusableError: no node answers, it is not a cluster, no slot is served, the credentials are wrong, or a
                primary does not know HSETEX.
        """
        try:
            await self._discover()
        except _NO_ANSWER as error:
            found = await causes(self._named.values())
            each = "; ".join(f"{name}: {str(cause).removesuffix('.')}" for name, cause in found.items())
            raise StoreUnusableError(f"the cluster cannot be used: {each or _forbidden(error) or error}") from error
        for node in self._client.nodes_manager.get_nodes_by_server_type("primary"):
            try:
                known: list[Any] = await node.execute_command("COMMAND INFO", "HSETEX")
                info: bytes = b"" if known[0] else await node.execute_command("INFO", "server")
            except _NO_ANSWER:
                continue
            if info:
                raise StoreUnusableError(
                    f"{node.name} runs {_version(info)}, which does not know HSETEX; needed: {REQUIRED} or newer"
                )

    async def _discover(self) -> None:
        """Discover nodes and slots; up to `ATTEMPTS` times where the only problem is that no node answers in time."""
        for _ in range(ATTEMPTS - 1):
            try:
                await self._initialize()
            except RedisClusterException as error:
                if not isinstance(error.__cause__, NoAnswerInTime):
                    raise
            else:
                return
        await self._initialize()

    async def close(self) -> None:
        """Close redis-py's own connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        # RedisCluster.aclose() does not close nodes that its own initialize() has not found.
        await asyncio.gather(*(node.disconnect() for node in self._named.values()))
        await self._client.nodes_manager.aclose("startup_nodes")
        await self._client.nodes_manager.aclose()


def changes(before: Mapping[int, str], now: Mapping[int, str]) -> dict[str, set[tuple[str, str]]]:
    """The changes of primaries between two topologies (slot → name), as pairs of the former and the new name, by kind.
    `FAILOVER`: the former one serves no slot any more, and the new one served none; `MOVE`: any other."""
    pairs = {(before[slot], name) for slot, name in now.items() if before.get(slot, name) != name}
    if not pairs:
        return {}
    formerly, names = set(before.values()), set(now.values())
    failovers = {(former, name) for former, name in pairs if former not in names and name not in formerly}
    return {FAILOVER: failovers, MOVE: pairs - failovers}


def _forbidden(error: BaseException | None) -> BaseException | None:
    """The error by which the ACL forbids something, where it is the cause of this one: redis-py then reports that the
    server is no cluster."""
    while error is not None and not isinstance(error, NoPermissionError):
        error = error.__cause__ or error.__context__
    return error


def _version(info: Any) -> str:
    """The product and version in INFO's answer, such as `Valkey 9.1.2` or `Redis 7.2.4`."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"
