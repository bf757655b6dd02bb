"""The counters of a job, and its log lines (source: contract-neighbours, "Batch Segment Service", "Job")."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from heapq import nsmallest
from typing import Any

LONGEST_INPUT = 1000
"""The most characters of an input line that an error line quotes."""
MOST_LOGGED_SEGMENTS = 200
"""The most segments in `segment_log_lines`, of those added and of those removed."""
MOST_DIFFERENT = 100_000
"""The most distinct segments that a job remembers for each counter. Further ones are neither counted nor listed in
`segment_log_lines`; their memberships are counted."""


class Count(StrEnum):
    """A counter. Those in `SEGMENTS` count distinct segments, `NUM_VALID` counts memberships, the others lines."""

    NUM_VALID = "num_valid"
    NUM_VALID_USER = "num_valid_user"
    NUM_INVALID_USER = "num_invalid_user"
    NUM_INVALID_FORMAT = "num_invalid_format"
    NUM_INVALID_SEGMENT = "num_invalid_segment"
    NUM_UNAUTH_SEGMENT = "num_unauth_segment"
    NUM_INACTIVE_SEGMENT = "num_inactive_segment"
    NUM_PAST_EXPIRATION = "num_past_expiration"
    NUM_INVALID_TIMESTAMP = "num_invalid_timestamp"
    NUM_OTHER_ERROR = "num_other_error"


SEGMENTS = (
    Count.NUM_INVALID_SEGMENT,
    Count.NUM_UNAUTH_SEGMENT,
    Count.NUM_INACTIVE_SEGMENT,
    Count.NUM_PAST_EXPIRATION,
)


class Counters:
    """The counters of a job up to a position in its file.

    `num_lines` counts lines (but for empty ones) or records, `num_bytes` the bytes of content.
    """

    def __init__(self, most_error_lines: int) -> None:
        self.num_lines = 0
        self.num_bytes = 0
        self.most_error_lines = most_error_lines
        self.added: dict[int, int] = {}
        self.removed: dict[int, int] = {}
        """Segment ID → how many memberships."""
        self._counts: Counter[Count] = Counter()
        self._different: dict[Count, set[int]] = {count: set() for count in SEGMENTS}
        """Counter → the segments counted, as numbers: IDs, or hashes of codes."""
        self._error_lines: list[str] = []

    def __getitem__(self, count: Count) -> int:
        """The value of a counter."""
        different = self._different.get(count)
        return self._counts[count] if different is None else len(different)

    @property
    def full(self) -> bool:
        """Whether no further error line is kept."""
        return len(self._error_lines) >= self.most_error_lines

    def add(self, count: Count, number: int = 1) -> None:
        """Add to a counter other than those in `SEGMENTS`."""
        self._counts[count] += number

    def add_segment(self, count: Count, number: int) -> None:
        """Count a segment, given by its ID or the hash of its code, unless it was counted before."""
        different = self._different[count]
        if len(different) < MOST_DIFFERENT:
            different.add(number)

    def log(self, count: Count, line: str, reason: str = "") -> None:
        """Keep an error line, where there is room."""
        if not self.full:
            text = line[:LONGEST_INPUT].replace("\n", " ")
            self._error_lines.append(f"{count}-{text} {reason}" if reason else f"{count}-{text}")

    def add_memberships(self, added: Mapping[int, int], removed: Mapping[int, int]) -> None:
        """Count memberships that were written: segment ID → how many were added, and removed."""
        _merge(self.added, added)
        _merge(self.removed, removed)
        self._counts[Count.NUM_VALID] += sum(added.values()) + sum(removed.values())

    def merge(self, later: "Counters") -> None:
        """Add the counters of the lines that follow."""
        self.num_lines += later.num_lines
        self.num_bytes += later.num_bytes
        self._counts.update(later._counts)
        for count, numbers in later._different.items():
            for number in numbers:
                self.add_segment(count, number)
        _merge(self.added, later.added)
        _merge(self.removed, later.removed)
        self._error_lines += later._error_lines[: self.most_error_lines - len(self._error_lines)]

    @property
    def error_log_lines(self) -> str:
        """The first error lines, at most `most_error_lines`."""
        return "\n".join(self._error_lines)

    @property
    def segment_log_lines(self) -> str:
        """The segments to which most memberships were added, and from which most were removed."""
        return "\n".join(["added:", *_largest(self.added), "removed:", *_largest(self.removed)])

    def values(self) -> dict[str, int]:
        """All counters by their names."""
        return {count.value: self[count] for count in Count}

    def to_json(self) -> dict[str, Any]:
        """The complete state, for `from_json`."""
        return {
            "num_lines": self.num_lines,
            "num_bytes": self.num_bytes,
            "most_error_lines": self.most_error_lines,
            "added": list(self.added.items()),
            "removed": list(self.removed.items()),
            "counts": {count.value: number for count, number in self._counts.items()},
            "different": {count.value: sorted(numbers) for count, numbers in self._different.items() if numbers},
            "error_lines": self._error_lines.copy(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Counters":
        """The counters with the state of a `to_json`."""
        counters = cls(stored["most_error_lines"])
        counters.num_lines = stored["num_lines"]
        counters.num_bytes = stored["num_bytes"]
        counters.added = dict(stored["added"])
        counters.removed = dict(stored["removed"])
        counters._counts.update({Count(name): number for name, number in stored["counts"].items()})
        for name, numbers in stored["different"].items():
            counters._different[Count(name)].update(numbers)
        counters._error_lines = list(stored["error_lines"])
        return counters


def _merge(totals: dict[int, int], more: Mapping[int, int]) -> None:
    for segment_id, number in more.items():
        known = totals.get(segment_id)
        if known is not None or len(totals) < MOST_DIFFERENT:
            totals[segment_id] = (known or 0) + number


def _largest(numbers: Mapping[int, int]) -> Iterable[str]:
    """Lines `SEG:COUNT`, sorted by descending count, then by ID."""
    largest = nsmallest(MOST_LOGGED_SEGMENTS, numbers.items(), key=lambda each: (-each[1], each[0]))
    return [f"{segment_id}:{number}" for segment_id, number in largest]
