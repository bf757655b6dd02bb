"""Jobs as REST callers see them; over REST: tests/service/host/test_batch.py."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest
from instantaudience_server.batch import shapes
from instantaudience_server.batch.counters import Count, Counters
from instantaudience_server.batch.jobs import Checkpoint
from instantaudience_server.batch.reports import report_of
from instantaudience_server.batch.shapes import job_object, job_objects
from instantaudience_server.store.interfaces.jobs import Job, Phase

JOB = Job("job", 1, 1, Phase.COMPLETED, 1, 1, 1)


async def jobs_of(*all_lines: list[str]) -> AsyncGenerator[Job, None]:
    """Jobs with these error lines."""
    for lines in all_lines:
        counters = Counters(99)
        for line in lines:
            counters.log(Count.NUM_OTHER_ERROR, line)
        yield replace(JOB, report=report_of(counters).dump())


@pytest.mark.parametrize(
    ("most_bytes", "listed"),
    [
        (1000, [2, 0, 1, 1]),
        (72, [2, 0, 1, 1]),
        (71, [2, 0, 1, 0]),
        (55, [2, 0, 1, 0]),
        (54, [2, 0, 0, 1]),
        (53, [2, 0, 0, 0]),
        (36, [1, 0, 1, 0]),
        (18, [1, 0, 0, 0]),
        (17, [0, 0, 0, 1]),
        (0, [0, 0, 0, 0]),
    ],
)
async def test_a_list_has_so_much_of_error_lines(
    monkeypatch: pytest.MonkeyPatch, most_bytes: int, listed: list[int]
) -> None:
    """Whole lines, and the first ones of each job."""
    monkeypatch.setattr(shapes, "MOST_LISTED_BYTES", most_bytes)
    objects = await job_objects(jobs_of(["ab", "cd"], [], ["é"], ["f"]), 2)
    lines = ["num_other_error-ab\nnum_other_error-cd", "", "num_other_error-é", "num_other_error-f"]
    assert [found["error_log_lines"] for found in objects] == [
        "\n".join(each.split("\n")[:number]) for each, number in zip(lines, listed, strict=True)
    ]


def test_the_minutes_of_a_job(subtests: pytest.Subtests) -> None:
    """Machines whose clocks differ say no less than 0."""
    for uploaded_ms, completed_ms, minutes in [
        (0, 0, "0.00"),
        (60_000, 0, "1.50"),
        (60_000, 75_000, "0.25"),
        (150_100, 0, "0.00"),
        (90_000, 60_000, "0.00"),
    ]:
        with subtests.test(uploaded_ms=uploaded_ms, completed_ms=completed_ms, minutes=minutes):
            job = replace(JOB, uploaded_ms=uploaded_ms, completed_ms=completed_ms)
            assert job_object(job, 150_000)["time_to_process"] == minutes


def test_what_is_shown_of_a_running_job_was_prepared() -> None:
    """To read the checkpoint of a file with 100,000 segments took a worker's event loop for 60 ms, each time."""
    counters = Counters(99)
    counters.add_memberships({7: 2}, {})
    progress = report_of(counters).dump()
    shown = job_object(replace(JOB, phase=Phase.PROCESSING, checkpoint="is not read", progress=progress), 1)
    assert (shown["num_valid"], shown["segment_log_lines"]) == (2, "added:\n7:2\nremoved:")
    old = Checkpoint(0, 0, 0, counters).dump()
    assert job_object(replace(JOB, phase=Phase.PROCESSING, checkpoint=old), 1) == shown
