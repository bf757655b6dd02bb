"""`batch send`, `batch list`, `batch show`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from service.commands.conftest import environment_of
from support.service import Service

CLEAN = "7001;10001:0,10002:60\n7002;10001:0\n"
PARTIAL = "7003;10001:0\nnobody;10001:0\n7004;99999:0\n"


@pytest.fixture
async def demo(changed: Service) -> dict[str, str]:
    """A member's environment."""
    return await environment_of(changed, "demo")


async def test_files_are_sent_and_looked_at(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "clean").write_text(CLEAN)
    (tmp_path / "[partial]").write_text(PARTIAL)
    ended = await run("batch", "send", "clean", env=demo)
    assert ended.status == 0, ended.errors
    assert re.search(r"clean +│ completed +│ +100 .*│ +3 +│", ended.output)
    ended = await run("batch", "send", "clean", "[partial]", env=demo)
    assert ended.status == 1, ended.errors
    assert re.search(r"\[partial\] +│ completed +│ +100 ", ended.output)
    assert "[partial]: num_invalid_user-nobody;10001:0\n" in ended.errors
    assert "[partial]: upload" in ended.errors
    ended = await run("batch", "list", "--limit", "3", "--json", env=demo)
    jobs = json.loads(ended.output)
    assert [job["num_invalid_user"] for job in jobs] == [1, 0, 0]
    ended = await run("batch", "list", "--limit", "2", env=demo | {"COLUMNS": "200"})
    assert [job["job_id"] in ended.output for job in jobs] == [True, True, False]
    ended = await run("batch", "show", jobs[0]["job_id"], env=demo)
    assert re.search(r"num_invalid_user +│ +1 ", ended.output)
    assert "num_invalid_user-nobody;10001:0\n" in ended.output
    assert json.loads((await run("batch", "show", jobs[0]["job_id"], "--json", env=demo)).output) == jobs[0]


async def test_a_file_that_is_not_applied_to_its_end(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x1f\x8b and no gzip")
    ended = await run("batch", "send", "broken", "--json", env=demo)
    assert ended.status == 2, ended.errors
    (job,) = json.loads(ended.output)
    assert (job["phase"], job["error_code"]) == ("error", "CORRUPT_FILE")


FAILURES = {
    "no file": ("batch send nothing", 2, "nothing is no file"),
    "no such job": ("batch show nobody", 1, "SYNTAX: 'job_id': there is no job nobody"),
    "another member's jobs": ("batch list --member 777", 1, "UNAUTH: This belongs to another member .*"),
}


@pytest.mark.parametrize(("words", "status", "error"), FAILURES.values(), ids=FAILURES)
async def test_failures(run: Any, demo: dict[str, str], words: str, status: int, error: str) -> None:
    ended = await run(*words.split(), env=demo)
    assert (ended.status, ended.output) == (status, "")
    assert re.search(error, ended.errors)
