"""Reads one request to apply memberships: what is valid, what changes, what is skipped (source: contract, "POST
/rt-segment")."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server import rules
from instantaudience_server.access import Caller, find_segment
from instantaudience_server.catalog import Catalog, Segment
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.skipped import skip_block, skip_user
from instantaudience_server.store.interface import NEVER, REMOVE, UserChanges
from instantaudience_server.wire import User

MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class _Block:
    """A block that was read: what it changes, or the code of what is wrong with it.

    `valid` says whether it counts as read: what the catalog refuses still does.
    """

    block: pb.SegBlock
    valid: bool
    code: pb.WarningCode
    segment_id: int = 0
    value: int = 0
    end: int = NEVER


class Reading:
    """A request while it is read. The ends of its memberships count from `now_ms` (Unix time in ms).

    `platform_keys` leads from the keys of external IDs to users; `warnings` and the counts grow with each user.
    """

    def __init__(self, catalog: Catalog, caller: Caller, now_ms: int, platform_keys: dict[bytes, bytes]) -> None:
        self._catalog = catalog
        self._member = caller.member
        self._external_member_id = caller.member.external_member_id
        self._now_ms = now_ms
        self._platform_keys = platform_keys
        self._blocks: dict[bytes, _Block] = {}
        self._faultless: dict[tuple[bytes, ...], UserChanges] = {}
        self.users = 0
        self.segments = 0
        self.warnings: list[pb.Warning] = []
        self.changes: dict[bytes, UserChanges] = {}

    def read_user(self, index: int, user: User) -> None:
        """Check a user and its blocks, and note what changes.

        Raises:
            AudienceError: SYNTAX, when a block cannot be decoded.
        """
        key, code = rules.check_user(index, user, self._external_member_id)
        if code:
            skip_user(self.warnings, code, index, user, decode_blocks(user.seg_block))
            return
        blocks = tuple(user.seg_block)
        changes = self._faultless.get(blocks)
        if changes is None or self._external_member_id is not None:
            self._read_closely(index, user, key, blocks)
            return
        self.users += 1
        self.segments += len(blocks)
        self._change(key, changes)

    def _read_closely(self, index: int, user: User, key: bytes, encoded: tuple[bytes, ...]) -> None:
        """Read a user whose blocks are new, or who has an external ID."""
        known: bytes | None = key
        if self._external_member_id is not None and not user.domain:
            known = self._platform_keys.get(key)
        blocks = [self._block(block) for block in encoded[: rules.MOST_BLOCKS]]
        skipped = len(self.warnings)
        for position, block in enumerate(blocks):
            if block.code and not (block.valid and known is None):
                skip_block(self.warnings, block.code, index, position, block.block)
        left_out = encoded[rules.MOST_BLOCKS :]
        if left_out:
            code = pb.WARNING_CODE_TOO_MANY_SEGMENTS
            skip_user(self.warnings, code, index, user, decode_blocks(left_out))
        valid = sum(block.valid for block in blocks)
        if not valid:
            skip_user(self.warnings, pb.WARNING_CODE_NO_VALID_SEGMENTS, index, user, decode_blocks(encoded))
            return
        self.users += 1
        self.segments += valid
        if known is None:
            skip_user(self.warnings, pb.WARNING_CODE_UNKNOWN_USER_ID, index, user, decode_blocks(encoded))
            return
        changes = _changes_of(blocks)
        if len(self.warnings) == skipped:
            self._faultless[encoded] = changes
        if changes:
            self._change(known, changes)

    def _change(self, key: bytes, changes: UserChanges) -> None:
        """Note a user's changes; where it stands in the request before, the later one wins."""
        earlier = self.changes.get(key)
        self.changes[key] = changes if earlier is None else _merged(earlier, changes)

    def _block(self, encoded: bytes) -> _Block:
        block = self._blocks.get(encoded)
        if block is None:
            block = self._blocks[encoded] = self._read_block(decode_block(encoded))
        return block

    def _read_block(self, block: pb.SegBlock) -> _Block:
        code = rules.check_block(block)
        if code:
            return _Block(block, valid=False, code=code)
        segment = find_segment(self._catalog, self._member, block)
        if not isinstance(segment, Segment):
            return _Block(block, valid=True, code=segment)
        expiration = block.expiration if block.HasField("expiration") else self._member.default_expiration_minutes
        return _Block(block, True, rules.OK, segment.id, block.value, end_of(expiration, self._now_ms))


def end_of(expiration_minutes: int, now_ms: int) -> int:
    """The end of a membership that is written at `now_ms` (Unix time in ms): a Unix time in ms, NEVER or REMOVE."""
    if 0 < expiration_minutes <= rules.LONGEST_EXPIRATION_MINUTES:
        return now_ms + expiration_minutes * MS_PER_MINUTE
    return REMOVE if expiration_minutes == rules.LEAVE else NEVER


def decode_block(encoded: bytes) -> pb.SegBlock:
    """A block of a request.

    Raises:
        AudienceError: SYNTAX.
    """
    try:
        return pb.SegBlock.FromString(encoded)
    except DecodeError:
        raise AudienceError(Reason.SYNTAX, "The request holds a 'seg_block' that is not a readable SegBlock") from None


def decode_blocks(encoded: Iterable[bytes]) -> list[pb.SegBlock]:
    """Blocks of a request, as `decode_block` does."""
    return [decode_block(block) for block in encoded]


def _changes_of(blocks: Iterable[_Block]) -> UserChanges:
    """What blocks change; of a segment that stands twice, the last one wins."""
    last = {block.segment_id: block for block in blocks if not block.code}
    changes: dict[int, dict[int, int]] = {}
    for block in last.values():
        changes.setdefault(block.end, {})[block.segment_id] = block.value
    return changes


def _merged(earlier: UserChanges, later: UserChanges) -> UserChanges:
    again = {segment_id for values in later.values() for segment_id in values}
    merged = {
        end: {segment_id: value for segment_id, value in values.items() if segment_id not in again}
        for end, values in earlier.items()
    }
    for end, values in later.items():
        merged.setdefault(end, {}).update(values)
    return {end: values for end, values in merged.items() if values}
