"""Reads lists of blocks: which are valid, what they change, what is skipped (source: contract, "POST /rt-segment")."""

from collections import Counter
from collections.abc import Generator, Sequence

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.applied import Refusal
from instantaudience_server.catalog.access import find_segment
from instantaudience_server.catalog.catalog import Catalog, Member, Segment
from instantaudience_server.memberships.reading import rules
from instantaudience_server.memberships.reading.known_blocks import Blocks, blocks_of
from instantaudience_server.memberships.reading.skipped import Warnings

BLOCKS_PER_TURN = 1000
"""Blocks of lists not known yet that a call may look at before other calls get their turn of the event loop, about."""

_UNKNOWN = pb.WARNING_CODE_UNKNOWN_SEGMENT


class BlockReader:
    """Reads the blocks of a member's request. `warnings` get all that is skipped, `refusals` what the catalog does not
    let through; `skipped` counts the rest, which is against the contract's rules."""

    def __init__(self, catalog: Catalog, member: Member, warnings: Warnings) -> None:
        self._catalog = catalog
        self._member = member
        self._most_blocks = member.limits.segments_per_user
        self._warnings = warnings
        self._unknown: set[int | tuple[int, str]] = set()
        """IDs of segments that there are not, and codes with their members'."""
        self.refusals: list[Refusal] = []
        self.skipped: Counter[pb.WarningCode] = Counter()

    def read(self, user_index: int, blocks: Sequence[pb.SegBlock], *, resolve: bool) -> Generator[None, None, Blocks]:
        """Check the blocks that count; yields when other calls should get their turn. Unless told to `resolve`, do not
        ask the catalog: they change nothing then."""
        valid = 0
        last: dict[int, tuple[int, int]] = {}
        end = min(len(blocks), self._most_blocks)
        for start in range(0, end, BLOCKS_PER_TURN):
            if start:
                yield
            piece = blocks[start : min(start + BLOCKS_PER_TURN, end)]
            valid += self._read_piece(user_index, piece, start, last, resolve=resolve)
        return blocks_of(valid, last)

    def read_short(self, blocks: Sequence[pb.SegBlock]) -> Blocks:
        """Check blocks of the first user, `BLOCKS_PER_TURN` at most, at once."""
        last: dict[int, tuple[int, int]] = {}
        return blocks_of(self._read_piece(0, blocks, 0, last, resolve=True), last)

    def _read_piece(
        self,
        user_index: int,
        blocks: Sequence[pb.SegBlock],
        start: int,
        last: dict[int, tuple[int, int]],
        *,
        resolve: bool,
    ) -> int:
        """Check blocks, the first of which stands at `start`, and note in `last` what the last one of each segment says
        (segment ID → (expiration, value)); how many are valid."""
        valid = 0
        unknown = self._unknown
        for index, block in enumerate(blocks, start):
            code = rules.check_block(block)
            if code:
                self._warnings.skip_block(code, user_index, index, block)
                self.skipped[code] += 1
                continue
            valid += 1
            if not resolve:
                continue
            name = block.seg_id or (block.member_id, block.seg_code)
            segment = _UNKNOWN if name in unknown else find_segment(self._catalog, self._member, block)
            if isinstance(segment, Segment):
                sent = block.expiration if block.expiration or block.HasField("expiration") else None
                last[segment.id] = (rules.expiration_of(sent, segment, self._member), block.value)
            else:
                self._warnings.skip_block(segment, user_index, index, block)
                self.refusals.append(Refusal(segment, block))
                if segment == _UNKNOWN and name not in unknown:
                    unknown.add(name)
                    if block.seg_id:  # who names one that there is not may well name many
                        unknown |= self._catalog.unknown(
                            each.seg_id for each in blocks[index - start + 1 :] if each.seg_id
                        )
        return valid
