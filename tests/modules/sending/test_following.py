"""Answers, brought back to the lines they are about."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from instantaudience import InvalidRequestError, StreamResult
from instantaudience.v1.audience_pb2 import ApplySegmentsResult, RtSegment, SegBlock, WarningCode
from instantaudience_server.sending import following
from instantaudience_server.sending.following import Following, Totals
from instantaudience_server.sending.positions import Position, read_position, write_position
from instantaudience_server.sending.records import Place, Record, SourceError, batch_of
from instantaudience_server.sending.rejects import Rejects


def user(line: int, rows: int = 1) -> Record:
    """A user of so many rows, from this line on."""
    place = Place(10 * (line + rows - 1), line + rows - 1)
    return Record(place, [(line + row, ["u", str(row)]) for row in range(rows)], RtSegment(), rows)


def unreadable(line: int) -> Record:
    return Record(Place(10 * line, line), [(line, "text")], problem="why")


def answer(first: int, users: int, *warnings: tuple[str, str], continues: bool = False) -> StreamResult:
    result = ApplySegmentsResult()
    for path, code in warnings:
        result.warnings.add(path=path, code=WarningCode.Value(f"WARNING_CODE_{code}"), message=f"{code}!")
    return StreamResult(first, users, continues, result, None)


def rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


@pytest.fixture
def rejects(tmp_path: Path) -> Iterator[Rejects]:
    with closing(Rejects(tmp_path / "rejects")) as opened:
        yield opened


def follow(rejects: Rejects, *batches: Sequence[Record]) -> Following:
    followed = Following(rejects, Totals(), Place())
    list(followed.requests(map(batch_of, batches)))
    return followed


def test_what_is_refused_is_written_with_its_lines(rejects: Rejects) -> None:
    json_user = Record(Place(120, 12), [(12, "{}")], RtSegment(), 3)
    followed = follow(rejects, [user(1, 3), unreadable(4), user(5, 2), user(7)], [user(8, 4)], [json_user])
    blocks = [("rt_segment[3].seg_block[1]", "INACTIVE_SEGMENT"), ("rt_segment[3].seg_block[3]", "UNKNOWN_SEGMENT")]
    followed.take(answer(0, 4, ("rt_segment[1]", "INVALID_USER_ID"), ("", "NO_VALID_USERS"), *blocks, continues=True))
    assert followed.place == Place(70, 7)
    again = [("rt_segment[4].seg_block[0]", "UNKNOWN_SEGMENT"), ("rt_segment[4].seg_block[2]", "UNKNOWN_SEGMENT")]
    followed.take(answer(3, 2, ("rt_segment[3].seg_block[0]", "UNKNOWN_SEGMENT"), *again))
    assert followed.place == Place(120, 12)
    rejects.saved_bytes()
    assert rows(rejects.path) == [
        ("4", "UNREADABLE", "why", "text"),
        ("5", "INVALID_USER_ID", "INVALID_USER_ID!", "u,0"),
        ("6", "INVALID_USER_ID", "INVALID_USER_ID!", "u,1"),
        ("8", "UNKNOWN_SEGMENT", "UNKNOWN_SEGMENT!", "u,0"),
        ("9", "INACTIVE_SEGMENT", "INACTIVE_SEGMENT!", "u,1"),
        ("11", "UNKNOWN_SEGMENT", "UNKNOWN_SEGMENT!", "u,3"),
        ("12", "UNKNOWN_SEGMENT", "UNKNOWN_SEGMENT!", "{}"),
    ]
    assert (followed.totals.users, followed.totals.memberships) == (4, 3 + 1 + 1 + 1)
    assert followed.totals.refused == {
        "UNREADABLE": 1,
        "INVALID_USER_ID": 2,
        "UNKNOWN_SEGMENT": 4,
        "INACTIVE_SEGMENT": 1,
    }


def test_a_request_that_failed_refuses_all_of_its_users(rejects: Rejects) -> None:
    json_user = Record(Place(20, 2), [(2, "{}")], RtSegment(), 3)
    followed = follow(rejects, [user(1), json_user, user(3)], [user(4, 2)])
    followed.take(StreamResult(0, 2, False, None, InvalidRequestError("no", reason="SYNTAX")))
    followed.take(answer(2, 2))
    followed.finish()
    assert followed.totals == Totals(2, 3, following.Counter({"SYNTAX": 4}))
    rejects.saved_bytes()
    assert rows(rejects.path) == [("1", "SYNTAX", "no", "u,0"), ("2", "SYNTAX", "no", "{}")]


@pytest.mark.parametrize("one", [user(1, 2), Record(Place(10, 1), [(1, "{}")], RtSegment(), 2)], ids=["csv", "json"])
def test_a_user_without_a_valid_segment_is_told_once_a_line(rejects: Rejects, one: Record) -> None:
    followed = follow(rejects, [one])
    blocks = [(f"rt_segment[0].seg_block[{index}]", "UNKNOWN_SEGMENT") for index in (0, 1)]
    followed.take(answer(0, 1, *blocks, ("rt_segment[0]", "NO_VALID_SEGMENTS")))
    followed.finish()
    assert followed.totals == Totals(0, 0, following.Counter({"UNKNOWN_SEGMENT": 2}))
    rejects.saved_bytes()
    assert [reason for _, reason, *_ in rows(rejects.path)] == ["UNKNOWN_SEGMENT"] * len(one.rows)


def test_of_a_suppressed_user_what_it_leaves_is_taken(rejects: Rejects) -> None:
    blocks = [SegBlock(seg_id=1, expiration=-1), SegBlock(seg_id=2), SegBlock(seg_id=9, expiration=-1)]
    in_csv, in_json = user(1, 3), user(4)
    for record in (in_csv, in_json):
        record.user, record.memberships = RtSegment(seg_block=blocks), len(blocks)
    followed = follow(rejects, [in_csv, in_json])
    unknown = [(f"rt_segment[{index}].seg_block[2]", "UNKNOWN_SEGMENT") for index in (0, 1)]
    suppressed = [(f"rt_segment[{index}]", "SUPPRESSED_USER_ID") for index in (0, 1)]
    followed.take(answer(0, 2, *unknown, *suppressed))
    followed.finish()
    assert followed.totals == Totals(2, 2, following.Counter({"UNKNOWN_SEGMENT": 2, "SUPPRESSED_USER_ID": 2}))
    rejects.saved_bytes()
    assert [(line, reason) for line, reason, *_ in rows(rejects.path)] == [
        ("2", "SUPPRESSED_USER_ID"),
        ("3", "UNKNOWN_SEGMENT"),
        ("4", "UNKNOWN_SEGMENT"),
        ("4", "SUPPRESSED_USER_ID"),
    ]


def test_a_user_without_a_valid_segment_in_one_request_may_have_some_in_the_next(rejects: Rejects) -> None:
    followed = follow(rejects, [user(1, 3)])
    blocks = [(f"rt_segment[0].seg_block[{index}]", "INVALID_EXPIRATION") for index in (0, 1)]
    followed.take(answer(0, 1, *blocks, ("rt_segment[0]", "NO_VALID_SEGMENTS"), continues=True))
    followed.take(answer(0, 1))
    followed.finish()
    assert followed.totals == Totals(1, 1, following.Counter({"INVALID_EXPIRATION": 2}))
    rejects.saved_bytes()
    assert [line for line, *_ in rows(rejects.path)] == ["1", "2"]


def test_what_comes_behind_the_last_of_too_many_warnings_is_not_taken(rejects: Rejects) -> None:
    followed = follow(rejects, [user(1, 2), user(3, 2), user(5)], [user(6)])
    followed.take(answer(0, 3, ("rt_segment[1].seg_block[0]", "UNKNOWN_SEGMENT"), ("", "LEFT_OUT")))
    followed.take(answer(3, 1))
    followed.finish()
    assert followed.totals == Totals(2, 3, following.Counter({"UNKNOWN_SEGMENT": 1, "LEFT_OUT": 2}))
    rejects.saved_bytes()
    assert [line for line, *_ in rows(rejects.path)] == ["3", "4", "5"]


def test_a_file_without_users_is_given_up(rejects: Rejects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_UNREADABLE", 3)
    followed = follow(rejects, [unreadable(1), user(2)], [unreadable(3)], [unreadable(4), unreadable(5)], [user(6)])
    assert isinstance(followed.failure, SourceError)
    assert str(followed.failure) == "the last 3 records hold no user: why"
    few = [[unreadable(1), unreadable(2)], [user(3)], [unreadable(4), unreadable(5)], [user(6)]]
    assert follow(rejects, *few).failure is None


def test_a_position_is_kept_for_the_same_sending_alone(tmp_path: Path) -> None:
    path = tmp_path / "position"
    assert read_position(path, "mine") is None
    position = Position(Place(7, 2), False, 30, Totals(1, 2, following.Counter({"X": 3})))
    write_position(path, "mine", position, tmp_path / "refused")
    assert read_position(path, "mine") == position
    assert read_position(path, "other") is None
    for others in ("[]", "[" * 100_000):
        path.write_text(others)
        assert read_position(path, "mine") is None


def test_rejects_after_a_position_come_again(tmp_path: Path) -> None:
    path = tmp_path / "rejects"
    first = Rejects(path)
    first.write((1, "a"), "X", "m")
    size = first.saved_bytes()
    first.write((2, "b"), "X", "m")
    first.close()
    second = Rejects(path, size)
    second.write((2, "b"), "X", "m")
    second.close()
    assert [line for line, *_ in rows(path)] == ["1", "2"]
    size = path.stat().st_size
    path.write_text(path.read_text().removesuffix("2,X,m,b\n"))  # somebody has taken it away
    third = Rejects(path, size)
    third.write((3, "c"), "X", "m")
    third.close()
    assert [line for line, *_ in rows(path)] == ["1", "3"]
    Rejects(path)
    assert not path.exists()
