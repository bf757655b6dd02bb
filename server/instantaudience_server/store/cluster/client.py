"""redis-py's client for a cluster, by the URL that names it."""

from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

USUAL_PORT = 6379
NO_CONNECTION = (RedisError, OSError, RuntimeError)
"""What redis-py raises where it cannot connect. RuntimeError is uvloop's: the connection was reset before redis-py
wrote to it, as by a node that ends."""


def cluster_client(url: str, *, timeout_seconds: float, **options: Any) -> RedisCluster:
    """A client that is not connected yet. `timeout_seconds` is how long a connection, and each answer, may take;
    `options` are redis-py's.

    `url` is `redis://` or `rediss://` (TLS), with user and password where the cluster wants them. It names a node, or
    several between commas (`redis://user:password@a:6379,b:6379`), so that none of them is needed.

    Raises:
        ValueError, TypeError, RedisError, RedisClusterException: the URL cannot be used.
    """
    first, *others = _for_each_node(url)
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


def _for_each_node(url: str) -> list[str]:
    """The URL of each node that a URL names."""
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
