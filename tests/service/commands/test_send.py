"""`send`: files of users, through the Python client's stream."""

import asyncio
import csv
import gzip
import json
import os
import random
import re
import signal
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from instantaudience_server.commands.root import main
from redis.asyncio import RedisCluster
from service.commands.conftest import LIKE_OTHERS
from support.cluster.stored import stored
from support.service.processes import not_ignoring_ctrl_c
from support.service.running import COMMAND, ON_ONE_HOST, PASSWORDS, Service
from support.service.terminals import on_a_terminal

# The commands know nothing of hosts: one will do.

MEMBERSHIPS = 300_000
"""Enough to be killed at."""
SEGMENTS = (10001, 10002, 10003)


def rejected(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="") as file:
        return [(row["line"], row["reason"], row["record"]) for row in csv.DictReader(file)]


@ON_ONE_HOST
async def test_files_of_all_forms(run: Any, demo: dict[str, str], cluster: RedisCluster, tmp_path: Path) -> None:
    """The second one changes what the first one said; what was refused is beside each."""
    (tmp_path / "first.csv").write_text("uid,segment,value,expiration\n1,10001,5,0\n1,99,1,0\nx,10001,1,0\n1,x,1,0\n")
    users = [{"user_id": "1", "seg_block": [{"seg_id": 10001, "value": 6, "expiration": 0}]}, {"user_id": "2"}]
    (tmp_path / "second.json.gz").write_bytes(gzip.compress(json.dumps({"rt_segment": users}).encode()))
    words = ("send", "first.csv", "second.json.gz", "--columns", "user_id=uid,seg_id=segment")
    dry = await run(*words, "--dry-run", env=demo)
    assert dry.status == 1, dry.errors
    assert "first.csv: 1 memberships of 1 users would be taken; refused: 1 " in dry.output
    assert "; see first.csv.dry-run.rejects.csv\n" in dry.output
    assert await stored(cluster) == {}
    ended = await run(*words, "--json", env=demo)
    assert (ended.status, ended.errors) == (1, "")
    first, second = json.loads(ended.output)
    assert first == {
        "file": "first.csv",
        "users": 1,
        "memberships": 1,
        "refused": {"UNKNOWN_SEGMENT": 1, "INVALID_USER_ID": 1, "UNREADABLE": 1},
        "rejects": "first.csv.rejects.csv",
    }
    assert (second["memberships"], second["refused"]) == (1, {"SEG_BLOCK_REQUIRED": 1})
    expected = [
        ("3", "UNKNOWN_SEGMENT", "1,99,1,0"),
        ("4", "INVALID_USER_ID", "x,10001,1,0"),
        ("5", "UNREADABLE", "1,x,1,0"),
    ]
    for name in ("first.csv.rejects.csv", "first.csv.dry-run.rejects.csv"):
        assert rejected(tmp_path / name) == expected
    assert [line for line, *_ in rejected(tmp_path / "second.json.gz.rejects.csv")] == ["1"]
    assert await stored(cluster) == {("", "1"): {10001: (6, 0)}}
    lines = '{"user_id":"3","seg_block":[{"seg_id":12,"expiration":0}]}\n'
    clean = await run("send", "-", env=demo, stdin=lines)
    assert (clean.status, clean.output) == (0, "-: 1 memberships of 1 users taken\n")
    assert (await stored(cluster))["", "3"] == {12: (0, 0)}
    odd = tmp_path / "odd\udcff.csv"
    odd.write_text("user_id,seg_id\n3,12\n")
    shown = await run("send", odd.name, env=demo | {"PYTHONIOENCODING": "utf-8:strict"})
    assert (shown.status, shown.output) == (0, "odd\N{REPLACEMENT CHARACTER}.csv: 1 memberships of 1 users taken\n")
    assert not list(tmp_path.glob("*.position"))  # noqa: ASYNC240 - a few names


@pytest.mark.wide
@ON_ONE_HOST
async def test_killed_half_way_it_goes_on(
    run: Any, demo: dict[str, str], cluster: RedisCluster, tmp_path: Path
) -> None:
    """The state is the file's in the end, though users come again with other values; what it refused is told once.

    It is killed as soon as there is a position. How far it is then does not matter.
    """
    chance = random.Random(4)
    state: dict[str, dict[int, tuple[int, int]]] = {}
    file, position = tmp_path / "users.csv", tmp_path / "users.csv.position"
    with file.open("w") as opened:
        opened.write("user_id,seg_id,value,expiration\n")
        for number in range(MEMBERSHIPS):
            user, segment, value = str(chance.randint(1, 3000)), chance.choice(SEGMENTS), chance.randint(0, 99)
            opened.write(f"{user},{segment},{value},0\n")
            state.setdefault(user, {})[segment] = (value, 0)
            if number % 1000 == 0:
                opened.write(f"{user},99,{value},0\n")
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "send", "users.csv", cwd=tmp_path, env=os.environ | demo, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        while not position.exists():
            assert process.returncode is None, "it was done before there was a position"
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    kept = json.loads(position.read_text())
    assert 0 < kept["offset"] < file.stat().st_size
    ended = await run("send", "users.csv", "--json", env=demo)
    assert (ended.status, ended.errors) == (1, f"users.csv goes on after line {kept['line']:,}\n")
    (counts,) = json.loads(ended.output)
    assert (counts["memberships"], counts["refused"]) == (MEMBERSHIPS, {"UNKNOWN_SEGMENT": MEMBERSHIPS // 1000})
    lines = [int(line) for line, *_ in rejected(tmp_path / "users.csv.rejects.csv")]
    assert lines == sorted(set(lines))
    assert len(lines) == MEMBERSHIPS // 1000
    assert await stored(cluster) == {("", user): memberships for user, memberships in state.items()}
    assert not position.exists()


@ON_ONE_HOST
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_interrupted_it_says_how_far_it_has_come(demo: dict[str, str], tmp_path: Path, number: int) -> None:
    position = tmp_path / "users.csv.position"
    (tmp_path / "users.csv").write_text("user_id,seg_id\n" + "".join(f"{user},10001\n" for user in range(1, 10**6)))
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("send", "users.csv"),
        cwd=tmp_path,
        env=os.environ | demo,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=not_ignoring_ctrl_c,
    )
    async with asyncio.timeout(60):
        while not position.exists():
            assert process.returncode is None, "it was done before there was a position"
            await asyncio.sleep(0.02)
        process.send_signal(number)
        _, errors = await process.communicate()
    line = json.loads(position.read_text())["line"]
    reached = f"users.csv was sent up to line {line:,}; the same command goes on there"
    assert (process.returncode, errors.decode()) == (2, f"Error: interrupted; {reached}\n")


async def sending_a_pipe(demo: dict[str, str], folder: Path, *options: str) -> Process:
    """The command, which Ctrl-C can interrupt."""
    return await asyncio.create_subprocess_exec(
        *(*COMMAND, "send", *options, "-"),
        cwd=folder,
        env=os.environ | demo,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=not_ignoring_ctrl_c,
    )


async def applied(process: Process, cluster: RedisCluster, user: str) -> None:
    """Returns once the command has applied a user."""
    while ("", user) not in await stored(cluster):
        assert process.returncode is None, "it has ended"
        await asyncio.sleep(0.02)


def is_last(rejects: Path, row: str) -> bool:
    """Whether a row is the last one in a file of what was refused."""
    return rejects.exists() and rejects.read_text().endswith(f'"{row}"\n')


async def told_when_interrupted(process: Process, rejects: Path, last: str) -> str:
    """What the command says on Ctrl-C, once this row is the last one in its file of what was refused."""
    while not is_last(rejects, last):
        assert process.returncode is None, "it has ended"
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = await process.stderr.read() if process.stderr is not None else b""
    assert await process.wait() == 2
    return errors.decode()


@ON_ONE_HOST
async def test_lines_of_a_pipe_that_does_not_end_are_applied(
    demo: dict[str, str], cluster: RedisCluster, tmp_path: Path
) -> None:
    process = await sending_a_pipe(demo, tmp_path)
    assert process.stdin is not None
    async with asyncio.timeout(60):
        process.stdin.write(b"user_id,seg_id,expiration\n")
        for user, text in {"1": "1,10001,0\n2,100", "2": "01,0\n", "3": "x,10001,0\n3,10001,0\n"}.items():
            process.stdin.write(text.encode())
            await applied(process, cluster, user)
        process.stdin.write(b"y,10001,0\n")
        errors = await told_when_interrupted(process, tmp_path / "standard-input.rejects.csv", "y,10001,0")
    assert errors == "Error: interrupted; standard input was sent up to line 6\n"


@ON_ONE_HOST
async def test_it_signs_in_again_where_its_token_ends(service: Service, cluster: RedisCluster, tmp_path: Path) -> None:
    """The token of an earlier command may end while a file is sent."""
    env = {
        "INSTANT_AUDIENCE_URL": service.url,
        "INSTANT_AUDIENCE_TOKEN": "",
        "INSTANT_AUDIENCE_USERNAME": "private",
        "INSTANT_AUDIENCE_PASSWORD": PASSWORDS["private"],
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    process = await sending_a_pipe(env, tmp_path)
    assert process.stdin is not None
    async with asyncio.timeout(60):
        process.stdin.write(b"user_id,seg_id,expiration\n1,40001,0\n")
        await applied(process, cluster, "1")
        (token,) = [path.read_text() for path in (tmp_path / "cache").rglob("token-*")]
        async with service.http(headers={"authorization": token}) as http:
            (await http.delete("/auth")).raise_for_status()
        await service.refused(token)
        process.stdin.write(b"2,40001,0\n")
        await applied(process, cluster, "2")
        process.stdin.close()
        assert process.stderr is not None
        assert (await process.stderr.read(), await process.wait()) == (b"", 0)


@ON_ONE_HOST
async def test_an_interrupted_dry_run_has_sent_nothing(demo: dict[str, str], tmp_path: Path) -> None:
    process = await sending_a_pipe(demo, tmp_path, "--dry-run")
    assert process.stdin is not None
    async with asyncio.timeout(60):
        process.stdin.write(b"user_id,seg_id,expiration\nx,10001,0\n")
        errors = await told_when_interrupted(process, tmp_path / "standard-input.dry-run.rejects.csv", "x,10001,0")
    assert errors == "Error: interrupted; standard input was checked up to line 2\n"


@ON_ONE_HOST
async def test_progress_is_shown_on_a_terminal(demo: dict[str, str], tmp_path: Path) -> None:
    """And it ends well with a name that looks like markup."""
    (tmp_path / "[b].csv").write_text("user_id,seg_id\n1,10001\n")
    async with on_a_terminal("send", "[b].csv", cwd=tmp_path, env=demo) as terminal:
        assert await terminal.ended() == 0
    assert re.search(r"\[b\]\.csv .*100%.*/s", terminal.shown)


USAGE = {
    "no such file": ("nothing", "File 'nothing' does not exist"),
    "an unknown field": ("text --columns colour=x", "there is no field colour"),
    "no order": ("text --no-header", "--no-header needs --columns with the fields in their order"),
    "fields without columns": ("text --columns user_id", "--columns needs a column for each field"),
    "a delimiter of two": ("text --delimiter ;;", "it is one character, or tab"),
    "rejects in place of their file": (
        "text --rejects ./text",
        "is to be sent: what is refused of text cannot replace",
    ),
    "rejects in place of another file": ("text text.rejects.csv", "text.rejects.csv is to be sent"),
    "rejects of two files in one": ("text text --rejects x", "--rejects is for one FILE"),
    "rejects that another run goes on with": (
        "text --dry-run --rejects ./refused",
        "refused has what was refused of text until now, and the next run goes on with it",
    ),
    "rejects in no folder": ("text --rejects none/x", "none is no folder for --rejects, or nothing can be written"),
    "rejects in place of a pipe": ("text --rejects pipe", "pipe is no file that what is refused of text may replace"),
    "a pipe": ("pipe", "pipe is a pipe or device, which cannot be read twice: send it as - (`< pipe`)"),
}


@pytest.mark.parametrize(("words", "problem"), USAGE.values(), ids=USAGE)
def test_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, problem: str) -> None:
    """In this process, as nothing is asked."""
    monkeypatch.chdir(tmp_path)
    for name in ("text", "text.rejects.csv"):
        (tmp_path / name).write_text("no,such\n")
    (tmp_path / "text.position").write_text(json.dumps({"rejects": str(tmp_path / "refused")}))
    os.mkfifo(tmp_path / "pipe")
    ended = CliRunner().invoke(main, ["send", *words.split()])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert problem in ended.stderr
    assert (tmp_path / "text").exists()
    assert (tmp_path / "pipe").is_fifo()


@ON_ONE_HOST
async def test_a_port_with_zeros_before_it(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,seg_id\n5,10001\n")
    host, _, port = demo["INSTANT_AUDIENCE_URL"].rpartition(":")
    ended = await run("send", "users.csv", "--dry-run", env=demo | {"INSTANT_AUDIENCE_URL": f"{host}:0{port}"})
    assert ended.status == 0, ended.errors


@ON_ONE_HOST
async def test_a_folder_where_nothing_can_be_written(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    """Its place has to be beside it. Standard input has none, and its rejects are in the working directory."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "users.csv").write_text("user_id,seg_id\n5,10001\n")
    folder.chmod(0o555)
    ended = await run("send", "folder/users.csv", env=demo, under=LIKE_OTHERS)
    assert (ended.status, ended.output) == (2, "")
    hint = "where nothing can be written beside it, send it as - (`< folder/users.csv`)"
    assert ended.errors == f"Error: folder/users.csv.position: Permission denied; {hint}\n"


@ON_ONE_HOST
async def test_failures(run: Any, demo: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no,such\n1,2\n")
    failures = {
        "": "text has the columns no, such; it needs user_id",
        "INSTANT_AUDIENCE_URL=http://127.0.0.1:1": "http://127.0.0.1:1 does not answer",
        f"INSTANT_AUDIENCE_TOKEN=hbapi:1001:{'01234567' * 4}:local": "the token in INSTANT_AUDIENCE_TOKEN is none",
    }
    for ended, problem in zip(
        await asyncio.gather(
            *(run("send", "text", env=demo | dict([each.split("=")] if each else [])) for each in failures)
        ),
        failures.values(),
        strict=True,
    ):
        assert (ended.status, ended.output) == (2, "")
        assert problem in ended.errors
        assert "Traceback" not in ended.errors
