"""Memberships in the cluster (see `interfaces.memberships.MembershipStore`)."""

from collections.abc import Callable, Generator, Mapping, Sequence

from instantaudience_server.settings import Durability
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.batch import Batch, Listed, Single
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.commands import GONE, NO_END, Command
from instantaudience_server.store.interfaces.groups import Group, Keys, PackedChanges, PackedCommands
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE, Changes, Memberships

PART = 1000
"""How many memberships of a user are read at once, approximately."""
PACKED_AT_ONCE = 100
"""How many `Alike`s are packed before other calls get their turn: 2 ms where each has eighty segments."""


class ClusterMembershipStore:
    """One hash for each user; a membership's end is the expiry of its field."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def write(
        self,
        changes: Changes | PackedChanges,
        deadline: float,
        durability: Durability | None = None,
        packed: Sequence[PackedCommands] = (),
        may_go: Callable[[], bool] | None = None,
    ) -> "ClusterWriting":
        """Send one command for each user and end."""
        keys_of: dict[Group, Keys] = {commands: commands for commands in packed}
        keys_of |= changes if isinstance(changes, PackedChanges) else _pack(changes)
        durability = durability or self._cluster.durability
        groups = list(keys_of)
        batch = self._cluster.begin(groups, deadline, durability=durability, may_go=may_go, name="cluster write")
        return ClusterWriting(batch, keys_of)

    def pack(self, changes: Changes) -> Generator[None, None, PackedChanges]:
        """Pack `PACKED_AT_ONCE` changes at a time, yielding after each."""
        packed = PackedChanges()
        for start in range(0, len(changes), PACKED_AT_ONCE):
            packed |= _pack(changes[start : start + PACKED_AT_ONCE])
            yield
        return packed

    async def read(self, keys: Sequence[bytes], deadline: float) -> list[Memberships]:
        """Read the values and then the ends of one part of each user, then of the next part, so that other calls get
        their turn in between.

        A membership that ends or is removed between the two reads is left out; one that is rewritten then is returned
        with its old value and its new end. A script could read both at once, but takes 11 µs of the node for a user
        with two memberships, where these commands take 3.
        """
        found: dict[bytes, Memberships] = {key: {} for key in keys}
        cursors = dict.fromkeys(keys, b"0")
        while cursors:
            scans = [commands.scan_hash(key, cursor, PART) for key, cursor in cursors.items()]
            parts = zip(cursors, await self._cluster.execute(scans, deadline), strict=True)
            cursors, values = {}, {}
            for key, (cursor, pairs) in parts:
                if cursor != b"0":
                    cursors[key] = cursor
                if pairs:
                    values[key] = {int(pairs[i]): int(pairs[i + 1]) for i in range(0, len(pairs), 2)}
            questions = [commands.read_ends(key, list(part)) for key, part in values.items()]
            for (key, part), ends in zip(values.items(), await self._cluster.execute(questions, deadline), strict=True):
                if ends:
                    found[key] |= _live(part, dict(zip(part, ends, strict=True)))
        return [found[key] for key in keys]

    async def resolve_external_ids(self, keys: Sequence[bytes], deadline: float) -> list[str | None]:
        """Get all strings in one round trip."""
        replies = await self._cluster.execute([commands.get(key) for key in keys], deadline)
        return [None if reply is None else reply.decode() for reply in replies]


class ClusterWriting:
    """Commands that were sent, with the key that each one changes (see `interfaces.memberships.Writing`)."""

    def __init__(self, batch: Batch, keys_of: Mapping[Group, Keys]) -> None:
        self._keys_of = keys_of
        self._batch = batch
        self.done = batch.done

    @property
    def unanswered(self) -> int:
        """See `interfaces.memberships.Writing`."""
        return self._batch.missing

    def failures(self) -> dict[bytes, Exception]:
        """See `interfaces.memberships.Writing`."""
        failures = self._batch.failures()
        return {self._keys_of[group][index]: error for group, indexes, error in failures for index in indexes}

    def unwritten(self) -> set[bytes]:
        """See `interfaces.memberships.Writing`."""
        unanswered = self._batch.unanswered()
        return {self._keys_of[group][index] for group, indexes in unanswered for index in indexes} | set(
            self.failures()
        )


def _pack(changes: Changes) -> dict[Group, Sequence[bytes]]:
    """Make one command for each user and end: groups of commands, each with the keys of its users."""
    sets: list[Command] = []
    removes: list[Command] = []
    set_keys: list[bytes] = []
    remove_keys: list[bytes] = []
    keys_of: dict[Group, Sequence[bytes]] = {}
    for keys, user_changes in changes:
        for end, values in user_changes.items():
            words = commands.removing(values) if end == REMOVE else commands.setting(end, values)
            if len(keys) > 1:
                keys_of |= {spread: spread.keys for spread in commands.on_keys(keys, words)}
            elif end == REMOVE:
                removes.append(commands.on_key(keys[0], words))
                remove_keys.append(keys[0])
            else:
                sets.append(commands.on_key(keys[0], words))
                set_keys.append(keys[0])
    if sets:
        keys_of[_group(sets, commands.SET_REPLY)] = set_keys
    if removes:
        keys_of[_group(removes)] = remove_keys
    return keys_of


def _group(of_kind: Sequence[Command], usual_reply: bytes = b"") -> Group:
    return Single(of_kind[0], usual_reply) if len(of_kind) == 1 else Listed(of_kind, usual_reply)


def _live(values: dict[int, int], ends: dict[int, int]) -> Memberships:
    """The memberships that still existed when their ends were read, with these ends."""
    return {
        segment_id: (value, NEVER if ends[segment_id] == NO_END else ends[segment_id])
        for segment_id, value in values.items()
        if ends[segment_id] != GONE
    }
