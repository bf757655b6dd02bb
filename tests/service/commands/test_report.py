"""`report`: what a member sent, hour by hour."""

import csv
import io
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from instantaudience_server.commands import report
from instantaudience_server.store.interfaces.usage import CallFailure, Skip
from service.commands.conftest import environment_of, rows
from support.cluster.usage_hours import put_hours
from support.service.running import Service

HOUR_SECONDS = 3600
MEMBER = 777
COUNTERS = {
    "calls": 9,
    "valid_users": 1,
    "valid_adds": 2,
    "valid_removes": 3,
    "invalid_users": 4,
    "invalid_segments": 5,
    "unauth_segments": 6,
    "inactive_segments": 7,
    "other_errors": 8,
}
FAILED, SKIPPED = {"SYNTAX": 3, "LIMIT": 5}, {"INVALID_USER_ID": 1200}
SENT = {**COUNTERS, "failed:syntax": 3, "failed:limit": 5, "skipped:invalid_user_id": 1200}
"""As it stands in the cluster."""
LINES = {"errors": "Inactive users: [bold]5[/bold]\nInactive users: 6", "segments": "Valid users: 7"}


def test_there_are_words_for_every_reason() -> None:
    assert report.FAILURES.keys() == {each.name for each in CallFailure}
    assert report.SKIPS.keys() == {each.name for each in Skip}


def written(hour: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC).strftime(form)


def expected(hour: int, times: int = 1) -> dict[str, Any]:
    """An hour of the member with the counters so many times, as JSON has it."""
    counters = {name: times * count for name, count in COUNTERS.items()}
    return {"hour": written(hour), "member_id": MEMBER, **counters, "match_rate": 20.0}


def with_reasons(hour: int, times: int = 1) -> dict[str, Any]:
    """The same, and why."""
    failed, skipped = ({name: times * count for name, count in each.items() if times} for each in (FAILED, SKIPPED))
    return {**expected(hour, times), "failed_calls": failed, "skipped_parts": skipped}


@pytest.fixture(scope="module")
async def first(changed: Service) -> AsyncIterator[int]:
    """The first of three hours, some days ago, in which the member sent something; nothing was in the one after it."""
    hour = int(time.time()) // HOUR_SECONDS - 100
    async with changed.cluster() as cluster:
        await put_hours(cluster, MEMBER, (hour, hour + 2, hour + 3), SENT, LINES)
        yield hour


@pytest.fixture
async def private(changed: Service) -> dict[str, str]:
    """The environment of the member's own account."""
    return await environment_of(changed, "private")


def between(first: int, last: int) -> tuple[str, ...]:
    """From an hour on, up to another one."""
    return ("--start", written(first, "%Y-%m-%d %H:%M:%S"), "--end", written(last, "%Y-%m-%d+%H:%M:%S"))


async def test_a_table_and_a_chart(run: Any, private: dict[str, str], first: int) -> None:
    ended = await run("report", *between(first, first + 4), env=private)
    assert (ended.status, ended.errors) == (0, "")
    *hours, total = rows(ended.output)
    counters = [str(count) for count in COUNTERS.values()]
    assert hours == [[written(first + distance, "%Y-%m-%d %H:%M"), *counters, "20.0"] for distance in (0, 2, 3)]
    assert total == ["total", *[str(3 * count) for count in COUNTERS.values()], "20.0"]
    bars = re.findall(r"^(\S+ \S+) +(\d+) +(█*) +(\d+) +(█*) *$", ended.output, re.MULTILINE)
    taken, refused = 5, 30
    assert [(moment, int(taken), int(refused)) for moment, taken, _, refused, _ in bars] == [
        (written(first + distance, "%Y-%m-%d %H:%M"), *((0, 0) if distance == 1 else (taken, refused)))
        for distance in range(4)
    ]
    assert [(bool(left), bool(right)) for _, _, left, _, right in bars] == [(True, True), (False, False)] + [
        (True, True)
    ] * 2
    assert "Inactive users" not in ended.output
    assert (
        "why calls failed:\n  15  the request was too large (413)\n   9  the request could not be read" in ended.output
    )
    assert "what was skipped:\n  3,600  users whose ID does not have the form of its kind\n" in ended.output


async def test_lines(run: Any, private: dict[str, str], first: int) -> None:
    ended = await run("report", *between(first, first + 1), "--lines", env=private)
    assert "refused, a sample of each hour:\nInactive users: [bold]5[/bold]\nInactive users: 6\n" in ended.output
    assert "taken, a sample of each hour:\nValid users: 7\n" in ended.output


async def test_lines_of_many_days(run: Any, admin: dict[str, str], changed: Service, first: int) -> None:
    """They come a day at a time, all of them, once."""
    distances = (-150, -149, -127, -126, -125, 0, 24)
    async with changed.cluster() as cluster:
        await put_hours(cluster, 1262, [first + distance for distance in distances], SENT, LINES)
    ended = await run("report", "--member", "1262", "--json", "--lines", env=admin)
    hours = json.loads(ended.output)["hours"]
    assert [hour["hour"] for hour in hours] == [written(first + distance) for distance in distances]
    assert [hour["error_lines"] for hour in hours] == [LINES["errors"].split("\n")] * len(distances)
    assert [hour["segment_lines"] for hour in hours] == [LINES["segments"].split("\n")] * len(distances)


async def test_json(run: Any, private: dict[str, str], first: int) -> None:
    ended = await run("report", *between(first, first + 4), "--json", env=private)
    assert (ended.status, ended.errors) == (0, "")
    assert json.loads(ended.output) == {
        "hours": [with_reasons(first + distance) for distance in (0, 2, 3)],
        "total": with_reasons(first + 3, 3),
    }
    with_lines = await run("report", *between(first, first + 1), "--json", "--lines", env=private)
    (hour,) = json.loads(with_lines.output)["hours"]
    assert hour == {
        **with_reasons(first),
        "error_lines": LINES["errors"].split("\n"),
        "segment_lines": LINES["segments"].split("\n"),
    }


async def test_csv(run: Any, private: dict[str, str], first: int) -> None:
    ended = await run("report", *between(first, first + 4), "--csv", env=private)
    assert (ended.status, ended.errors) == (0, "")
    rows = list(csv.DictReader(io.StringIO(ended.output)))
    assert rows == [{name: str(value) for name, value in expected(first + each).items()} for each in (0, 2, 3)]


async def test_nothing_was_sent(run: Any, private: dict[str, str], first: int) -> None:
    nothing = between(first - 9, first - 8)
    assert (await run("report", *nothing, env=private)).output == "member 777 sent nothing\n"
    ended = await run("report", *nothing, "--csv", env=private)
    assert ended.output == f"{','.join(expected(first))}\n"
    ended = await run("report", *nothing, "--json", env=private)
    assert json.loads(ended.output) == {"hours": [], "total": {**with_reasons(first - 9, 0), "match_rate": 100.0}}
    last = await run("report", "--start", "9999-12-31", "--hours", "720", env=private)
    assert last.output == "member 777 sent nothing\n"


SPANS = {
    "from an hour on": (("--start", "{0}", "--hours", "3"), (0, 2)),
    "up to an hour": (("--end", "{3}", "--hours", "2"), (2,)),
    "a date": (("--start", "{day}", "--hours", "720"), (0, 2, 3)),
    "two weeks": ((), (0, 2, 3)),
    "so many hours": (("--hours", "100"), (2, 3)),  # also where another hour has begun since the first was reckoned
    "as many as are kept": (("--hours", "720"), (0, 2, 3)),
}


@pytest.mark.parametrize("name", SPANS)
async def test_spans(run: Any, private: dict[str, str], first: int, name: str) -> None:
    words, distances = SPANS[name]
    names = {str(distance): written(first + distance, "%Y-%m-%d %H:%M") for distance in (0, 3)}
    words = tuple(word.format(names["0"], *[""] * 2, names["3"], day=written(first, "%Y-%m-%d")) for word in words)
    ended = await run("report", *words, "--json", env=private)
    assert (ended.status, ended.errors) == (0, "")
    hours = [hour["hour"] for hour in json.loads(ended.output)["hours"]]
    assert [hour for hour in hours if hour <= written(first + 9)] == [written(first + each) for each in distances]


async def test_a_long_chart_fits_on_a_screen(run: Any, admin: dict[str, str], changed: Service, first: int) -> None:
    """Two weeks have a bar for each half of a day; so have, for an admin, those of another member."""
    first -= first % 12
    async with changed.cluster() as cluster:
        await put_hours(cluster, 1661, (first - 216, first - 215, first), SENT, LINES)
    ended = await run("report", "--member", "1661", env=admin)
    assert (ended.status, ended.errors) == (0, "")
    bars = [line.split()[:3] for line in ended.output.partition("by 12 h")[2].splitlines()[2:]]
    taken = {-216: "10", 0: "5"}
    assert bars == [
        [*written(first + distance, "%Y-%m-%d %H:%M").split(), taken.get(distance, "0")]
        for distance in range(-216, 1, 12)
    ]


FAILURES = {
    "another member": ("private", ("--member", "123"), 1, r"^Error: UNAUTH: .*sign in as a user that may"),
    "no such member": ("admin", ("--member", "5"), 1, r"^Error: SYNTAX: 'member_id': there is no member 5$"),
    "no member": ("admin", ("--member", "0"), 2, r"--member"),
    "a member that cannot be": ("admin", ("--member", "2147483648"), 2, r"--member"),
    "the order": ("private", ("--start", "2026-01-02", "--end", "2026-01-01"), 1, r"^Error: SYNTAX: 'start' must be"),
    "no moment": (
        "private",
        ("--start", "yesterday"),
        2,
        r"--start.*: 'yesterday' is no time such as '2026-11-24 00:00:00' or ",
    ),
    "too many hours": ("private", ("--hours", "721"), 2, r"--hours"),
    "all three": (
        *("private", ("--start", "2026-01-01", "--end", "2026-01-02", "--hours", "1"), 2),
        r"cannot be used together",
    ),
    "two forms": ("private", ("--json", "--csv"), 2, r"--csv cannot be used together with"),
    "lines as CSV": ("private", ("--lines", "--csv"), 2, r"--csv cannot be used together with"),
}


@pytest.mark.parametrize(("username", "words", "status", "line"), FAILURES.values(), ids=FAILURES)
async def test_failures(
    run: Any, changed: Service, username: str, words: tuple[str, ...], status: int, line: str
) -> None:
    ended = await run("report", *words, env=await environment_of(changed, username))
    assert (ended.status, ended.output) == (status, "")
    assert re.search(line, ended.errors, re.MULTILINE), ended.errors
    assert "Traceback" not in ended.errors


async def test_what_was_just_applied(run: Any, private: dict[str, str]) -> None:
    """The hour under way is in it, for the member that is signed in; another one may begin meanwhile."""
    body = {"rt_segment": [{"user_id": "5", "seg_block": [{"seg_id": 40001}, {"seg_id": 99}]}]}
    assert (await run("apply", "-", env=private, stdin=json.dumps(body))).status == 0
    ended = await run("report", "--hours", "2", "--json", env=private)
    total = json.loads(ended.output)["total"]
    assert (total["calls"], total["valid_adds"], total["invalid_segments"]) == (1, 1, 1)
