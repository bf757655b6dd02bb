"""`batch send`, `batch list`, `batch show`."""

import asyncio
import contextlib
import json
import re
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from instantaudience_server.process.processes import free_ports
from service.commands.conftest import environment_of
from support.service.running import Service, new_directory, running_service
from support.service.terminals import on_a_terminal
from support.waiting import eventually

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
    assert "upload" not in ended.errors
    ended = await run("batch", "list", "--limit", "3", "--json", env=demo)
    jobs = json.loads(ended.output)
    assert [job["num_invalid_user"] for job in jobs] == [1, 0, 0]
    ended = await run("batch", "list", "--limit", "2", env=demo | {"COLUMNS": "200"})
    assert [job["job_id"] in ended.output for job in jobs] == [True, True, False]
    ended = await run("batch", "show", jobs[0]["job_id"], env=demo)
    assert re.search(r"num_invalid_user +│ +1 ", ended.output)
    assert "num_invalid_user-nobody;10001:0\n" in ended.output
    assert json.loads((await run("batch", "show", jobs[0]["job_id"], "--json", env=demo)).output) == jobs[0]


INTERRUPTIONS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


@INTERRUPTIONS
async def test_an_interruption(run: Any, demo: dict[str, str], tmp_path: Path, number: int) -> None:
    """It is no "something was refused"; what has been uploaded is applied, and it is said where to see that. A file's
    name is not taken for markup."""
    (tmp_path / "[large]").write_text("".join(f"{user};10001:0\n" for user in range(1, 200_000)))
    text = await interrupted("[large]", demo, tmp_path, number, when="[large]: job")
    found = re.search(r"Error: interrupted; \[large\] is applied all the same: .* batch show (.*)`", text)
    assert found, text
    assert json.loads((await run("batch", "show", found[1], "--json", env=demo)).output)["job_id"] == found[1]


@INTERRUPTIONS
async def test_an_interruption_before_it_is_answered_that_the_file_has_come(
    run: Any, demo: dict[str, str], tmp_path: Path, number: int
) -> None:
    """The file is there, and is applied, although nobody has said so."""
    (tmp_path / "clean").write_text(CLEAN)
    async with without_answers_to_uploads(demo["INSTANT_AUDIENCE_URL"]) as url:
        text = await interrupted("clean", demo | {"INSTANT_AUDIENCE_URL": url}, tmp_path, number, when="100%")
    found = re.search("Error: interrupted; clean may be applied all the same: `instant-audience batch show (.*)`", text)
    assert found, text

    async def is_applied() -> None:
        job = json.loads((await run("batch", "show", found[1], "--json", env=demo)).output)
        assert (job["phase"], job["num_valid"]) == ("completed", 3)

    await eventually(is_applied)


@contextlib.asynccontextmanager
async def without_answers_to_uploads(url: str) -> AsyncIterator[str]:
    """The URL of a way to a service on which answers are lost from the first upload of a connection on."""
    where = urlsplit(url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(where.hostname, where.port)
        with contextlib.closing(writer), contextlib.closing(back):
            answers = asyncio.create_task(_copied(there, writer))
            while read := await reader.read(65536):
                if read.startswith(b"PUT "):
                    answers.cancel()
                back.write(read)
            answers.cancel()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while read := await reader.read(65536):
        writer.write(read)


async def interrupted(file: str, demo: dict[str, str], directory: Path, number: int, when: str) -> str:
    """What a command says on a terminal that sends a file and gets a signal once it has said `when`."""
    async with on_a_terminal("batch", "send", file, cwd=directory, env=demo) as terminal:
        await terminal.until(when)
        terminal.process.send_signal(number)
        assert await terminal.ended() == 2
    return terminal.shown


async def test_a_file_that_cannot_be_sent_after_another_one(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    """It is said what became of the first, too."""
    (tmp_path / "clean").write_text(CLEAN)
    ended = await run("batch", "send", "clean", "/proc/self/mem", env=demo)
    assert ended.status == 2, ended.errors
    found = re.search("Error: .*; clean is applied all the same: `instant-audience batch show (.*)`", ended.errors)
    assert found, ended.errors
    assert json.loads((await run("batch", "show", found[1], "--json", env=demo)).output)["job_id"] == found[1]


@pytest.mark.wide
async def test_a_service_that_is_away_while_a_job_is_followed(run: Any, tmp_path: Path) -> None:
    """The job goes on with it, and so does the command."""
    (tmp_path / "large").write_text("".join(f"{user};10001:0\n" for user in range(1, 2_000_000)))
    arguments = ("--workers", "1", "--http-port", str(free_ports("127.0.0.1", 1)[0]))
    async with new_directory() as directory:
        async with running_service(*arguments, directory=directory) as service:
            env = await environment_of(service, "demo")
            sending = asyncio.create_task(run("batch", "send", "large", "--json", env=env))

            async def is_applied() -> None:
                ended = await run("batch", "list", "--json", env=env)
                assert [job["phase"] for job in json.loads(ended.output)] == ["processing"]

            await eventually(is_applied)
        assert not sending.done()
        async with running_service(*arguments, directory=directory):
            ended = await sending
    assert ended.status == 0, ended.errors
    (job,) = json.loads(ended.output)
    assert (job["phase"], job["num_valid"]) == ("completed", 1_999_999)


async def test_lines_of_files_steer_no_terminal(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "odd").write_text("\x1b]0;title\x07bad;1:0\t2\n")
    env = demo | {"PYTHONIOENCODING": "utf-8"}
    sent = await run("batch", "send", "odd", env=env)
    assert "odd: num_invalid_format-�]0;title�bad;1:0\t2 " in sent.errors
    (job,) = json.loads((await run("batch", "list", "--limit", "1", "--json", env=demo)).output)
    shown = await run("batch", "show", job["job_id"], env=env)
    assert "num_invalid_format-�]0;title�bad;1:0\t2 " in shown.output


async def test_a_file_that_is_not_applied_to_its_end(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\x1f\x8b and no gzip")
    ended = await run("batch", "send", "broken", "--json", env=demo)
    assert ended.status == 2, ended.errors
    (job,) = json.loads(ended.output)
    assert (job["phase"], job["error_code"]) == ("error", "CORRUPT_FILE")


FAILURES = {
    "no file": ("batch send nothing", 2, "File 'nothing' does not exist"),
    "a device": ("batch send /dev/null", 2, "/dev/null is no file"),
    "no such job": ("batch show nobody", 1, "SYNTAX: 'job_id': there is no job nobody"),
    "a variable that is not set": ("batch show ''", 2, "Invalid value for JOB: it is empty"),
    "another member's jobs": ("batch list --member 777", 1, "UNAUTH: This belongs to another member .*"),
}


@pytest.mark.parametrize(("words", "status", "error"), FAILURES.values(), ids=FAILURES)
async def test_failures(run: Any, demo: dict[str, str], words: str, status: int, error: str) -> None:
    ended = await run(*shlex.split(words), env=demo)
    assert (ended.status, ended.output) == (status, "")
    assert re.search(error, ended.errors)
