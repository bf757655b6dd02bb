"""Reads requests to apply memberships: what is valid, what changes, what is skipped (source: contract, "POST
/rt-segment")."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Applied, Refusal, Totals
from instantaudience_server.catalog.access import Caller, find_segment
from instantaudience_server.catalog.catalog import Catalog, Segment
from instantaudience_server.memberships import identity, rules
from instantaudience_server.memberships.by_blocks import ByBlocks, KeySet, users_by_blocks
from instantaudience_server.memberships.known_blocks import Blocks, KnownBlocks, Repeated, blocks_of
from instantaudience_server.memberships.skipped import COMPLETE, WarningForm, Warnings
from instantaudience_server.memberships.wire import check_users, decode_user, split_user, users_by_rest
from instantaudience_server.store.interface import REMOVE, Alike, Changes, UserChanges

WARNINGS_PER_TURN = 100
"""Warnings that a call may make before other calls get their turn of the event loop."""
BLOCKS_PER_TURN = 1000
"""Blocks of lists not known yet that it may look at before that, about."""

_UNKNOWN = pb.WARNING_CODE_UNKNOWN_SEGMENT


class _Faultless(NamedTuple):
    """Blocks without fault: how many there are, and what they change in this request."""

    valid: int
    changes: UserChanges


class Reading:
    """A request while it is read, or several of one member. The ends of memberships count from `now_ms` (Unix time in
    ms).

    `known` has the lists of blocks that were read before; `platform_keys` leads from the keys of external IDs to users.
    Users whose keys are among those `suppressed` are added to nothing.
    The counts and `warnings`, which have what `form` says, grow as users are read.
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
        self.now_ms = now_ms
        self._platform_keys = platform_keys
        self._suppressed = suppressed
        self._faultless: dict[bytes, _Faultless] = {}
        self._unknown: set[int | tuple[int, str]] = set()
        """IDs of segments that there are not, and codes with their members'."""
        self.users = 0
        self.segments = 0
        self._looked_at = 0
        """Blocks of lists that were not known."""
        self.calls = 1
        self.warnings = Warnings(form)
        self._changes: dict[bytes, UserChanges] = {}
        """By user. Users with the same changes share one object."""
        self._repeated = Repeated()
        self._alike: Changes | None = None
        self._key_set: KeySet | None = None
        self._totals: Totals | None = None
        self._unchanged: set[bytes] = set()
        self._refusals: list[Refusal] = []
        self._skipped: Counter[pb.WarningCode] = Counter()
        self._requests: Sequence[Sequence[bytes]] = ()
        self._changes_by_rest: dict[bytes, UserChanges] = {}
        """Of requests that were read together."""

    def read(self, users: Sequence[bytes]) -> Generator[None, None, None]:
        """Read encoded users, and note what changes; yields after so many warnings or blocks that other calls should
        get their turn.

        Raises:
            AudienceError: SYNTAX, when a user cannot be decoded.
        """
        faultless, note = self._faultless, self._changes.setdefault
        stop, last_block = len(self.warnings) + WARNINGS_PER_TURN, self._looked_at + BLOCKS_PER_TURN
        for index, encoded in enumerate(users):
            # Most users are on the platform and have the blocks of an earlier one: their ID is all there is to check.
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
                self._skipped[pb.WARNING_CODE_TOO_MANY_USERS] += len(users) - index
                return
            yield from self._read_closely(index, encoded, rest)
            if len(self.warnings) >= stop or self._looked_at >= last_block:
                yield
                stop, last_block = len(self.warnings) + WARNINGS_PER_TURN, self._looked_at + BLOCKS_PER_TURN

    def read_together(self, requests: list[Sequence[bytes]]) -> Sequence[tuple[int, int]] | None:
        """Read the encoded users of several requests at once, if all are such as most are: of platform users, none
        twice, with faultless blocks, most of which are known. Users that stand in several requests must have the same
        blocks in all.

        Returns how many users each request has, and valid blocks; None, and nothing is noted, for any other.

        Raises:
            AudienceError: SYNTAX, when a user cannot be decoded.
        """
        sizes = list(map(len, requests))
        if self._external_member_id is not None or not 0 < min(sizes) <= max(sizes) <= self._most_users:
            return None
        alike = self._read_alike(requests)
        if alike is None:
            return None
        found, blocks = alike
        self.calls = len(requests)
        self._requests = requests
        valid = [each.valid for each in blocks]
        if len(set(valid)) == 1:
            return [(size, size * valid[0]) for size in sizes]
        return list(zip(sizes, found.segments(valid), strict=True))

    def _read_alike(self, requests: list[Sequence[bytes]]) -> tuple[ByBlocks, Sequence[Blocks]] | None:
        """Read the users of requests by what follows their IDs; the blocks that are there."""
        found = users_by_blocks(requests)
        blocks = []
        for rest in found.rests:
            faultless = self._faultless_blocks(rest)
            if faultless is None or self._looked_at > BLOCKS_PER_TURN:
                return None
            blocks.append(faultless)
        all_keys = found.keys
        if all_keys is None or not all(map(self._suppressed.isdisjoint, all_keys if self._suppressed else ())):
            return None
        adds = removes = 0
        alike = []
        for rest, each, size, keys in zip(found.rests, blocks, found.sizes, all_keys, strict=True):
            self.users += size
            self.segments += each.valid * size
            adds += each.adds * size
            removes += each.removes * size
            changes = self._changes_by_rest[rest] = each.changes(self.now_ms)
            alike.append(Alike(keys, changes))
        self._alike, self._key_set = alike, found.key_set
        self._totals = Totals(self.users, adds, removes)
        return found, blocks

    @property
    def key_set(self) -> KeySet:
        """The keys of the users that change, once all users are read."""
        if self._key_set is None:
            self._key_set = frozenset(self._changes)
        return self._key_set

    @property
    def changes(self) -> Changes:
        """What to write, once all users are read."""
        if self._alike is None:
            self._repeated.merge(self._changes)
            by_changes = groupby(self._changes, self._changes.__getitem__)
            self._alike = [Alike(list(keys), user_changes) for user_changes, keys in by_changes]
        return self._alike

    @property
    def applied(self) -> Applied:
        """What is counted, once all users are read and applied."""
        totals = self._totals or self._count()
        apart = self._apart if self.calls > 1 else None
        refused = self._unchanged, self._refusals
        return Applied(self.now_ms, self.changes, *refused, totals, self.calls, self._skipped, apart)

    def _apart(self) -> Iterator[Applied]:
        """What each of the requests that were read together changes; the last one first."""
        for users in reversed(self._requests):
            alike = [
                Alike(identity.encoded_platform_keys(user_ids) or (), self._changes_by_rest[rest])
                for rest, user_ids in users_by_rest(list(users)).items()
            ]
            yield Applied(self.now_ms, alike, (), (), Totals(len(users), 0, 0))

    def _count(self) -> Totals:
        users = len(self._unchanged and self._unchanged - self._changes.keys())
        adds = removes = 0
        for keys, changes in self.changes:
            users += len(keys)
            for end, values in changes.items():
                if end == REMOVE:
                    removes += len(keys) * len(values)
                else:
                    adds += len(keys) * len(values)
        return Totals(users, adds, removes)

    def _faultless_blocks(self, rest: bytes) -> Blocks | None:
        """The blocks in what follows a user's ID, if they are all valid and usable, and nothing else is there."""
        known = self._known.find(self._member, rest)
        if known is not None:
            return known
        user = decode_user(rest)
        most = min(self._most_blocks, BLOCKS_PER_TURN)
        if user.HasField("user_id") or user.domain or not 0 < len(user.seg_block) <= most:
            return None
        self._looked_at += len(user.seg_block)
        last: dict[int, tuple[int, int]] = {}
        blocks = blocks_of(self._read_blocks(0, user.seg_block, 0, last), last)
        if self.warnings:
            self.warnings.clear()
            self._refusals.clear()
            self._skipped.clear()
            return None
        self._known.keep(self._member, rest, blocks)
        return blocks

    def _recall(self, rest: bytes) -> _Faultless | None:
        """What is known of the blocks in what follows a user's ID, from earlier requests."""
        known = self._known.find(self._member, rest)
        if known is None:
            return None
        blocks = self._faultless[rest] = _Faultless(known.valid, known.changes(self.now_ms))
        return blocks

    def _read_closely(self, index: int, encoded: bytes, rest: bytes) -> Iterator[None]:
        """Read a user, whatever may be wrong with it; `rest` is what follows its ID. Yields as `read` does."""
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
        blocks = yield from self._read_list(index, user.seg_block, resolve=known is not None)
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
            self._refusals.append(Refusal(pb.WARNING_CODE_UNKNOWN_USER_ID, user))
        elif not blocks.by_lifetime:
            self._unchanged.add(known)
        elif known in self._suppressed and blocks.adds:
            yield from self._suppress(index, user, known, blocks)
        else:
            changes = blocks.changes(self.now_ms)
            self._change(known, changes)
            if len(self.warnings) == skipped and self._catalog.version == version:
                self._remember(rest, blocks, changes)

    def _suppress(self, index: int, user: pb.RtSegment, key: bytes, blocks: Blocks) -> Iterator[None]:
        """Refuse what a suppressed user would join; what it leaves, it leaves."""
        yield from self._skip_user(pb.WARNING_CODE_SUPPRESSED_USER_ID, index, user, user.seg_block)
        self._refusals.append(Refusal(pb.WARNING_CODE_SUPPRESSED_USER_ID, user))
        left = blocks.by_lifetime.get(REMOVE)
        if left:
            self._change(key, {REMOVE: left})

    def _skip_user(
        self, code: pb.WarningCode, index: int, user: pb.RtSegment, blocks: Iterable[pb.SegBlock]
    ) -> Iterator[None]:
        """Skip a user, or `blocks` of it, for what the contract's checks found."""
        yield from self.warnings.skip_user(code, index, user, blocks)
        self._skipped[code] += 1

    def _remember(self, rest: bytes, blocks: Blocks, changes: UserChanges) -> None:
        """Keep a faultless list of blocks for the platform users to come."""
        user = decode_user(rest)
        if self._external_member_id is None and not user.HasField("user_id") and not user.domain:
            self._faultless[rest] = _Faultless(blocks.valid, changes)
            self._known.keep(self._member, rest, blocks)

    def _read_list(
        self, user_index: int, blocks: Sequence[pb.SegBlock], *, resolve: bool
    ) -> Generator[None, None, Blocks]:
        """Check the blocks that count. Unless told to `resolve`, do not ask the catalog: they change nothing then."""
        valid = 0
        last: dict[int, tuple[int, int]] = {}
        end = min(len(blocks), self._most_blocks)
        for start in range(0, end, BLOCKS_PER_TURN):
            if start:
                yield
            piece = blocks[start : min(start + BLOCKS_PER_TURN, end)]
            valid += self._read_blocks(user_index, piece, start, last, resolve=resolve)
        return blocks_of(valid, last)

    def _read_blocks(
        self,
        user_index: int,
        blocks: Sequence[pb.SegBlock],
        start: int,
        last: dict[int, tuple[int, int]],
        *,
        resolve: bool = True,
    ) -> int:
        """Check blocks, the first of which stands at `start`, and note in `last` what the last one of each segment says
        (segment ID → (expiration, value)); how many are valid."""
        valid = 0
        unknown = self._unknown
        for index, block in enumerate(blocks, start):
            code = rules.check_block(block)
            if code:
                self.warnings.skip_block(code, user_index, index, block)
                self._skipped[code] += 1
                continue
            valid += 1
            if not resolve:
                continue
            name = block.seg_id or (block.member_id, block.seg_code)
            segment = _UNKNOWN if name in unknown else find_segment(self._catalog, self._member, block)
            if isinstance(segment, Segment):
                expiration = rules.expiration_of(_expiration(block), segment, self._member)
                last[segment.id] = (expiration, block.value)
            else:
                self.warnings.skip_block(segment, user_index, index, block)
                self._refusals.append(Refusal(segment, block))
                if segment == _UNKNOWN and name not in unknown:
                    unknown.add(name)
                    if block.seg_id:  # who names one that there is not may well name many
                        unknown |= self._catalog.unknown(
                            each.seg_id for each in blocks[index - start + 1 :] if each.seg_id
                        )
        return valid

    def _change(self, key: bytes, changes: UserChanges) -> None:
        """Note a user's changes; where it stands in the request before, the later one wins."""
        self._repeated.add(self._changes, key, changes)


def _expiration(block: pb.SegBlock) -> int | None:
    expiration = block.expiration
    return expiration if expiration or block.HasField("expiration") else None
