"""Reads several regular requests as one (docs/adr/0020-gathering.md).

Regular requests are the usual ones: users with platform IDs, each once, all with the blocks of a few campaigns, and
nothing to warn about. All others are left to `alone.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from instantaudience_server.applied import NOTHING_SKIPPED, Applied, Totals
from instantaudience_server.catalog.catalog import Catalog, Member
from instantaudience_server.memberships.reading import identity
from instantaudience_server.memberships.reading.blocks import BLOCKS_PER_TURN, BlockReader
from instantaudience_server.memberships.reading.by_blocks import KeySet, users_by_blocks
from instantaudience_server.memberships.reading.known_blocks import Blocks, KnownBlocks
from instantaudience_server.memberships.reading.skipped import BARE, Warnings
from instantaudience_server.memberships.reading.wire import decode_user, users_by_rest
from instantaudience_server.store.interfaces.memberships import Alike, UserChanges


class Together(NamedTuple):
    """Requests that were read as one: what they change, the keys of the users whose memberships change, and how many
    users and valid blocks each request has."""

    applied: Applied
    keys: KeySet
    counts: Sequence[tuple[int, int]]


class TogetherReader:
    """Reads requests of one member as one."""

    def __init__(self, catalog: Catalog, known: KnownBlocks) -> None:
        self._catalog = catalog
        self._known = known

    def read(
        self, requests: list[Sequence[bytes]], member: Member, now_ms: int, suppressed: frozenset[bytes]
    ) -> Together | None:
        """Read the encoded users of requests; lifetimes start at `now_ms` (Unix time in ms).

        Returns None unless the requests are regular: all users have platform IDs, no request has a user twice, users in
        several requests have the same blocks in each, no user is `suppressed`, no block gives a warning, and about
        `BLOCKS_PER_TURN` blocks at most are in lists that are not known yet.

        Raises:
            AudienceError: SYNTAX, when a user cannot be decoded.
        """
        sizes = list(map(len, requests))
        if member.external_member_id is not None or not 0 < min(sizes) <= max(sizes) <= member.limits.users_per_call:
            return None
        found = users_by_blocks(requests)
        blocks = self._faultless(member, found.rests)
        if blocks is None:
            return None
        all_keys = found.keys
        if all_keys is None or (suppressed and not all(map(suppressed.isdisjoint, all_keys))):
            return None
        users = adds = removes = 0
        alike = []
        changes_by_rest = {}
        for rest, each, size, keys in zip(found.rests, blocks, found.sizes, all_keys, strict=True):
            users += size
            adds += each.adds * size
            removes += each.removes * size
            changes = changes_by_rest[rest] = each.changes(now_ms)
            alike.append(Alike(keys, changes))
        apart = partial(_apart, now_ms, requests, changes_by_rest) if len(requests) > 1 else None
        totals = Totals(users, adds, removes)
        applied = Applied(now_ms, alike, (), (), totals, len(requests), NOTHING_SKIPPED, apart)
        valid = [each.valid for each in blocks]
        if len(set(valid)) == 1:
            counts = [(size, size * valid[0]) for size in sizes]
        else:
            counts = list(zip(sizes, found.segments(valid), strict=True))
        return Together(applied, found.key_set, counts)

    def _faultless(self, member: Member, rests: Sequence[bytes]) -> Sequence[Blocks] | None:
        """The blocks in users' messages without their IDs; None if one gives a warning, if there is anything beside
        blocks, or if too many lists are not known yet."""
        most = min(member.limits.segments_per_user, BLOCKS_PER_TURN)
        found = []
        looked_at = 0
        for rest in rests:
            blocks = self._known.find(member, rest)
            if blocks is None:
                user = decode_user(rest)
                if user.HasField("user_id") or user.domain or not 0 < len(user.seg_block) <= most:
                    return None
                looked_at += len(user.seg_block)
                warnings = Warnings(BARE)
                blocks = BlockReader(self._catalog, member, warnings).read_short(user.seg_block)
                if warnings:
                    return None
                self._known.keep(member, rest, blocks)
                if looked_at > BLOCKS_PER_TURN:
                    return None
            found.append(blocks)
        return found


def _apart(
    now_ms: int, requests: Sequence[Sequence[bytes]], changes_by_rest: Mapping[bytes, UserChanges]
) -> Iterator[Applied]:
    """What each of the requests that were read as one changes, the last request first. Additions and removals are not
    counted in these."""
    for users in reversed(requests):
        alike = [
            Alike(identity.encoded_platform_keys(user_ids) or (), changes_by_rest[rest])
            for rest, user_ids in users_by_rest(list(users)).items()
        ]
        yield Applied(now_ms, alike, (), (), Totals(len(users), 0, 0))
