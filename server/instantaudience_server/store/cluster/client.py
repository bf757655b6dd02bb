"""Makes redis-py's cluster client from the cluster's URL."""

import asyncio
import math
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisClusterException, RedisError

USUAL_PORT = 6379
OPTIONS = (
    "client_name",
    "db",
    "health_check_interval",
    "max_connections",
    "password",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_read_size",
    "socket_timeout",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "username",
)
"""The options that may follow the address: those of redis-py's whose value is a text or a number. It takes the names of
all its arguments there, and fails later, in words about Python."""
TIMES = ("socket_connect_timeout", "socket_timeout")
"""The options that are times in seconds. redis-py takes any number for one, and fails at the first answer."""
UNUSABLE = (ValueError, TypeError, RedisError, RedisClusterException)
"""What `cluster_client` raises."""
NO_CONNECTION = (RedisError, OSError, RuntimeError)
"""What redis-py raises when it cannot connect. RuntimeError comes from uvloop when the connection is reset before
redis-py writes to it, as by a node that shuts down."""


def cluster_client(url: str, *, timeout_seconds: float, **options: Any) -> RedisCluster:
    """A client that is not connected yet. `timeout_seconds` bounds the time to connect, and that of each answer;
    `options` are redis-py's.

    `url` is `redis://` or `rediss://` (TLS), with user and password where the cluster demands them. It names one node,
    or several separated by commas (`redis://user:password@a:6379,b:6379`), any of which is enough.

    Raises:
        UNUSABLE: the URL cannot be used.
    """
    first, *others = _for_each_node(url)
    parts = urlsplit(url)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS:
            raise ValueError(f"{name} is no option of it; those are: {', '.join(OPTIONS)}")
        if name.startswith("ssl_") and parts.scheme != "rediss":
            raise ValueError(f"{name} is an option of rediss:// alone, which encrypts")
        if name in TIMES and not _is_time(value):
            raise ValueError(f"{name} is a number of seconds, which is more than 0")
    client: RedisCluster = RedisCluster.from_url(
        first,
        startup_nodes=[_node(other) for other in others],
        protocol=2,
        require_full_coverage=False,
        socket_connect_timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        **options,
    )
    return client


def _is_time(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


async def causes(nodes: Collection[ClusterNode]) -> dict[str, Exception]:
    """The name of each of several nodes → why it cannot be asked for the topology. Empty where one of them can be, or
    there is only one: redis-py tells the cause of whichever it has asked last, and names none."""

    async def ask(node: ClusterNode) -> Exception | None:
        try:
            await node.execute_command("CLUSTER SLOTS")
        except NO_CONNECTION as error:
            return error
        return None

    answers = await asyncio.gather(*map(ask, nodes)) if len(nodes) > 1 else []
    found = {node.name: error for node, error in zip(nodes, answers, strict=False) if error is not None}
    return found if len(found) == len(nodes) else {}


def _for_each_node(url: str) -> list[str]:
    """Split a URL that names several nodes into one URL for each.

    Raises:
        ValueError: a node other than the first has credentials.
    """
    parts = urlsplit(url)
    credentials, at, addresses = parts.netloc.rpartition("@")
    if "@" in credentials and "," in credentials:
        raise ValueError("user and password stand before the first node alone; an @ in a password is written %40")
    if "," not in addresses:
        return [url]
    return [parts._replace(netloc=credentials + at + address).geturl() for address in addresses.split(",")]


def _node(url: str) -> ClusterNode:
    options = parse_url(url)
    if "host" not in options:
        raise ValueError("a node between commas has no address")
    return ClusterNode(options["host"], options.get("port", USUAL_PORT))
