"""`apply` and `get`, and the line that `serve` prints to try it."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.commands.connection.client import TIMEOUT_SECONDS
from instantaudience_server.process.processes import free_ports
from redis.asyncio import RedisCluster
from service.commands.conftest import NOBODY, rows
from support.cluster.stored import put, stored
from support.contract.messages import USER, one_user
from support.contract.strategies import UUID
from support.service.processes import needs_proc
from support.service.running import COMMAND, ON_ONE_HOST, PASSWORDS, Service, running_service

# The commands know nothing of hosts: one will do.
pytestmark = ON_ONE_HOST

OK = {"status": "OK", "message": {"users_in_request": 1, "segments_in_request": 1}, "warnings": []}
UNKNOWN_TOKEN = "hbapi:1001:0123456789abcdef0123456789abcdef:local"


async def test_apply_a_file(run: Any, demo: dict[str, str], cluster: RedisCluster, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps(one_user(value=3)))
    ended = await run("apply", "request.json", env=demo)
    assert (ended.status, ended.errors) == (0, "")
    assert json.loads(ended.output) == {"response": OK}
    assert await stored(cluster) == {("", USER): {10001: (3, 0)}}


async def test_apply_standard_input(run: Any, demo: dict[str, str], cluster: RedisCluster) -> None:
    """A byte order mark before it, which editors write, is no part of the JSON."""
    ended = await run("apply", "-", env=demo, stdin="\ufeff" + json.dumps(one_user()))
    assert (ended.status, ended.errors) == (0, "")
    assert await stored(cluster) == {("", USER): {10001: (0, 0)}}


async def test_apply_with_warnings(run: Any, demo: dict[str, str], cluster: RedisCluster) -> None:
    request = one_user()
    request["rt_segment"].append({"user_id": "é", "seg_block": [{"seg_id": 10001}]})
    ended = await run("apply", "-", env=demo, stdin=json.dumps(request))
    assert ended.status == 0
    assert [warning["message"] for warning in json.loads(ended.output)["response"]["warnings"]] == [
        "Invalid user_id: é"
    ]
    assert "Invalid user_id: é" in ended.output
    assert "warnings: 1" in ended.errors
    assert await stored(cluster) == {("", USER): {10001: (0, 0)}}


async def test_apply_what_has_nothing_valid(run: Any, demo: dict[str, str]) -> None:
    """Neither for its form nor for the catalog."""
    for request in (one_user(user_id="é"), one_user(seg_id=99)):
        ended = await run("apply", "-", env=demo, stdin=json.dumps(request))
        assert ended.status == 1
        assert len(json.loads(ended.output)["response"]["warnings"]) > 0
        assert ended.errors.endswith("Error: nothing in the request was valid\n")


async def test_apply_what_is_of_a_suppressed_user(run: Any, demo: dict[str, str]) -> None:
    """It is taken out, but not put in: beside a user whose only block is refused, and alone."""
    suppressed = str(int(USER) + 1)
    ended = await run("user-data", "delete", suppressed, "--suppress-minutes", "5", "--yes", env=demo)
    assert ended.status == 0
    joins, leaves, unreadable = {"seg_id": 10001}, {"seg_id": 10002, "expiration": -1}, {"seg_id": 1, "expiration": -2}
    for blocks, status in (
        ([joins], 1),
        ([unreadable, joins], 1),
        ([joins] * 101, 1),
        ([joins, leaves], 0),
        ([leaves], 0),
    ):
        users = [{"user_id": suppressed, "seg_block": blocks}, {"user_id": USER, "seg_block": [{"seg_id": 99}]}]
        ended = await run("apply", "-", env=demo, stdin=json.dumps({"rt_segment": users}))
        assert (ended.status, "nothing in the request was valid" in ended.errors) == (status, status == 1), blocks
        ended = await run("apply", "-", env=demo, stdin=json.dumps({"rt_segment": users[:1]}))
        assert (ended.status, "nothing in the request was valid" in ended.errors) == (status, status == 1), blocks
    assert (await run("user-data", "lift", suppressed, env=demo)).status == 0


async def test_get(run: Any, demo: dict[str, str], cluster: RedisCluster) -> None:
    await put(cluster, {("", USER): {10001: (3, 0), 12: (-1, 0)}, ("idfa", UUID): {20001: (4, 0)}})
    users = [(USER,), (UUID.upper(), "--domain", "idfa"), (NOBODY,)]
    platform, device, nobody = await asyncio.gather(*(run("get", *words, env=demo) for words in users))
    assert {ended.status for ended in (platform, device, nobody)} == {0}
    assert USER in platform.output
    assert rows(platform.output) == [
        ["12", "", "123", "-1", "never ends"],
        ["10001", "sports_fans", "123", "3", "never ends"],
    ]
    as_json = await run("get", USER, "--json", env=demo)
    assert [block["seg_id"] for block in json.loads(as_json.output)["seg_block"]] == [12, 10001]
    assert f"idfa {UUID}" in device.output
    assert rows(device.output) == [["20001", "abcd", "1661", "4", "never ends"]]
    assert nobody.output.strip() == f"{NOBODY} is in no segment"


TOKEN_ENDED = (
    r"^Error: the token in INSTANT_AUDIENCE_TOKEN is none, or has ended: set another one, or unset it and sign"
)
FAILURES = {
    "not JSON": (["apply", "-"], {}, 1, r"^Error: SYNTAX: "),
    "no such file": (["apply", "missing.json"], {}, 2, r"missing\.json.*No such file"),
    "no file": (["apply"], {}, 2, r"Missing argument 'FILE'"),
    "an invalid user": (["get", "x"], {}, 1, r"^Error: SYNTAX: Invalid user_id: x$"),
    "an unknown token": (["get", "1"], {"INSTANT_AUDIENCE_TOKEN": UNKNOWN_TOKEN}, 1, TOKEN_ENDED),
    "an unknown token over gRPC": (["user", "list"], {"INSTANT_AUDIENCE_TOKEN": UNKNOWN_TOKEN}, 1, TOKEN_ENDED),
    "a wrong password": (
        ["get", "1", "--as", "demo"],
        {"INSTANT_AUDIENCE_TOKEN": "", "INSTANT_AUDIENCE_PASSWORD": "x"},
        1,
        r"^Error: the service does not accept the user name 'demo' with this password$",
    ),
    "a name without a password": (
        ["get", "1", "--as", "demo"],
        {"INSTANT_AUDIENCE_TOKEN": ""},
        2,
        r"^Error: --as needs a password, in INSTANT_AUDIENCE_PASSWORD",
    ),
    "a password without a name": (
        ["get", "1"],
        {"INSTANT_AUDIENCE_TOKEN": "", "INSTANT_AUDIENCE_PASSWORD": "x"},
        2,
        r"^Error: whose password is INSTANT_AUDIENCE_PASSWORD",
    ),
    "a password for all to see": (["get", "1", "--password", "x"], {}, 2, r"No such option '?--password"),
    "no service there": (
        ["apply", "-", "--url", "http://127.0.0.1:{free}"],
        {},
        1,
        r"^Error: http://.* does not answer",
    ),
    "no service, but a cluster": (["get", "1", "--url", "http://127.0.0.1:{node}"], {}, 1, r"^Error: http://127\.0"),
    "no scheme": (["get", "1", "--url", "127.0.0.1:8080"], {}, 1, r"^Error: 127.0.0.1:8080 has no scheme: it would be"),
    "another scheme": (["get", "1", "--url", "ftp://a"], {}, 1, r"^Error: ftp://a has the scheme ftp: services have"),
    "no host": (["segment", "list", "--url", "http://"], {}, 1, r"^Error: http:// names no host$"),
    "no such host": (["segment", "list", "--url", "http://no.invalid"], {}, 1, r"^Error: there is no host no\.invalid"),
    "no port": (["get", "1", "--url", "http://a:99999"], {}, 1, r"^Error: http://a:99999 is no URL: Port out of range"),
    "port 0": (["get", "1", "--url", "http://a:0"], {}, 1, r"^Error: http://a:0 is no URL: no service has port 0$"),
    "a URL of two lines": (
        ["get", "1", "--url", "http://a\n"],
        {},
        1,
        r"^Error: the URL has characters that no URL has",
    ),
    "a host in halves": (["get", "1", "--url", "http://a..b"], {}, 1, r"^Error: http://a\.\.b is no URL: "),
    **{
        f"no text: {' '.join(words[:-1])}": ([*words[:-1], "x\udcff"], {}, 2, r"this is no readable text")
        for words in (
            ("get", "ID"),
            ("get", "1", "--domain", "DOMAIN"),
            ("get", "1", "--as", "NAME"),
            ("batch", "show", "JOB"),
            ("user-data", "access", "ID"),
        )
    },
    "a token of other characters": (
        ["get", "1"],
        {"INSTANT_AUDIENCE_TOKEN": "ü"},
        2,
        r"^Error: INSTANT_AUDIENCE_TOKEN has characters that no token has",
    ),
    "a password that is no text": (
        ["get", "1", "--as", "demo"],
        {"INSTANT_AUDIENCE_TOKEN": "", "INSTANT_AUDIENCE_PASSWORD": "x\udcff"},
        1,
        r"^Error: INSTANT_AUDIENCE_PASSWORD: this is no readable text",
    ),
    "a path": (["get", "1", "--url", "http://a/b"], {}, 1, r"^Error: http://a/b says more than a service needs"),
    "credentials are needed elsewhere": (
        ["get", "1", "--url", "http://192.0.2.1"],
        {"INSTANT_AUDIENCE_TOKEN": ""},
        1,
        r"^Error: no credentials",
    ),
}


@pytest.mark.parametrize(("words", "env", "status", "line"), FAILURES.values(), ids=FAILURES)
async def test_failures(
    run: Any, service: Service, demo: dict[str, str], words: list[str], env: dict[str, str], status: int, line: str
) -> None:
    (free,) = free_ports("127.0.0.1", 1)
    words = [word.format(free=free, node=service.node_ports[0]) for word in words]
    ended = await run(*words, env=demo | env, stdin="nope")
    assert ended.status == status
    assert ended.output == ""
    assert re.search(line, ended.errors, re.MULTILINE), ended.errors
    assert "Traceback" not in ended.errors
    assert len(ended.errors.strip().splitlines()) <= (1 if status == 1 else 4)
    for secret in (demo["INSTANT_AUDIENCE_TOKEN"], UNKNOWN_TOKEN, *PASSWORDS.values()):
        assert secret not in ended.errors


UNWRITABLE = {
    "a full disk": ("get 1 >/dev/full", "1 Error: input or output: No space left on device"),
    "a full disk, of a list": ("segment list --json >/dev/full", "1 Error: input or output: No space left on device"),
    "a full disk, at the end": ("report --csv >/dev/full", "1 Error: input or output: No space left on device"),
    "a reader that has gone": ("segment list --json >&3", "1 "),
    "no standard output": ("segment list --limit 1 >&-", "1 Error: input or output: Bad file descriptor"),
    "no standard output, at the end": ("report --csv >&-", "1 Error: input or output: Bad file descriptor"),
    "no standard output, for help": ("get --help >&-", "1 Error: input or output: Bad file descriptor"),
    "no standard input": ("user key deactivate 9999 <&-", "1 Error: SYNTAX: "),
    "no standard error": ("get 1 2>&-", "0 "),
    "nothing at all": ("get 1 <&- >&- 2>&-", "1 "),
    "an encoding without lines": (
        "segment list --limit 1",
        "1 Error: the output's encoding, latin-1, lacks characters: set PYTHONIOENCODING=utf-8",
    ),
    "a file that cannot be read": ("apply /proc/self/mem", "1 Error: input or output: Input/output error"),
    "a file to send, likewise": ("batch send /proc/self/mem", "2 Error: input or output: Input/output error"),
}


@needs_proc
@pytest.mark.parametrize(("words", "expected"), UNWRITABLE.values(), ids=UNWRITABLE)
async def test_what_cannot_be_read_or_written(demo: dict[str, str], tmp_path: Path, words: str, expected: str) -> None:
    """It ends a command with one line at most, and no traceback."""
    encoding = "latin-1" if "lacks" in expected else "utf-8"
    settings = {"PYTHONIOENCODING": encoding, "PYTHONUNBUFFERED": "", "XDG_CACHE_HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"exec 3> >(:); wait $!; {shlex.join(COMMAND)} {words}; echo $? >status",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | demo | settings,
    )
    _, errors = await process.communicate()
    told = [line for line in errors.decode().splitlines() if line.startswith("Error: ") or "Traceback" in line]
    assert f"{(tmp_path / 'status').read_text().strip()} {''.join(told)}".startswith(expected), errors.decode()
    assert len(told) <= 1


async def test_a_host_that_does_not_answer(run: Any, demo: dict[str, str]) -> None:
    """Of two, one takes no connection, and one says nothing: both are given up soon, not when a call's time is over."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_server(("127.0.0.1", 0)) as silent:
        address = full.getsockname()
        with contextlib.ExitStack() as waiting:
            for _ in range(3):  # the first ones are in its queue, which is full then
                opened = waiting.enter_context(socket.socket())
                opened.setblocking(False)
                opened.connect_ex(address)
            urls = [f"http://127.0.0.1:{server.getsockname()[1]}" for server in (full, silent)]
            called = (run("get", "1", "--url", url, env=demo) for url in urls)
            async with asyncio.timeout(TIMEOUT_SECONDS / 2):
                endings = await asyncio.gather(*called)
    for ended, url in zip(endings, urls, strict=True):
        assert (ended.status, ended.output) == (1, "")
        hint = "start the service with `make run`, or name another with --url"
        assert re.fullmatch(rf"Error: {url} does not answer \(.*\): {hint}\n", ended.errors)


@pytest.mark.parametrize(
    ("scheme", "mend"),
    [
        ("http", "name the port of REST with --url, and https:// where it has TLS"),
        ("https", "name the port of REST with --url, and http:// where it has no TLS; --cacert .*"),
    ],
)
async def test_a_port_where_something_else_is_spoken(
    run: Any, service: Service, demo: dict[str, str], scheme: str, mend: str
) -> None:
    """The service runs: to start it was no help. Some hosts speak REST on the port of gRPC, too; nodes do not."""
    url = f"{scheme}://{service.http_address if scheme == 'https' else f'127.0.0.1:{service.node_ports[0]}'}"
    ended = await run("get", "1", "--url", url, env=demo)
    assert ended.status == 1
    assert re.fullmatch(rf"Error: {url} does not answer \(.*\): {mend}\n", ended.errors), ended.errors


async def test_the_token_is_kept_for_the_next_command(
    run: Any, service: Service, cluster: RedisCluster, tmp_path: Path
) -> None:
    """Signed in as `private`, with the password from the environment."""
    env = {
        "INSTANT_AUDIENCE_URL": service.url,
        "INSTANT_AUDIENCE_USERNAME": "private",
        "INSTANT_AUDIENCE_PASSWORD": PASSWORDS["private"],
    }
    tokens = []
    for _ in range(2):
        assert (await run("get", "1", env=env)).status == 0
        (kept,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        tokens.append(kept.read_text())
    assert tokens[0] == tokens[1]
    assert tokens[0].startswith("hbapi:1003:")
    kept.write_text(UNKNOWN_TOKEN)  # what the service has forgotten
    assert (await run("get", "1", env=env)).status == 0
    assert kept.read_text() not in {UNKNOWN_TOKEN, tokens[0]}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    for unreadable in (b"", b"\xff"):
        kept.write_bytes(unreadable)
        assert (await run("get", "1", env=env)).status == 0
        assert kept.read_text().startswith("hbapi:1003:")
    kept.unlink()
    kept.mkdir()  # as little to be read as what `sudo` has left
    assert (await run("get", "1", env=env)).status == 0


async def test_the_line_that_serve_prints(run: Any, host_mode: str, tmp_path: Path) -> None:
    """Pasted into a shell, it puts a user into two segments, which the next line that is printed shows."""
    async with running_service("--workers", "1", host_mode=host_mode, catalog="--demo") as service:
        curl_line, get_line = service.output.split("Try it:")[1].strip().split("\n\n")
        shell = await asyncio.create_subprocess_exec(
            "sh", "-c", curl_line, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await shell.communicate()
        assert (shell.returncode, json.loads(output)) == (
            0,
            {
                "response": {
                    "status": "OK",
                    "message": {"users_in_request": 1, "segments_in_request": 2},
                    "warnings": [],
                }
            },
        ), errors
        words = shlex.split(get_line)
        assert (words[:3], words[3:5]) == (COMMAND, ["get", USER])
        ended = await run(*words[3:])
        assert rows(ended.output) == [
            ["10001", "sports_fans", "123", "1", "1440"],
            ["10002", "car_shoppers", "123", "1", "1440"],
        ]
