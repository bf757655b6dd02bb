import fcntl
import json
import os
import re
import select
import sys
from pathlib import Path

import pytest
import structlog
from instantaudience_server.observation import telemetry
from instantaudience_server.observation.telemetry import Event, configure_logging

OBSERVABILITY = Path(__file__).parents[3] / "docs/observability.md"
OF_THE_GATEWAY = {"gateway_call_failed", "gateway_call_answered"}
TOKEN, USER_ID = "hbapi:1001:5ec4e7:local", "12345678900987654321"


def fail(user_id: str, token: str) -> None:
    try:
        raise KeyError(user_id)
    except KeyError:
        raise ValueError(f"cannot read {user_id} with {token}")  # noqa: B904 - its context is a part of the test


def test_the_operators_table_has_every_event_and_no_other() -> None:
    table = OBSERVABILITY.read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted({*Event} | OF_THE_GATEWAY)


def test_an_event_is_one_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    structlog.get_logger().info(Event.WORKER_READY, worker=3)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    entry = json.loads(captured.err)
    assert entry.pop("time").endswith("Z")
    assert entry == {"event": "worker_ready", "level": "info", "worker": 3}


def test_an_event_as_text_is_a_line_that_people_can_read(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "text")
    structlog.get_logger().info(Event.SERVICE_STEP, step="starting 2 workers", ports=[1, 2], host="a\nb")
    try:
        fail(USER_ID, TOKEN)
    except ValueError:
        structlog.get_logger().exception(Event.CALL_DEFECT, request_id="r-1")
    first, second, *trace = capfd.readouterr().err.splitlines()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d info    service_step step=starting 2 workers ports=\[1, 2\] host="a\\nb"', first
    )
    assert second[9:] == "error   call_defect request_id=r-1"
    assert trace[0] == "    ValueError"
    assert not any(secret in line for secret in (TOKEN, USER_ID) for line in trace)


@pytest.mark.parametrize(
    ("form", "terminal", "is_json"), [("auto", True, False), ("auto", False, True), ("json", True, True)]
)
def test_the_form_of_events(
    form: str, terminal: bool, is_json: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    configure_logging("info", form)
    structlog.get_logger().info("one")
    assert capfd.readouterr().err.startswith("{") is is_json


@pytest.mark.parametrize(("level", "events"), [("info", 2), ("INFO", 2), ("warning", 1), ("error", 0)])
def test_events_below_the_level_are_left_out(level: str, events: int, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(level)
    structlog.get_logger().info("one")
    structlog.get_logger().warning("two")
    assert len(capfd.readouterr().err.splitlines()) == events


def test_an_exception_is_logged_by_types_and_places_without_any_data(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither an exception's text nor a frame's variables reach the log: both may hold a token or a user ID."""
    configure_logging("info")
    try:
        fail(USER_ID, TOKEN)
    except ValueError:
        structlog.get_logger().exception(Event.CALL_DEFECT, request_id="r-1")
    line = capfd.readouterr().err
    assert TOKEN not in line
    assert USER_ID not in line
    entry = json.loads(line)
    assert entry["request_id"] == "r-1"
    assert [raised["type"] for raised in entry["exception"]] == ["ValueError", "KeyError"]
    assert entry["exception"][0]["frames"][-1].endswith(" fail")
    assert f"{__file__}:" in entry["exception"][0]["frames"][-1]


def test_what_the_system_refused_is_logged_by_its_code(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Not by its text, which has names of files. Without the code, a full disk looked like too few open files."""
    configure_logging("info")
    for fails in (tmp_path.read_bytes, (tmp_path / TOKEN).read_bytes, lambda: os.close(-1)):
        try:
            fails()
        except OSError:
            structlog.get_logger().exception(Event.BACKGROUND_DEFECT, work="work", times=1)
    lines = capfd.readouterr().err
    assert TOKEN not in lines
    types = [json.loads(line)["exception"][0]["type"] for line in lines.splitlines()]
    assert types == ["IsADirectoryError (EISDIR)", "FileNotFoundError (ENOENT)", "OSError (EBADF)"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_log_that_cannot_be_written_is_no_ones_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it at the end of the process, which closes the stream: `serve` ended with 120 instead of 0."""
    with Path("/dev/full").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info")
        structlog.get_logger().info(Event.SERVICE_STEP, step="one")
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("w") as stream:
        stream.write("through the stream")


@pytest.mark.skipif(sys.platform != "linux", reason="needs F_SETPIPE_SZ")
@pytest.mark.parametrize("length", [100, 10_000], ids=["short lines", "lines that are cut"])
def test_a_reader_that_stands_still_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """Else, Ctrl-S in its terminal stopped the service, and kept SIGTERM from ending it."""
    monkeypatch.setattr(telemetry, "READER_SECONDS", 0.01)
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reader, os.fdopen(theirs, "w") as stream:
        fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("info")
        for number in range(200):
            structlog.get_logger().info(Event.SERVICE_STEP, step="x" * length, number=number)
        os.set_blocking(ours, False)
        before = reader.read().splitlines()
        structlog.get_logger().info(Event.SERVICE_STEP, step="it goes on")
        after = reader.read().splitlines()
    whole = [line for line in before if line.endswith("}")]
    told = [json.loads(line) for line in after if line]
    assert [each["event"] for each in told] == ["log_lines_lost", "service_step"]
    assert told[0]["lines"] == 200 - len(whole)
    assert [json.loads(line)["number"] for line in whole] == list(range(len(whole)))
