"""The settings that a cluster's nodes need to keep acknowledged writes, and to go on serving when a node fails
(docs/cluster.md, "What an acknowledgement means")."""

from collections.abc import Callable
from typing import NamedTuple


class Check(NamedTuple):
    """A directive of the server's configuration: whether a value is right, the value to set, and the reason.

    `needs_replicas`: the check applies only to clusters with replicas. `keeps_all`: with a wrong value, memberships are
    lost even when no node is.
    """

    directive: str
    right: Callable[[str], bool]
    wanted: str
    reason: str
    needs_replicas: bool = True
    keeps_all: bool = False


CHECKS = (
    Check("min-replicas-to-write", lambda value: int(value) >= 1, "1", "a primary that is cut off loses writes"),
    Check("min-replicas-max-lag", lambda value: 1 <= int(value) <= 5, "3", "it takes as many seconds to notice"),
    Check("cluster-node-timeout", lambda value: int(value) <= 5000, "3000", "calls wait so many ms for a failover"),
    Check("cluster-replica-validity-factor", lambda value: value == "0", "0", "else a replica may refuse to take over"),
    Check(
        "cluster-require-full-coverage",
        lambda value: value == "no",
        "no",
        "else no slot is served while the nodes of one are away",
        needs_replicas=False,
    ),
    Check(
        "appendonly",
        lambda value: value == "yes",
        "yes",
        "else a restart empties the node",
        needs_replicas=False,
        keeps_all=True,
    ),
    Check(
        "maxmemory-policy",
        lambda value: value == "noeviction",
        "noeviction",
        "others drop what was acknowledged",
        needs_replicas=False,
        keeps_all=True,
    ),
)
