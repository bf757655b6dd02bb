"""The warnings of an answer: what of a request was skipped, and why (source: contract, the tables of "POST
/rt-segment").

Their number and size are limited (source: contract-neighbours, "many warnings").
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from instantaudience.v1 import audience_pb2 as pb

from instantaudience_server.memberships.reading.entities import block_entity, delimited, request_entity, user_entity

BLOCK_MESSAGES = {
    pb.WARNING_CODE_SEGMENT_REQUIRED: "'seg_id' or 'seg_code' and 'member_id' are required",
    pb.WARNING_CODE_SEGMENT_AMBIGUOUS: "'seg_id' and 'seg_code' cannot be used together",
    pb.WARNING_CODE_INVALID_EXPIRATION: "'expiration' cannot be less than -1",
    pb.WARNING_CODE_UNKNOWN_SEGMENT: "Invalid segment: {segment}",
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: "Unauthorized segment: {segment}",
    pb.WARNING_CODE_INACTIVE_SEGMENT: "Inactive segment: {segment}",
}

USER_MESSAGES = {
    pb.WARNING_CODE_TOO_MANY_USERS: "Too many user_ids in request.",
    pb.WARNING_CODE_USER_ID_REQUIRED: "'user_id' is required and cannot be empty",
    pb.WARNING_CODE_SEG_BLOCK_REQUIRED: "'seg_block' is required",
    pb.WARNING_CODE_INVALID_DOMAIN: "Invalid domain: {user.domain}",
    pb.WARNING_CODE_INVALID_USER_ID: "Invalid user_id: {user.user_id}",
    pb.WARNING_CODE_TOO_MANY_SEGMENTS: "Too many segments for user_id: {user.user_id}.",
    pb.WARNING_CODE_NO_VALID_SEGMENTS: "No valid segments for user_id: {user.user_id}.",
    pb.WARNING_CODE_UNKNOWN_USER_ID: "Unknown user_id: {user.user_id}",
    pb.WARNING_CODE_SUPPRESSED_USER_ID: "Suppressed user_id: {user.user_id}",
}

NO_VALID_USERS = "No valid rt_segment in request."
LEFT_OUT = "{count} more warnings were left out."

MOST_WARNINGS = 10_000
"""The most warnings in an answer; also the most users in the entity of `NO_VALID_USERS`."""
MOST_BYTES = 2_000_000
"""About the most bytes of messages and encoded entities in an answer."""
MOST_REPEATED_BYTES = 3_000_000
"""The same, including the entity of `NO_VALID_USERS`. Codes, paths and framing add half a million at most, so that an
answer stays below 4 MB, the default limit of gRPC clients."""


_WARNINGS = b"\x1a"
"""The tag of ApplySegmentsResult.warnings."""
_MESSAGE, _ENTITY, _CODE, _PATH = b"\x0a", b"\x12", b"\x18", b"\x22"
"""The tags of ApplyWarning's fields."""
_LONG = 0x80
"""From this length on, a varint takes more than one byte."""
_SHORT = b"%b%%c%%b%b%%c%%b%b%%c%b%%c%%b" % (_MESSAGE, _ENTITY, _CODE, _PATH)
"""The format of a warning all of whose parts are shorter than `_LONG`, as most are. It takes half the time."""


class WarningForm(NamedTuple):
    """The parts of warnings beside their message: code and path (`places`), and `entities`."""

    places: bool
    entities: bool


COMPLETE = WarningForm(places=True, entities=True)
BARE = WarningForm(places=False, entities=False)


class Warnings:
    """The warnings of an answer, in order. Those beyond the limits are only counted.

    They are encoded at once: a message object for each would cost several times as much, and every part of a request
    may need a warning.
    """

    def __init__(self, form: WarningForm) -> None:
        self._form = form
        self._is_complete = form == COMPLETE
        self._kept: list[bytes] = []
        self._bytes = 0
        self._left_out = 0

    def __len__(self) -> int:
        """How many there are, including those that were left out."""
        return len(self._kept) + self._left_out

    @property
    def full(self) -> bool:
        """Whether further warnings are only counted."""
        return self._left_out > 0

    def leave_out(self, count: int) -> None:
        """Count warnings that are left out, once `full`."""
        self._left_out += count

    def skip_block(self, code: pb.WarningCode, user_index: int, index: int, block: pb.SegBlock) -> None:
        """Warn about a block."""
        if self._has_room():
            message = BLOCK_MESSAGES[code].format(segment=_segment_name(block))
            entity = block_entity(block) if self._form.entities else b""
            self._add(message, code, b"rt_segment[%d].seg_block[%d]" % (user_index, index), entity)

    def skip_user(
        self, code: pb.WarningCode, index: int, user: pb.RtSegment, blocks: Iterable[pb.SegBlock]
    ) -> Iterator[None]:
        """Warn about a user, with `blocks` in its entity. Yields as `user_entity` does."""
        if self._has_room():
            most_bytes = MOST_BYTES - self._bytes
            entity = (yield from user_entity(user, blocks, most_bytes)) if self._form.entities else b""
            self._add(USER_MESSAGES[code].format(user=user), code, b"rt_segment[%d]" % index, entity)

    def of_answer(self, invalid_users: Iterable[pb.RtSegment] | None) -> Generator[None, None, bytes]:
        """The warnings, encoded as fields of an ApplySegmentsResult.

        `invalid_users` are the users of a request without a valid one, else None. Yields as `user_entity` does.
        """
        warnings = list(self._kept)
        if self._left_out:
            text = LEFT_OUT.format(count=self._left_out).encode()
            warnings.append(self._warning(text, pb.WARNING_CODE_LEFT_OUT, b"", b""))
        if invalid_users is not None:
            shown = islice(invalid_users, MOST_WARNINGS) if self._form.entities else ()
            entity = yield from request_entity(shown, min(MOST_BYTES, MOST_REPEATED_BYTES - self._bytes))
            warnings.append(self._warning(NO_VALID_USERS.encode(), pb.WARNING_CODE_NO_VALID_USERS, b"", entity))
        return b"".join(warnings)

    def _has_room(self) -> bool:
        """Whether there is room for another warning; if not, it is counted as left out, as are all later ones."""
        if self._left_out or len(self._kept) >= MOST_WARNINGS:
            self._left_out += 1
            return False
        return True

    def _add(self, message: str, code: pb.WarningCode, path: bytes, entity: bytes | None) -> None:
        text = message.encode()
        size = 0 if entity is None else len(text) + len(entity)
        if entity is None or self._bytes + size > MOST_BYTES:
            self._left_out += 1
            return
        self._bytes += size
        self._kept.append(self._warning(text, code, path, entity))

    def _warning(self, text: bytes, code: pb.WarningCode, path: bytes, entity: bytes) -> bytes:
        if len(text) < _LONG and len(entity) < _LONG and path and self._is_complete:
            return delimited(_WARNINGS, _SHORT % (len(text), text, len(entity), entity, code, len(path), path))
        warning = delimited(_MESSAGE, text)
        if self._form.entities:
            warning += delimited(_ENTITY, entity)
        if self._form.places:
            warning += _CODE + bytes([code]) + (delimited(_PATH, path) if path else b"")
        return delimited(_WARNINGS, warning)


def _segment_name(block: pb.SegBlock) -> str:
    if block.HasField("seg_id"):
        return str(block.seg_id)
    return f"{block.seg_code} of member {block.member_id}"
