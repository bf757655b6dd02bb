"""Splits requests that are too large, and combines the results."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from operator import attrgetter
from typing import Any

from instantaudience.rules import (
    BATCH_USERS,
    BODY_BYTES,
    FRAME_BYTES,
    GETS_PER_SECOND,
    POSTS_PER_SECOND,
    QUOTA_PARTS,
    SEGMENTS_PER_USER,
    USERS_PER_CALL,
    USERS_PER_SECOND,
    WARNINGS_OF_USERS,
)
from instantaudience.v1.audience_pb2 import (
    ApplySegmentsRequest,
    ApplySegmentsResult,
    ApplyWarning,
    RequestCounts,
    RtSegment,
    StreamSegmentsRequest,
    WarningCode,
)

_BLOCKS = attrgetter("seg_block")
_PLACE = re.compile(r"rt_segment\[(\d+)\](?:\.seg_block\[(\d+)\])?")


@dataclass(frozen=True)
class Limits:
    """A member's limits; see `Limits` of catalog.proto. The defaults are the service's."""

    users_per_call: int = USERS_PER_CALL
    segments_per_user: int = SEGMENTS_PER_USER
    body_bytes: int = BODY_BYTES
    posts_per_second: int = POSTS_PER_SECOND
    users_per_second: int = USERS_PER_SECOND
    gets_per_second: int = GETS_PER_SECOND

    def check(self) -> None:
        """Check that there is room for something.

        Raises:
            ValueError: a limit is below 1, or NaN.
        """
        for name, limit in vars(self).items():
            if not limit >= 1:
                raise ValueError(f"{name} is {limit}: a limit is 1 at least")

    @property
    def users_per_request(self) -> int:
        """The maximum number of users in a request; one with more than a second's quota would never be accepted."""
        return min(self.users_per_call, self.users_per_second)

    @property
    def of_calls(self) -> "Limits":
        """The limits of unary calls. The service refuses one that exceeds what is left of a second, so one that needs
        all of it would be refused as long as anybody else of the member writes. Requests of streams wait there."""
        parts = max(1, min(QUOTA_PARTS, self.posts_per_second))
        return replace(self, users_per_call=max(1, min(self.users_per_call, self.users_per_second // parts)))

    @property
    def users_per_read(self) -> int:
        """The maximum number of users in a request that reads them."""
        return max(1, min(BATCH_USERS, self.gets_per_second // QUOTA_PARTS))

    @property
    def of_reads(self) -> "Limits":
        """The limits that requests which read are paced by: each of their users counts."""
        return replace(self, posts_per_second=self.gets_per_second, users_per_second=self.gets_per_second)


@dataclass
class Part:
    """A request. `places` has, for each of its users, the index of the caller's user and of the first block in it."""

    users: Sequence[RtSegment] = ()
    places: Sequence[tuple[int, int]] = ()
    given: StreamSegmentsRequest | None = None
    """The caller's own request, if it can be sent as it is."""
    continues: bool = False
    """Whether the next part has more blocks of the last user."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The fields of the caller's request, without the users, where this is a part of it."""

    def request(self, *, validate_only: bool = False) -> ApplySegmentsRequest:
        """The request for a unary call."""
        return ApplySegmentsRequest(rt_segment=self.users, validate_only=validate_only)

    def stream_request(self) -> StreamSegmentsRequest:
        """The request for a stream."""
        if self.given is not None:
            return self.given
        return StreamSegmentsRequest(rt_segment=self.users, **self.options)

    @property
    def keys(self) -> set[tuple[str, str]]:
        """The users that the request changes."""
        return {(user.domain.lower(), user.user_id.lower()) for user in self.users}


class Splitter:
    """Divides users, given one by one or in requests, into parts."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._users: list[RtSegment] = []
        self._places: list[tuple[int, int]] = []
        self._options: dict[str, Any] = {}
        self._bytes = 0
        self._count = 0

    def add(self, user: RtSegment) -> Iterator[Part]:
        """Add a user; yields the parts that are complete now."""
        index, self._count = self._count, self._count + 1
        for piece, first in _pieces(user, self._limits):
            size = piece.ByteSize() + FRAME_BYTES
            if len(self._users) >= self._limits.users_per_request or self._bytes + size > self._limits.body_bytes:
                yield from self.flush(index)
            self._users.append(piece)
            self._places.append((index, first))
            self._bytes += size

    def add_request(self, request: StreamSegmentsRequest) -> Iterator[Part]:
        """Add the users of a request; yields their parts: the request itself, if it is within the limits."""
        users = request.rt_segment
        if _fits(request, self._limits):
            first, self._count = self._count, self._count + len(users)
            if users:
                yield Part(users, list(zip(range(first, self._count), repeat(0))), request)
            return
        self._options = {field.name: value for field, value in request.ListFields() if field.name != "rt_segment"}
        for user in users:
            yield from self.add(user)
        yield from self.flush()

    def flush(self, following: int | None = None) -> Iterator[Part]:
        """The incomplete part, if there is one; before a piece of the user `following`, or between users."""
        if self._users:
            continues = self._places[-1][0] == following
            part = Part(self._users, self._places, continues=continues, options=self._options)
            self._users, self._places, self._bytes = [], [], 0
            yield part


def _fits(request: StreamSegmentsRequest, limits: Limits) -> bool:
    return (
        len(request.rt_segment) <= limits.users_per_request
        and request.ByteSize() <= limits.body_bytes
        and max(map(len, map(_BLOCKS, request.rt_segment)), default=0) <= limits.segments_per_user
    )


def split(users: Iterable[RtSegment], limits: Limits) -> list[Part]:
    """The requests for these users, in order; a single empty one if there are no users."""
    splitter = Splitter(limits)
    parts = [part for user in users for part in splitter.add(user)]
    return [*parts, *splitter.flush()] or [Part()]


def _pieces(user: RtSegment, limits: Limits) -> Iterator[tuple[RtSegment, int]]:
    """The user itself if it fits into a request, else parts of it that do; each with the index of its first block."""
    blocks = user.seg_block
    room = limits.body_bytes - FRAME_BYTES
    if len(blocks) <= limits.segments_per_user and user.ByteSize() <= room:
        yield user, 0
        return
    name: dict[str, Any] = {field: getattr(user, field) for field in ("user_id", "domain") if user.HasField(field)}
    bare_bytes = RtSegment(**name).ByteSize()
    piece, first, size = RtSegment(**name), 0, bare_bytes
    for index, block in enumerate(blocks):
        block_size = block.ByteSize() + FRAME_BYTES
        if piece.seg_block and (len(piece.seg_block) >= limits.segments_per_user or size + block_size > room):
            yield piece, first
            piece, first, size = RtSegment(**name), index, bare_bytes
        piece.seg_block.append(block)
        size += block_size
    yield piece, first


def joined(parts: Sequence[Part], results: Sequence[ApplySegmentsResult]) -> ApplySegmentsResult:
    """Combine the results of parts: counts are added, and paths refer to the caller's users.

    A user whose blocks were sent in several requests is counted once, and reported as skipped only if all of it was.
    """
    if len(parts) == 1 and not any(first for _, first in parts[0].places):
        return _moved(parts[0], results[0])
    valid: set[int] = set()
    pieces_of_valid = 0
    for part, result in zip(parts, results, strict=True):
        skipped = {_place(warning)[0] for warning in result.warnings if warning.code in WARNINGS_OF_USERS}
        taken = [place[0] for index, place in enumerate(part.places) if index not in skipped]
        valid.update(taken)
        pieces_of_valid += len(taken)
    users = sum(result.message.users_in_request for result in results) - (pieces_of_valid - len(valid))
    answer = ApplySegmentsResult(
        status="OK",
        message=RequestCounts(
            users_in_request=users,
            segments_in_request=sum(result.message.segments_in_request for result in results),
        ),
    )
    told: set[tuple[int, int]] = set()
    last: ApplyWarning | None = None
    for part, result in zip(parts, results, strict=True):
        for warning in _moved(part, result).warnings:
            if warning.code == WarningCode.WARNING_CODE_NO_VALID_USERS:
                last = warning
                continue
            user, block = _place(warning)
            if user is not None and block is None and warning.code != WarningCode.WARNING_CODE_TOO_MANY_SEGMENTS:
                if (warning.code in WARNINGS_OF_USERS and user in valid) or (user, warning.code) in told:
                    continue
                told.add((user, warning.code))
            answer.warnings.append(warning)
    if last is not None and not users:
        answer.warnings.append(last)
    return answer


def _moved(part: Part, result: ApplySegmentsResult) -> ApplySegmentsResult:
    """The result of a part, with paths that refer to the caller's users."""
    for warning in result.warnings:
        user, block = _place(warning)
        if user is not None and user < len(part.places):
            whose, first = part.places[user]
            warning.path = f"rt_segment[{whose}]" + ("" if block is None else f".seg_block[{first + block}]")
    return result


def _place(warning: ApplyWarning) -> tuple[int | None, int | None]:
    """The user and the block that a warning is about."""
    found = _PLACE.fullmatch(warning.path)
    if found is None:
        return None, None
    return int(found[1]), None if found[2] is None else int(found[2])
