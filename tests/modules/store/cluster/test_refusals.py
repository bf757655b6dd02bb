"""What the log says of commands that nodes refuse for good."""

from typing import Any

import pytest
from instantaudience_server.store.cluster import refusals
from instantaudience_server.store.cluster.refusals import Refusals
from structlog.testing import capture_logs
from support.waiting import eventually

SOONER = 0.05


async def test_a_line_when_it_begins_one_a_minute_and_one_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "PAUSE_SECONDS", SOONER)
    refused = Refusals()

    async def written(lines: int) -> list[dict[str, Any]]:
        assert len(logs) == lines
        return [{key: value for key, value in each.items() if key != "log_level"} for each in logs]

    with capture_logs() as logs:
        for slot in range(1000):
            refused.note("a:1", "NOPERM get", slot)
        assert len(logs) == 1
        of_a = {"node": "a:1", "error": "NOPERM get"}
        assert await eventually(lambda: written(3)) == [
            {"event": "store_command_refused", "slot": 0, **of_a},
            {"event": "store_commands_refused", "slot": 999, "commands": 999, **of_a},
            {"event": "store_refusals_over", **of_a},
        ]
        refused.note("a:1", "NOPERM get", 5)  # begins anew
        assert len(logs) == 4


async def test_nodes_and_answers_have_lines_of_their_own() -> None:
    refused = Refusals()
    with capture_logs() as logs:
        for node, problem in (("a:1", "NOPERM get"), ("a:1", "WRONGTYPE"), ("b:1", "WRONGTYPE"), ("a:1", "WRONGTYPE")):
            refused.note(node, problem, 7)
    refused.close()
    assert [(each["node"], each["error"]) for each in logs] == [
        ("a:1", "NOPERM get"),
        ("a:1", "WRONGTYPE"),
        ("b:1", "WRONGTYPE"),
    ]
