"""Checks and resolves the blocks of a user (source: contract, "POST /rt-segment")."""

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
"""About how many blocks are checked before the event loop may run other calls. Blocks of known lists cost nothing."""

_UNKNOWN = pb.WARNING_CODE_UNKNOWN_SEGMENT


class BlockReader:
    """Checks the blocks of a member's request.

    `warnings` receives a warning for every block that is skipped. `refusals` collects the blocks that the catalog
    refuses (unknown, unauthorized, inactive segments), `skipped` counts those that break other rules of the contract.
    """

    def __init__(self, catalog: Catalog, member: Member, warnings: Warnings) -> None:
        self._catalog = catalog
        self._member = member
        self._most_blocks = member.limits.segments_per_user
        self._warnings = warnings
        self._unknown: set[int | tuple[int, str]] = set()
        """Unknown segments, by ID or by owner's member ID and code."""
        self.refusals: list[Refusal] = []
        self.skipped: Counter[pb.WarningCode] = Counter()

    def read(self, user_index: int, blocks: Sequence[pb.SegBlock], *, resolve: bool) -> Generator[None, None, Blocks]:
        """Check a user's blocks, up to its member's limit; yields where the event loop should run other calls.

        Without `resolve`, the catalog is not asked, and the blocks change nothing.
        """
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
        """As `read`, at once, for at most `BLOCKS_PER_TURN` blocks; warnings name the request's first user."""
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
        """Check blocks, the first of which has the index `start`; returns how many are valid.

        `last` receives what the last block of each segment says: segment ID → (expiration, value).
        """
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
                    if block.seg_id:  # a request with one unknown ID often has many: find all of them in one query
                        unknown |= self._catalog.unknown(
                            each.seg_id for each in blocks[index - start + 1 :] if each.seg_id
                        )
        return valid
