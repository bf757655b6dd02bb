"""External IDs in the cluster (see `interfaces.external_ids.ExternalIdStore`)."""

from collections.abc import Sequence

from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER


class ClusterExternalIdStore:
    """One string for each external ID, with its own expiry. Each method takes one round trip for any number of IDs,
    `forget` two."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def map(self, keys: Sequence[bytes], user_id: str, end_ms: int, deadline: float) -> None:
        """Set the strings with their expiry."""
        value = user_id.encode()
        mapping = [commands.set_string_until(key, value, end_ms) for key in keys]
        await self._cluster.execute(mapping, deadline, durability=self._cluster.durability)

    async def resolve(self, keys: Sequence[bytes], deadline: float) -> list[tuple[str, int] | None]:
        """Get strings and expiries. A mapping that ends between the two commands counts as absent."""
        asked = [command for key in keys for command in (commands.get(key), commands.read_end(key))]
        replies = await self._cluster.execute(asked, deadline)
        return [_mapping(value, end) for value, end in zip(replies[::2], replies[1::2], strict=True)]

    async def forget(self, keys: Sequence[bytes], deadline: float) -> int:
        """Get the strings, as what deletes them may be sent again after a lost answer, and delete them."""
        found = await self._cluster.execute([commands.get(key) for key in keys], deadline)
        deleting = [commands.delete(key) for key in keys]
        deleted = await self._cluster.execute(deleting, deadline, durability=self._cluster.durability)
        return sum(value is not None or bool(number) for value, number in zip(found, deleted, strict=True))


def _mapping(value: bytes | None, end: int) -> tuple[str, int] | None:
    if value is None or end == commands.GONE:
        return None
    return value.decode(), NEVER if end == commands.NO_END else end
