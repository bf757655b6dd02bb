"""Whether the store takes writes."""

import enum
from typing import NamedTuple, Protocol


class Problem(enum.StrEnum):
    """Why a node of the cluster takes no writes."""

    NO_ANSWER = "no_answer"
    """The node has not answered in time."""
    NO_CONNECTION = "no_connection"
    NO_ACCESS = "no_access"
    """The node refuses the user or the password."""
    NO_PRIMARY = "no_primary"
    """No node serves these slots."""
    NO_CONFIRMATION = "no_confirmation"
    """Too few replicas, or disks, have confirmed a write in time (`Durability`)."""
    OTHER = "other"
    # Prefixes of a node's own errors (https://redis.io/docs/latest/develop/reference/protocol-spec/, "Simple errors").
    OOM = "OOM"
    MISCONF = "MISCONF"
    READONLY = "READONLY"
    NOREPLICAS = "NOREPLICAS"
    CLUSTERDOWN = "CLUSTERDOWN"
    MASTERDOWN = "MASTERDOWN"
    LOADING = "LOADING"
    TRYAGAIN = "TRYAGAIN"
    BUSY = "BUSY"
    NOPERM = "NOPERM"
    WRONGTYPE = "WRONGTYPE"


class NodeState(NamedTuple):
    """A node, by its address (`slots …` for slots that no node serves), and why it takes no writes; None: it does."""

    name: str
    problem: Problem | None


class StoreHealth(Protocol):
    """Asks the store whether it takes writes."""

    async def look(self, deadline: float) -> list[NodeState]:
        """The state of each node. One that has not answered by the deadline takes no writes."""
