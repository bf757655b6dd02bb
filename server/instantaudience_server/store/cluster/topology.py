"""Which node serves which slot, as redis-py knows it.

redis-py reads the URL, opens and authenticates connections, and discovers the cluster (CLUSTER SLOTS); it carries no
command of a call.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as NoAnswerInTime

from instantaudience_server.errors import unavailable
from instantaudience_server.store.cluster.client import NO_CONNECTION, cluster_client

NEEDED = {"Valkey": (9, 0), "Redis": (8, 0)}
"""The first versions with HSETEX, by the product that `--version` names."""
REQUIRED = " or ".join(f"{product} {major}.{minor}" for product, (major, minor) in NEEDED.items())
_NO_ANSWER = (*NO_CONNECTION, RedisClusterException)
"""What redis-py raises when a node does not answer as it should; RedisClusterException is no RedisError."""
NO_SLOTS = "no node serves a slot; create it first, as with `redis-cli --cluster create`"
"""What is the matter where nodes answer that are no cluster yet, or any more."""
ATTEMPTS = 5
"""How often nodes are asked that keep silent, before the cluster counts as one that cannot be used: each may take the
time that a connection may, which a busy machine has not always."""


FAILOVER, MOVE = "failover", "move"


class StoreUnusableError(Exception):
    """The cluster cannot be used at all; the message says why and what to do."""


class _RereadConnection(SSLConnection):
    """Reads its certificates each time it connects, as they may have been replaced; redis-py keeps the first ones."""

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
        except (ValueError, TypeError, RedisError, RedisClusterException) as error:
            raise StoreUnusableError(f"the cluster's URL cannot be used: {error}") from error
        self._named = dict(self._client.nodes_manager.startup_nodes)
        """The nodes that the URL names; redis-py forgets them for those that the cluster names."""
        options = self._client.get_connection_kwargs()
        if options["connection_class"] is SSLConnection:
            for node in self._named.values():
                node.connection_class = _RereadConnection
            options["connection_class"] = _RereadConnection
        self._refreshing: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Ask the cluster again. Concurrent callers share one question.

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
        """Ask the nodes that are known for nodes and slots.

        Where none of them helps, those that the URL names are asked as well from then on: all of them may have got
        other addresses, which only these names lead to.
        """
        nodes = self._client.nodes_manager
        asked = dict(nodes.startup_nodes)
        try:
            try:
                await nodes.initialize()
            except RedisClusterException as error:
                if error.__cause__ is not None or not asked:
                    raise
                # Where nobody serves a slot, redis-py asks all nodes, and takes nothing from those that disagree. One
                # that was cut off may do so for long: what a node says is tried then, as where all slots are served.
                nodes.startup_nodes = dict([random.choice(list(asked.items()))])  # noqa: S311
                await nodes.initialize()
        except _NO_ANSWER:
            nodes.startup_nodes |= asked | self._named
            raise
        except IndexError as error:  # redis-py wants a primary, and has forgotten all nodes
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
        """Refuse servers that are too old. A primary that is out of reach now is not asked.

        Raises:
            StoreUnusableError: no node answers, it is not a cluster, nobody serves a slot, the credentials are wrong,
                or a primary does not know HSETEX.
        """
        try:
            await self._discover()
        except _NO_ANSWER as error:
            raise StoreUnusableError(f"the cluster cannot be used: {_forbidden(error) or error}") from error
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
        """Ask for nodes and slots; again where all that is wrong is that nobody answers in time."""
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
        # RedisCluster.aclose() leaves nodes alone that its own initialize() has not found.
        await asyncio.gather(*(node.disconnect() for node in self._named.values()))
        await self._client.nodes_manager.aclose("startup_nodes")
        await self._client.nodes_manager.aclose()


def changes(before: Mapping[int, str], now: Mapping[int, str]) -> dict[str, set[tuple[str, str]]]:
    """Which primaries serve slots now that others served before, as pairs of names, by the kind of the change: a
    failover, where the former one has none any more and the new one had none, or a move of slots."""
    pairs = {(before[slot], name) for slot, name in now.items() if before.get(slot, name) != name}
    if not pairs:
        return {}
    formerly, names = set(before.values()), set(now.values())
    failovers = {(former, name) for former, name in pairs if former not in names and name not in formerly}
    return {FAILOVER: failovers, MOVE: pairs - failovers}


def _forbidden(error: BaseException | None) -> BaseException | None:
    """What the ACL forbids, where an error comes of that: redis-py says then that it is no cluster."""
    while error is not None and not isinstance(error, NoPermissionError):
        error = error.__cause__ or error.__context__
    return error


def _version(info: Any) -> str:
    """The product and version in INFO's answer: `Valkey 9.1.2` or `Redis 7.2.4`."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"
