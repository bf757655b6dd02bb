"""Reads a single request to apply memberships, whatever it contains (source: contract, "POST /rt-segment").

`together.py` reads regular requests faster; this module is the complete reader.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied, Refusal, Totals
from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.catalog import Catalog
from instantaudience_server.memberships.reading import identity, rules
from instantaudience_server.memberships.reading.blocks import BLOCKS_PER_TURN, BlockReader
from instantaudience_server.memberships.reading.known_blocks import Blocks, KnownBlocks, Repeated
from instantaudience_server.memberships.reading.skipped import COMPLETE, WarningForm, Warnings
from instantaudience_server.memberships.reading.wire import check_users, decode_user, split_user
from instantaudience_server.store.interfaces.memberships import REMOVE, Alike, Changes, UserChanges

WARNINGS_PER_TURN = 20
"""How many warnings are made before the event loop may run other calls."""


class _Faultless(NamedTuple):
    """A list of blocks without warnings: how many there are, and what they change in this request."""

    valid: int
    changes: UserChanges


class Reading:
    """A request while it is being read. Lifetimes of memberships start at `now_ms` (Unix time in ms).

    `known` has the lists of blocks from earlier requests. `platform_keys` maps the keys of external IDs to those of
    platform users. Users whose keys are `suppressed` are added to nothing. `form` says which parts warnings have.
    `users` and `segments` (valid ones) and `warnings` grow as users are read.
    """

    def __init__(
        self,
        catalog: Catalog,
        known: KnownBlocks,
        caller: Caller,
        now_ms: int,
        platform_keys: Mapping[bytes, bytes],
        suppressed: frozenset[bytes] = frozenset(),
        *,
        form: WarningForm = COMPLETE,
    ) -> None:
        self._catalog = catalog
        self._known = known
        self._member = caller.member
        self._external_member_id = caller.member.external_member_id
        self._most_users = caller.member.limits.users_per_call
        self._most_blocks = caller.member.limits.segments_per_user
        self._now_ms = now_ms
        self._platform_keys = platform_keys
        self._suppressed = suppressed
        self.users = 0
        self.segments = 0
        self.warnings = Warnings(form)
        self._blocks = BlockReader(catalog, caller.member, self.warnings)
        self._looked_at = 0
        """How many blocks were looked at that were not in a known list."""
        self._faultless: dict[bytes, _Faultless] = {}
        self._changes: dict[bytes, UserChanges] = {}
        """The changes by user key. Users with the same changes share one object."""
        self._repeated = Repeated()
        self._unchanged: set[bytes] = set()

    def read(self, users: Sequence[bytes]) -> Generator[None, None, None]:
        """Read encoded users and collect their changes; yields where the event loop should run other calls.

        Raises:
            AudienceError: SYNTAX, when a user cannot be decoded.
        """
        faultless, note = self._faultless, self._changes.setdefault
        stop, last_block = len(self.warnings) + WARNINGS_PER_TURN, self._looked_at + BLOCKS_PER_TURN
        for index, encoded in enumerate(users):
            # Most users have platform IDs and the same blocks as an earlier user: only the ID is left to check.
            user_id, rest = split_user(encoded)
            blocks = faultless.get(rest) or self._recall(rest)
            if blocks is not None and index < self._most_users:
                key = identity.encoded_platform_key(user_id)
                if key is not None and key not in self._suppressed:
                    self.users += 1
                    self.segments += blocks.valid
                    if note(key, blocks.changes) is not blocks.changes:
                        self._change(key, blocks.changes)
                    continue
            if self.warnings.full and index >= self._most_users:
                check_users(users, index)
                self.warnings.leave_out(len(users) - index)
                self._blocks.skipped[pb.WARNING_CODE_TOO_MANY_USERS] += len(users) - index
                return
            yield from self._read_closely(index, encoded, rest)
            if len(self.warnings) >= stop or self._looked_at >= last_block:
                yield
                stop, last_block = len(self.warnings) + WARNINGS_PER_TURN, self._looked_at + BLOCKS_PER_TURN

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the users whose memberships change, once all users are read."""
        return frozenset(self._changes)

    def applied(self) -> Applied:
        """What changes and what is counted, once all users are read."""
        self._repeated.merge(self._changes)
        by_changes = groupby(self._changes, self._changes.__getitem__)
        changes = [Alike(list(keys), user_changes) for user_changes, keys in by_changes]
        unchanged = self._unchanged and self._unchanged - self._changes.keys()
        totals = _totals(changes, len(unchanged))
        return Applied(self._now_ms, changes, unchanged, self._blocks.refusals, totals, skipped=self._blocks.skipped)

    def _recall(self, rest: bytes) -> _Faultless | None:
        """The blocks that `rest` (a user's message without the ID) holds, if an earlier request had the same."""
        known = self._known.find(self._member, rest)
        if known is None:
            return None
        blocks = self._faultless[rest] = _Faultless(known.valid, known.changes(self._now_ms))
        return blocks

    def _read_closely(self, index: int, encoded: bytes, rest: bytes) -> Iterator[None]:
        """Decode and check a user; `rest` is its message without the ID. Yields as `read` does."""
        user = decode_user(encoded)
        self._looked_at += len(user.seg_block)
        key, code = rules.check_user(index, user, self._external_member_id, self._most_users)
        if code:
            yield from self._skip_user(code, index, user, user.seg_block)
            return
        known: bytes | None = key
        if self._external_member_id is not None and not user.domain:
            known = self._platform_keys.get(key)
        skipped, version = len(self.warnings), self._catalog.version
        blocks = yield from self._blocks.read(index, user.seg_block, resolve=known is not None)
        if len(user.seg_block) > self._most_blocks:
            left_out = islice(user.seg_block, self._most_blocks, None)
            yield from self._skip_user(pb.WARNING_CODE_TOO_MANY_SEGMENTS, index, user, left_out)
        if not blocks.valid:
            yield from self._skip_user(pb.WARNING_CODE_NO_VALID_SEGMENTS, index, user, user.seg_block)
            return
        self.users += 1
        self.segments += blocks.valid
        if known is None:
            yield from self.warnings.skip_user(pb.WARNING_CODE_UNKNOWN_USER_ID, index, user, user.seg_block)
            self._blocks.refusals.append(Refusal(pb.WARNING_CODE_UNKNOWN_USER_ID, user))
        elif not blocks.by_lifetime:
            self._unchanged.add(known)
        elif known in self._suppressed and blocks.adds:
            yield from self._suppress(index, user, known, blocks)
        else:
            changes = blocks.changes(self._now_ms)
            self._change(known, changes)
            if len(self.warnings) == skipped and self._catalog.version == version:
                self._remember(rest, blocks, changes)

    def _suppress(self, index: int, user: pb.RtSegment, key: bytes, blocks: Blocks) -> Iterator[None]:
        """Refuse the additions of a suppressed user; its removals are applied."""
        yield from self._skip_user(pb.WARNING_CODE_SUPPRESSED_USER_ID, index, user, user.seg_block)
        self._blocks.refusals.append(Refusal(pb.WARNING_CODE_SUPPRESSED_USER_ID, user))
        left = blocks.by_lifetime.get(REMOVE)
        if left:
            self._change(key, {REMOVE: left})

    def _skip_user(
        self, code: pb.WarningCode, index: int, user: pb.RtSegment, blocks: Iterable[pb.SegBlock]
    ) -> Iterator[None]:
        """Warn that a user, or some of its `blocks`, break a rule of the contract, and count that."""
        yield from self.warnings.skip_user(code, index, user, blocks)
        self._blocks.skipped[code] += 1

    def _remember(self, rest: bytes, blocks: Blocks, changes: UserChanges) -> None:
        """Remember a list of blocks without warnings for later users with platform IDs."""
        user = decode_user(rest)
        if self._external_member_id is None and not user.HasField("user_id") and not user.domain:
            self._faultless[rest] = _Faultless(blocks.valid, changes)
            self._known.keep(self._member, rest, blocks)

    def _change(self, key: bytes, changes: UserChanges) -> None:
        """Add a user's changes; where the request has the user before, later blocks win."""
        self._repeated.add(self._changes, key, changes)


def _totals(changes: Changes, users: int) -> Totals:
    """Count the users, additions and removals of `changes`; `users` is the number of valid users without changes."""
    adds = removes = 0
    for keys, user_changes in changes:
        users += len(keys)
        for end, values in user_changes.items():
            if end == REMOVE:
                removes += len(keys) * len(values)
            else:
                adds += len(keys) * len(values)
    return Totals(users, adds, removes)
