"""Whether a cluster is set up so that it keeps what was acknowledged (docs/operations.md, "What an acknowledgement
means"). For operators: the service's own user need not be allowed to ask."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError

from instantaudience_server.settings import Durability


class Finding(NamedTuple):
    """What should be different on a node. `directive` is empty where it cannot be asked."""

    node: str
    directive: str
    text: str


class _Check(NamedTuple):
    """A directive, when its value is right, and what it takes. `needs_replicas`: only where the cluster has any."""

    directive: str
    right: Callable[[str], bool]
    text: str
    needs_replicas: bool = True


CHECKS = (
    _Check("min-replicas-to-write", lambda value: int(value) >= 1, "1 or more: a primary cut off loses writes"),
    _Check("min-replicas-max-lag", lambda value: 1 <= int(value) <= 5, "2 or 3 s: it takes as long to notice"),
    _Check("cluster-node-timeout", lambda value: int(value) <= 5000, "at most 5000 ms: calls wait for a failover"),
    _Check("cluster-replica-validity-factor", lambda value: value == "0", "0: a replica may refuse to take over"),
    _Check("appendonly", lambda value: value == "yes", "yes: a restart empties the node", needs_replicas=False),
    _Check(
        "maxmemory-policy",
        lambda value: value == "noeviction",
        "noeviction: others drop what was acknowledged",
        needs_replicas=False,
    ),
)


async def check_durability(url: str, durability: Durability) -> list[Finding]:
    """What should be different on the nodes of a cluster, for what acknowledgements are to mean.

    Raises:
        RedisError, OSError: the cluster does not answer.
    """
    async with RedisCluster.from_url(url, protocol=2) as cluster:
        nodes = cluster.get_nodes()
        has_replicas = bool(cluster.get_replicas())
        findings = [finding for node in nodes for finding in await _check(node, has_replicas=has_replicas)]
        if durability is not Durability.PRIMARY and not has_replicas:
            findings.append(Finding("", "", f"durability {durability} needs replicas: every write would fail"))
        return findings


async def _check(node: ClusterNode, *, has_replicas: bool) -> list[Finding]:
    try:
        found: Mapping[str, str] = _texts(
            await node.execute_command("CONFIG GET", *[each.directive for each in CHECKS])
        )
    except RedisError as error:
        return [Finding(node.name, "", f"its settings cannot be read: {error}")]
    return [
        Finding(node.name, check.directive, f"is {found[check.directive]}, should be {check.text}")
        for check in CHECKS
        if (has_replicas or not check.needs_replicas)
        and check.directive in found
        and not check.right(found[check.directive])
    ]


def _texts(found: object) -> dict[str, str]:
    """The answer of CONFIG GET, of which redis-py makes a dict."""
    assert isinstance(found, dict)
    return {_text(name): _text(value) for name, value in found.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
