"""Which calls have lines in the log, and what stands in them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from google.rpc import code_pb2
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError, overloaded, unavailable
from instantaudience_server.transport.calls import call_log
from instantaudience_server.transport.calls.call_log import CallLog
from structlog.testing import capture_logs
from support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="function")
"""Logs of other tests, whose second is not over yet, would write lines on their loop."""
PATH, MEMBER = "/audience.Segments/Apply", 123


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


def of(lines: list[Any], event: str) -> list[Any]:
    return [line for line in lines if line["event"] == event]


async def test_an_unavailable_call_has_a_line_with_the_nodes_that_did_not_answer(lines: list[Any]) -> None:
    error = unavailable("the cluster did not confirm every write in time")
    error.nodes = ["10.0.0.7:6379 (no_connection)"]
    CallLog(lambda: {"10.0.0.8:6379": "OOM"}).failed(PATH, "r-1", error, MEMBER)
    assert lines == [
        {
            "event": "call_failed",
            "log_level": "warning",
            "method": "audience.Segments/Apply",
            "request_id": "r-1",
            "reason": "UNAVAILABLE",
            "cause": "UNREACHABLE",
            "error": "the cluster did not confirm every write in time",
            "nodes": ["10.0.0.7:6379 (no_connection)"],
            "member_id": MEMBER,
        }
    ]


@pytest.mark.parametrize(
    ("error", "nodes"), [(unavailable("not counted"), ["10.0.0.8:6379 (OOM)"]), (overloaded("too much"), [])]
)
async def test_else_those_are_named_that_take_no_writes_if_the_cluster_is_to_blame(
    lines: list[Any], error: AudienceError, nodes: list[str]
) -> None:
    CallLog(lambda: {"10.0.0.8:6379": "OOM"}).failed(PATH, "r-1", error, None)
    assert lines[0]["nodes"] == nodes


async def test_a_refused_command_is_a_defect_of_its_node(lines: list[Any]) -> None:
    CallLog().defect(PATH, "r-1", RefusedCommandError("10.0.0.7:6379", "NOPERM"))
    assert [(line["event"], line["nodes"]) for line in lines] == [("call_defect", ["10.0.0.7:6379 (NOPERM)"])]


async def test_every_line_names_the_method_alike(lines: list[Any]) -> None:
    """As metrics and traces do, so that one search finds all of it."""
    log = CallLog(access=True)
    log.answered(PATH, "r-1", code_pb2.OK, None, MEMBER)
    log.failed(PATH, "r-2", unavailable("no"), MEMBER)
    log.failed(PATH, "r-3", AudienceError(Reason.SYNTAX, "no"), MEMBER)
    log.defect(PATH, "r-4", KeyError())
    log.not_noted(PATH, "r-5", KeyError())
    log.refused_before(PATH, 6, MEMBER, Reason.UNAVAILABLE)
    assert [line["method"] for line in lines] == ["audience.Segments/Apply"] * 6


async def test_past_a_bound_failures_are_counted(lines: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "MOST_LINES", 3)
    monkeypatch.setattr(call_log, "SAMPLE_SECONDS", 0.05)
    log = CallLog()
    for number in range(10):
        log.failed(PATH, f"r-{number}", unavailable("no"), None)
    assert len(of(lines, "call_failed")) == 3

    async def told() -> None:
        assert [line["calls"] for line in of(lines, "calls_failed")] == [7]

    await eventually(told)
    log.failed(PATH, "r-10", unavailable("no"), None)
    assert len(of(lines, "call_failed")) == 4


async def test_refused_calls_are_sampled_by_method_and_reason(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "SAMPLE_SECONDS", 0.05)
    log = CallLog()
    for _ in range(5):
        log.failed(PATH, "r-1", AudienceError(Reason.SYNTAX, "12345678900987654321 is none"), MEMBER)
    log.failed(PATH, "r-2", AudienceError(Reason.NOAUTH, "no"), None)
    log.failed("/audience.Segments/Get", "r-3", AudienceError(Reason.SYNTAX, "no"), None)
    assert [line["request_id"] for line in of(lines, "call_refused")] == ["r-1", "r-2", "r-3"]

    async def told() -> None:
        told = [(line["method"], line["reason"], line["calls"]) for line in of(lines, "calls_refused")]
        assert told == [("audience.Segments/Apply", "SYNTAX", 4)]

    await eventually(told)
    assert "12345678900987654321" not in str(lines)


async def test_calls_that_a_host_refused_over_a_quota_are_among_those_refused(
    lines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "SAMPLE_SECONDS", 0.05)
    log = CallLog()
    log.failed(PATH, "r-1", AudienceError(Reason.RATE_LIMIT_EXCEEDED, "no"), MEMBER)
    for _ in range(2):
        log.refused_before(PATH, 300, MEMBER, Reason.RATE_LIMIT_EXCEEDED)

    async def told() -> None:
        told = [(line["reason"], line["calls"]) for line in of(lines, "calls_refused")]
        assert told == [("RATE_LIMIT_EXCEEDED", 600)]

    await eventually(told)
    assert [line["event"] for line in lines] == ["call_refused", "calls_refused"]


async def test_an_access_log_has_every_call(lines: list[Any]) -> None:
    CallLog(access=True).answered(PATH, "r-1", code_pb2.OK, 0.00123456, MEMBER)
    assert lines == [
        {
            "event": "call_answered",
            "log_level": "info",
            "method": "audience.Segments/Apply",
            "request_id": "r-1",
            "code": "OK",
            "seconds": 0.001235,
            "member_id": MEMBER,
        }
    ]
    await asyncio.sleep(0)
