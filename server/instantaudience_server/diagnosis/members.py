"""Reads which members ask for a durability other than the service's default, where the catalog is a whole one."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.errors import AudienceError, RefusedCommandError
from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS, Durability
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology
from instantaudience_server.store.interfaces.catalog import Kind

SECONDS = 5.0
PENDING_BYTES = 2**20
_AS_READER = "run this as a user that may read the catalog (GET and HSCAN on c:*)"
_WITH_ITS_NODE = "bring back the node of the slot of {catalog} (CLUSTER KEYSLOT tells it), and look again"


class Wishes(NamedTuple):
    """Members by the durability that they ask for; if they could not be read, `unknown` says why, and `mend` what to
    do. `is_partial`: there are none to be read, as a restore is writing the catalog, or was cut short."""

    members: dict[Durability, list[int]]
    unknown: str = ""
    mend: str = ""
    is_partial: bool = False


class _PartialCatalogError(Exception):
    """A restore is writing the catalog, or was cut short."""


async def wishes(redis: str) -> Wishes:
    """Read the members' durability from the cluster at this URL."""
    members: dict[Durability, list[int]] = {}
    try:
        topology = Topology(redis, connect_timeout_seconds=CONNECT_TIMEOUT_SECONDS)
        cluster = Cluster(topology, max_pending_bytes=PENDING_BYTES, stalled_seconds=SECONDS)
        async with asyncio.timeout(SECONDS):
            async with contextlib.aclosing(_members(cluster)) as stored:
                async for member in stored:
                    if member.durability:
                        name = pb.Durability.Name(member.durability).removeprefix("DURABILITY_")
                        members.setdefault(Durability[name], []).append(member.id)
    except _PartialCatalogError:
        return Wishes({}, is_partial=True)
    except RefusedCommandError as error:
        return Wishes({}, str(error), error.mend(_AS_READER))
    except (StoreUnusableError, AudienceError) as error:
        return Wishes({}, str(error), _WITH_ITS_NODE)
    except TimeoutError:
        return Wishes({}, "the catalog's node does not answer", _WITH_ITS_NODE)
    return Wishes(members)


async def _members(cluster: Cluster) -> AsyncGenerator[pb.Member, None]:
    """Yields the catalog's members; keeps the cluster open meanwhile."""
    try:
        await cluster.open()
        store = ClusterCatalogStore(cluster)
        if await store.is_partial(asyncio.get_running_loop().time() + SECONDS):
            raise _PartialCatalogError
        async with contextlib.aclosing(store.load(SECONDS)) as pages:
            async for kind, records in pages:
                if kind is not Kind.MEMBER:
                    break
                for record in records:
                    yield pb.Member.FromString(record)
    finally:
        await cluster.close()
