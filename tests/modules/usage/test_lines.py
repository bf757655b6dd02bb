"""Of the sampled lines no more are written down than are kept."""

from collections.abc import Iterator
from typing import Any

import pytest
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.applied import Applied, Refusal, Totals
from instantaudience_server.store.interfaces.memberships import Alike, Changes
from instantaudience_server.store.interfaces.usage import MOST_LINE_BYTES, MOST_LINES
from instantaudience_server.usage import lines
from instantaudience_server.usage.lines import LONGEST_LINE, error_lines, segment_lines
from support.parts.readings import CATALOG

IN_A_DAY = 86_400_000
KEYS = [b"m:p:%d" % user_id for user_id in range(10**15, 10**15 + 100)]


def changes(number: int, users: int) -> Changes:
    return [Alike([b"m:p:%d" % number, *KEYS[1:users]], {IN_A_DAY: {10001: 0}})]


@pytest.mark.parametrize(
    ("users", "looked_at"),
    [(1, MOST_LINES // 3 + 1), (100, MOST_LINE_BYTES // (2 * LONGEST_LINE) + 1)],
    ids=["lines", "characters"],
)
def test_calls_are_looked_at_until_there_are_enough(users: int, looked_at: int) -> None:
    """Of a call of one user, there are three lines; of one of a hundred, two of them are as long as can be."""
    looked = []

    def apart() -> Iterator[Applied]:
        for number in reversed(range(300)):
            looked.append(number)
            yield Applied(0, changes(number, users), (), (), Totals(users, users, 0))

    together = Applied(0, changes(0, users), (), (), Totals(users, users, 0), calls=300, apart=apart)
    found = segment_lines(CATALOG, [together])
    assert len(looked) == looked_at
    assert len(found) == min(MOST_LINES, 3 * looked_at)
    assert found[-1].startswith("Valid additions (user id, segment id, expiration): (299, 10001, 1440)")


def test_what_was_refused_is_looked_at_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_ITEMS", 3)
    code: Any = pb.WARNING_CODE_UNKNOWN_SEGMENT
    refusals = [Refusal(code, pb.SegBlock(seg_id=number)) for number in (5, 6, 5, 7)]
    (line,) = error_lines(CATALOG, [Applied(0, (), (), refusals, Totals(1, 0, 0))])
    assert line == "Invalid segments (id, code, segment owner member id): (5, '', 0), (6, '', 0)"


def test_what_was_sent_is_cut_where_it_is_longer_than_a_line() -> None:
    code: Any = pb.WARNING_CODE_UNKNOWN_SEGMENT
    refusals = [Refusal(code, pb.SegBlock(seg_code=each, member_id=1)) for each in ("x" * 3 * LONGEST_LINE, "y")]
    (line,) = error_lines(CATALOG, [Applied(0, (), (), refusals, Totals(1, 0, 0))])
    assert line == f"Invalid segments (id, code, segment owner member id): (0, '{'x' * LONGEST_LINE}"[:LONGEST_LINE]
