"""Matches the service's answers with the records of a file."""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from instantaudience import REMOVE, StreamResult
from instantaudience.v1.audience_pb2 import SegBlock, StreamSegmentsRequest, WarningCode

from instantaudience_server.sending.records import Batch, Place, Record, SourceError
from instantaudience_server.sending.rejects import Rejects

MOST_UNREADABLE = 100_000
"""After this many unreadable records in a row, the file is considered not to be one of users, and sending stops."""
UNREADABLE = "UNREADABLE"
"""The reason for records that could not be sent; other reasons are those of the service's warnings and errors."""
NO_VALID_SEGMENTS = "NO_VALID_SEGMENTS"
"""Says nothing new: each membership that it is about has a reason of its own. The user may have others, in another
request."""
LEFT_OUT = "LEFT_OUT"
"""The reason for what comes behind the last warning that is told, where more were left out: it may be refused."""
SUPPRESSED = "SUPPRESSED_USER_ID"
"""The reason that refuses a user's memberships but those that it leaves (source: contract-neighbours, "Privacy")."""

_PATH = re.compile(r"rt_segment\[(\d+)\](?:\.seg_block\[(\d+)\])?")


@dataclass
class Totals:
    """Totals of a file: users and memberships that were accepted, and memberships that were refused, by reason."""

    users: int = 0
    memberships: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Refusal:
    block: int | None
    """Index of the membership; None for all memberships of the user that have no reason of their own, except those that
    a suppressed user leaves."""
    reason: str
    message: str


class Following:
    """Hands out requests in the order of the file, and processes the answers. Requests may be consumed in another
    thread.

    Attributes:
        place: everything before it is answered; a later run continues there.
        totals: counts of what is before `place`.
        failure: why reading stopped before the end of the file, if it did.
    """

    def __init__(self, rejects: Rejects, totals: Totals, place: Place) -> None:
        self.place = place
        self.totals = totals
        self.failure: SourceError | None = None
        self._rejects = rejects
        self._batches: deque[Batch] = deque()
        self._answered = 0
        self._refusals: defaultdict[int, list[_Refusal]] = defaultdict(list)

    def requests(self, batches: Iterable[Batch]) -> Iterator[StreamSegmentsRequest]:
        """The requests of batches, up to the end of the file or to where it cannot be read any further."""
        unreadable = 0
        try:
            for batch in batches:
                self._batches.append(batch)
                if batch.users:
                    unreadable = 0
                    yield batch.request
                    continue
                records = batch.read()
                unreadable += len(records)
                if unreadable >= MOST_UNREADABLE:
                    raise SourceError(f"the last {unreadable:,} records hold no user: {records[-1].problem}")
        except SourceError as error:
            self.failure = error

    def take(self, result: StreamResult) -> None:
        """Process an answer."""
        user, end = result.first_user, result.first_user + result.users
        if result.error is not None:
            reason = result.error.reason or result.error.code.name
            self._refuse(range(user, end), _Refusal(None, reason, result.error.message))
        elif result.result is not None:
            for warning in result.result.warnings:
                reason = WarningCode.Name(warning.code).removeprefix("WARNING_CODE_")
                if (found := _PATH.fullmatch(warning.path)) is not None and reason != NO_VALID_SEGMENTS:
                    user, block = int(found[1]), None if found[2] is None else int(found[2])
                    self._refuse([user], _Refusal(block, reason, warning.message))
                elif reason == LEFT_OUT:
                    self._refuse(range(user, end), _Refusal(None, reason, warning.message))
        self._settle(end - result.continues)

    def finish(self) -> None:
        """Called after the last answer."""
        self._settle(None)

    def _refuse(self, users: Iterable[int], refusal: _Refusal) -> None:
        for user in users:
            self._refusals[user].append(refusal)

    def _settle(self, before: int | None) -> None:
        """Count the batches before a user (None: all), and record what was refused of them."""
        while self._batches:
            batch = self._batches[0]
            end = self._answered + batch.users
            if before is not None and end > before:
                return
            self._batches.popleft()
            # Most files have no refusals, and checking each user takes time.
            is_refused = self._refusals and not self._refusals.keys().isdisjoint(range(self._answered, end))
            if batch.is_readable and not is_refused:
                self.totals.users += batch.users
                self.totals.memberships += batch.memberships
            else:
                self._count_each(batch)
            self._answered = end
            self.place = batch.end

    def _count_each(self, batch: Batch) -> None:
        user = self._answered
        for record in batch.read():
            if record.problem:
                self._count(record, [_Refusal(None, UNREADABLE, record.problem)])
            else:
                blocks = batch.request.rt_segment[user - self._answered].seg_block
                self._count(record, self._refusals.pop(user, []), blocks)
                user += 1

    def _count(self, record: Record, refusals: list[_Refusal], blocks: Sequence[SegBlock] = ()) -> None:
        refused = {each.block: each for each in refusals if each.block is not None}
        if (others := next((each for each in refusals if each.block is None), None)) is not None:
            for index in range(record.memberships):
                if others.reason != SUPPRESSED or blocks[index].expiration != REMOVE:
                    refused.setdefault(index, others)
        taken = record.memberships - len(refused)
        self.totals.users += taken > 0
        self.totals.memberships += taken
        self.totals.refused.update(each.reason for each in refused.values())
        self._write(record, refused)

    def _write(self, record: Record, refused: Mapping[int, _Refusal]) -> None:
        if len(record.rows) == record.memberships:
            for index, row in enumerate(record.rows):
                if (refusal := refused.get(index)) is not None:
                    self._rejects.write(row, refusal.reason, refusal.message)
            return
        for reason, message in dict.fromkeys((each.reason, each.message) for each in refused.values()):
            self._rejects.write(record.rows[0], reason, message)
