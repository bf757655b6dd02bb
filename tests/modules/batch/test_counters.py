"""What a job counts and keeps (contract-neighbours, "Batch Segment Service", "Job")."""

from instantaudience_server.batch.counters import MOST_DIFFERENT, Count, Counters
from instantaudience_server.batch.jobs import Checkpoint, Layout
from instantaudience_server.catalog.batch_settings import BatchField, BatchSettings, Separators


def test_segments_count_once_and_lines_each_time() -> None:
    counters = Counters(200)
    for _ in range(3):
        counters.add(Count.NUM_INVALID_USER)
        counters.add_segment(Count.NUM_INACTIVE_SEGMENT, 30001)
    counters.add_segment(Count.NUM_INACTIVE_SEGMENT, 30002)
    assert (counters[Count.NUM_INVALID_USER], counters[Count.NUM_INACTIVE_SEGMENT]) == (3, 2)
    assert counters.values() == dict.fromkeys(map(str, Count), 0) | {"num_invalid_user": 3, "num_inactive_segment": 2}


def test_the_first_error_lines_are_kept_and_cut() -> None:
    counters = Counters(3)
    counters.log(Count.NUM_UNAUTH_SEGMENT, "4013681496264948522;5013:0,5014:1550")
    counters.log(Count.NUM_INVALID_FORMAT, "x" * 1001, "no segment")
    counters.log(Count.NUM_INVALID_USER, "a\nb;1:0")
    assert counters.full
    counters.log(Count.NUM_INVALID_USER, "later")
    assert counters.error_log_lines.split("\n") == [
        "num_unauth_segment-4013681496264948522;5013:0,5014:1550",
        f"num_invalid_format-{'x' * 1000} no segment",
        "num_invalid_user-a b;1:0",
    ]


def test_segments_are_logged_by_falling_count() -> None:
    counters = Counters(200)
    assert counters.segment_log_lines == "added:\nremoved:"
    counters.add_memberships({5: 1, 7: 2, 6: 2}, {9: 4})
    counters.add_memberships({5: 3}, {})
    assert counters.segment_log_lines == "added:\n5:4\n6:2\n7:2\nremoved:\n9:4"
    assert counters[Count.NUM_VALID] == 12
    counters.add_memberships(dict.fromkeys(range(1000, 2000), 1), {})
    lines = counters.segment_log_lines.split("\n")
    assert len(lines) == 1 + 200 + 2
    assert lines[:5] == ["added:", "5:4", "6:2", "7:2", "1000:1"]


def test_different_segments_are_bounded_and_memberships_are_not() -> None:
    counters = Counters(200)
    for number in range(MOST_DIFFERENT + 10):
        counters.add_segment(Count.NUM_INVALID_SEGMENT, number)
    counters.add_memberships(dict.fromkeys(range(MOST_DIFFERENT + 10), 1), {})
    assert counters[Count.NUM_INVALID_SEGMENT] == MOST_DIFFERENT
    assert (counters[Count.NUM_VALID], len(counters.added)) == (MOST_DIFFERENT + 10, MOST_DIFFERENT)


def test_a_checkpoint_goes_on_where_it_was() -> None:
    counters = Counters(2)
    counters.add(Count.NUM_INVALID_USER)
    counters.add_segment(Count.NUM_INVALID_SEGMENT, 2**51)
    counters.add_memberships({5: 1}, {9: 4})
    counters.log(Count.NUM_INVALID_USER, "é;1:0")
    counters.num_lines, counters.num_bytes = 7, 99
    settings = BatchSettings(Separators(user="~"), (BatchField.SEG_CODE,), segments_per_line=7)
    loaded = Checkpoint.load(Checkpoint(99, 3, 50, counters, Layout.of(settings)).dump())
    assert loaded[:3] == (99, 3, 50)
    assert loaded.layout is not None
    assert loaded.layout.settings() == settings
    assert loaded.counters.to_json() == counters.to_json()
    loaded.counters.add_segment(Count.NUM_INVALID_SEGMENT, 2**51)
    loaded.counters.add_memberships({5: 1}, {})
    assert loaded.counters[Count.NUM_INVALID_SEGMENT] == 1
    assert loaded.counters.segment_log_lines == "added:\n5:2\nremoved:\n9:4"
    assert counters.added == {5: 1}, "it has its own"
