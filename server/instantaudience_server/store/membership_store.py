"""Memberships in the cluster (see `interface.MembershipStore`)."""

from collections.abc import Sequence

from instantaudience_server.store import commands
from instantaudience_server.store.batch import Group, Listed
from instantaudience_server.store.cluster import Cluster
from instantaudience_server.store.commands import Command
from instantaudience_server.store.interface import NEVER, REMOVE, Changes, Memberships


class ClusterMembershipStore:
    """One hash a user; an end is the expiry of a field."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def write(self, changes: Changes, deadline: float) -> None:
        """Send one command for each user and end."""
        await self._cluster.carry_out(_pack(changes), deadline)

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read values, then ends: a membership that ends or leaves between the two is left out."""
        hashes = await self._cluster.execute([commands.read_values(key) for key in keys], deadline)
        values = [{int(pairs[i]): int(pairs[i + 1]) for i in range(0, len(pairs), 2)} for pairs in hashes]
        asked = [(key, list(segments)) for key, segments in zip(keys, values, strict=True) if segments]
        replies = await self._cluster.execute([commands.read_ends(*question) for question in asked], deadline)
        ends = {
            key: dict(zip(ids, reply, strict=True)) for (key, ids), reply in zip(asked, replies, strict=True) if reply
        }
        return [_live(segments, ends.get(key, {})) for key, segments in zip(keys, values, strict=True)]

    async def resolve_external_ids(self, keys: Sequence[bytes], deadline: float) -> list[str | None]:
        """Ask for all in one round trip."""
        replies = await self._cluster.execute([commands.get(key) for key in keys], deadline)
        return [None if reply is None else reply.decode() for reply in replies]


def _pack(changes: Changes) -> list[Group]:
    """One command for each user and end."""
    sets: list[Command] = []
    removes: list[Command] = []
    groups: list[Group] = []
    for keys, user_changes in changes:
        for end, values in user_changes.items():
            words = commands.removing(values) if end == REMOVE else commands.setting(end, values)
            if len(keys) == 1:
                (removes if end == REMOVE else sets).append(commands.on_key(keys[0], words))
            else:
                groups += commands.on_keys(keys, words)
    if sets:
        groups.append(Listed(sets, commands.SET_REPLY))
    if removes:
        groups.append(Listed(removes))
    return groups


def _live(values: dict[int, int], ends: dict[int, int]) -> Memberships:
    # HPEXPIRETIME says -1 for a field without an expiry and -2 for one that is gone.
    return {
        segment_id: (value, NEVER if ends[segment_id] == -1 else ends[segment_id])
        for segment_id, value in values.items()
        if ends.get(segment_id, -2) != -2
    }
