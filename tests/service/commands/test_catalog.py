"""`catalog import` and `catalog export`."""

import asyncio
import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.process.processes import free_ports
from support.service.processes import not_ignoring_ctrl_c
from support.service.running import COMMAND, PASSWORDS, Service, credentials, environment, running_service
from support.service.terminals import on_a_terminal
from support.waiting import until

PASSWORD = "Import-Passw0rd"
FILE = f"""
members:
  - {{id: 601, name: First, segment_access: [602], limits: {{posts_per_second: 7}}}}
  - {{id: 602, name: Second, use_external_uids: true, external_member_uid: 601}}
users:
  - {{id: 6001, username: imported, password: {PASSWORD}, member_id: 601}}
segments:
  - {{id: 60001, member_id: 601, code: imported, short_name: "[bold]é", description: all, expire_minutes: 5}}
  - {{id: 60002, member_id: 602, code: imported, state: inactive}}
"""


def counts(created: int = 0, changed: int = 0, unchanged: int = 0) -> str:
    """What an import says at its end."""
    return f"created {created}, changed {changed}, unchanged {unchanged}\n"


@pytest.mark.wide
async def test_importing_a_file_twice_changes_nothing(
    run: Any, changed: Service, admin: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(FILE)
    first = await run("catalog", "import", "catalog.yaml", env=admin)
    assert (first.status, first.output, first.errors) == (0, counts(created=5), "")
    exported = (await run("catalog", "export", env=admin)).output
    again = await run("catalog", "import", "catalog.yaml", env=admin)
    assert (again.status, again.output, again.errors) == (0, counts(unchanged=5), "")
    assert (await run("catalog", "export", env=admin)).output == exported
    path.write_text(FILE.replace("[602]", "[]").replace(PASSWORD, "Other-Passw0rd").replace("inactive", "active"))
    third = await run("catalog", "import", "--json", "catalog.yaml", env=admin)
    assert (third.status, third.errors) == (0, "")
    assert json.loads(third.output) == {"created": 0, "changed": 3, "unchanged": 2, "problems": []}
    async with changed.http() as http:
        answers = [
            await http.post("/auth", json=credentials("imported", each)) for each in (PASSWORD, "Other-Passw0rd")
        ]
    assert [answer.status_code for answer in answers] == [401, 200]


async def test_importing_from_standard_input(run: Any, changed: Service, admin: dict[str, str]) -> None:
    """Of a pipe it is not known how long it is."""
    exported = (await run("catalog", "export", env=admin)).output
    ended = await run("catalog", "import", "-", stdin=exported, env=admin)
    assert (ended.status, ended.errors) == (0, "")
    assert ended.output == counts(unchanged=exported.count("- {id"))
    broken = await run("catalog", "import", "-", stdin="members: [{id: 1}]", env=admin)
    assert (broken.status, broken.output) == (1, "")
    assert broken.errors == "Error: standard input: members[0] (id 1): name: Field required\n"
    unknown = await run("catalog", "import", "-", stdin="segments: [{id: 60009, member_id: 699}]", env=admin)
    assert unknown.status == 1
    assert unknown.errors.startswith("standard input: segments[0] (id 60009): ")


@pytest.mark.wide
async def test_an_exported_catalog_is_the_same_in_another_service(
    run: Any, changed: Service, admin: dict[str, str], tmp_path: Path
) -> None:
    """The other one has an admin; users, whose passwords are not in the file, get one each."""
    (tmp_path / "more.yaml").write_text(FILE)
    assert (await run("catalog", "import", "more.yaml", env=admin)).status == 0
    ended = await run("catalog", "export", "exported.yaml", env=admin)
    assert (ended.status, ended.output, ended.errors) == (0, "", "")
    exported = (tmp_path / "exported.yaml").read_text()
    assert "password" not in exported
    assert exported == (await run("catalog", "export", env=admin)).output
    first = (
        "{members: [{id: 123, name: x}], users: [{id: 1, username: admin, role: admin, member_id: 123, password: %s}]}"
    )
    (tmp_path / "first.yaml").write_text(first % PASSWORDS["admin"])
    async with running_service("--workers", "1", catalog=f"--catalog={tmp_path / 'first.yaml'}") as other:
        env = {"INSTANT_AUDIENCE_URL": other.url, "INSTANT_AUDIENCE_TOKEN": await other.token("admin")}
        ended = await run("catalog", "import", "exported.yaml", env=env)
        new_users = exported.count("username:") - 1
        assert ended.status == 1
        assert ended.errors.count("'password' or 'password_hash' is required for a new user") == new_users
        assert ended.output.startswith(f"created {exported.count('- {id') - new_users - 2}, changed 1, unchanged 1")
        (tmp_path / "with.yaml").write_text(exported.replace("username:", f'password: "{PASSWORD}", username:'))
        assert (await run("catalog", "import", "with.yaml", env=env)).status == 0
        assert (await run("catalog", "export", env=env)).output == exported


PROBLEMS = f"""
members:
  - {{id: 611, name: Fine}}
  - {{id: 612, name: Not, segment_access: [699]}}
users:
  - {{id: 6101, username: demo, password: {PASSWORD}, member_id: 611}}
  - {{id: 6102, username: without, member_id: 611}}
segments:
  - {{id: 61001, member_id: 611, code: fine}}
  - {{id: 61002, member_id: 699}}
  - {{id: 10001, member_id: 611}}
  - {{id: 61003, member_id: 123, code: SPORTS_FANS}}
"""


async def test_problems(run: Any, admin: dict[str, str], tmp_path: Path) -> None:
    """The others are put."""
    (tmp_path / "catalog.yaml").write_text(PROBLEMS)
    expected = [
        "catalog.yaml: members[1] (id 612): 'segment_access': there is no member 699",
        "catalog.yaml: users[0] (id 6101): 'username' is taken",
        "catalog.yaml: users[1] (id 6102): 'password' or 'password_hash' is required for a new user",
        "catalog.yaml: segments[1] (id 61002): 'member_id': there is no member 699",
        "catalog.yaml: segments[2] (id 10001): 'member_id' cannot be changed",
        "catalog.yaml: segments[3] (id 61003): 'code' is taken in member 123, whatever its case",
    ]
    ended = await run("catalog", "import", "catalog.yaml", env=admin)
    assert (ended.status, ended.output) == (1, counts(created=2))
    assert ended.errors.splitlines() == expected
    ended = await run("catalog", "import", "catalog.yaml", "--json", env=admin)
    answer = json.loads(ended.output)
    assert (ended.status, answer.pop("problems")) == (1, [line.removeprefix("catalog.yaml: ") for line in expected])
    assert answer == {"created": 0, "changed": 0, "unchanged": 2}


async def test_names_go_from_one_entry_to_the_next(run: Any, admin: dict[str, str], tmp_path: Path) -> None:
    """Whatever their order in the file."""
    head = f"""
members:
  - {{id: 621, name: Names}}
users:
  - {{id: 6201, username: eins, password: {PASSWORD}, member_id: 621}}
  - {{id: 6202, username: zwei, password: {PASSWORD}, member_id: 621}}
segments:
"""
    lines = [f"  - {{id: 6200{number}, member_id: 621, code: {'abcde'[number]}}}\n" for number in range(4)]
    path = tmp_path / "catalog.yaml"
    path.write_text(head + "".join(lines))
    assert (await run("catalog", "import", "catalog.yaml", env=admin)).output == counts(created=7)
    for renamings, codes in (
        ((("zwei", "drei"), ("eins", "zwei")), ("de", "cd", "bc", "ab")),
        ((("zwei", "eins"), ("drei", "zwei"), ("eins", "drei")), ("bX", "cb", "dc", "ed", "Xe")),
    ):
        renamed = path.read_text()
        for old, new in (*renamings, *((f"code: {old}", f"code: {new}") for old, new in codes)):
            renamed = renamed.replace(old, new)
        path.write_text(renamed)
        ended = await run("catalog", "import", "catalog.yaml", env=admin)
        assert (ended.status, ended.output, ended.errors) == (0, counts(changed=6, unchanged=1), "")


async def test_names_change_places_across_requests(run: Any, admin: dict[str, str], tmp_path: Path) -> None:
    segments = [{"id": 710_000 + number, "member_id": 622, "code": f"code {number}"} for number in range(1100)]
    catalog = {"members": [{"id": 622, "name": "Names"}], "segments": segments}
    path = tmp_path / "catalog.yaml"
    path.write_text(json.dumps(catalog))
    assert (await run("catalog", "import", "catalog.yaml", env=admin)).output == counts(created=1101)
    for one, other in ((0, 1099), (7, 1050)):
        segments[one]["code"], segments[other]["code"] = segments[other]["code"], segments[one]["code"]
    path.write_text(json.dumps(catalog))
    ended = await run("catalog", "import", "catalog.yaml", env=admin)
    assert (ended.status, ended.output, ended.errors) == (0, counts(changed=4, unchanged=1097), "")


async def test_a_long_file_goes_in_several_requests(run: Any, admin: dict[str, str], tmp_path: Path) -> None:
    """Members name others that come in a later request; a problem in a later request is named by its place."""
    count = 1200
    members = [{"id": 700_000 + number, "name": "x", "segment_access": [700_000 + count]} for number in range(1, count)]
    members.append({"id": 700_000 + count, "name": "last"})
    members[0]["segment_access"], members[1100]["segment_access"] = [701_101], [700_001]
    segments = [{"id": 700_000 + number, "member_id": 700_001} for number in range(1, count)]
    segments[1100]["member_id"] = 699
    (tmp_path / "catalog.yaml").write_text(json.dumps({"members": members, "segments": segments}))
    ended = await run("catalog", "import", "catalog.yaml", env=admin)
    assert (ended.status, ended.output) == (1, counts(created=2 * count - 2))
    assert ended.errors == "catalog.yaml: segments[1100] (id 701101): 'member_id': there is no member 699\n"
    shown = await run("segment", "list", "--member-id", "700001", "--json", env=admin)
    assert [each["id"] for each in json.loads(shown.output)] == [
        each["id"] for each in segments if each["member_id"] != 699
    ]


FAILURES = {
    "a broken rule": (
        "bad.yaml",
        {},
        r"bad\.yaml: users\[0\] \(id 1\): 'password' must have at least 10 characters, .*",
    ),
    "no YAML": ("no.yaml", {}, r"no\.yaml: not YAML: .*"),
    "an unknown token": (
        "good.yaml",
        {"INSTANT_AUDIENCE_TOKEN": "hbapi:1:0123456789abcdef0123456789abcdef:local"},
        "the token in INSTANT_AUDIENCE_TOKEN is none, or has ended: .*",
    ),
    "a wrong password": (
        "good.yaml",
        {"INSTANT_AUDIENCE_TOKEN": "", "INSTANT_AUDIENCE_USERNAME": "admin", "INSTANT_AUDIENCE_PASSWORD": "x"},
        "the service does not accept the user name 'admin' with this password",
    ),
    "no service there": (
        "good.yaml",
        {"INSTANT_AUDIENCE_URL": "http://127.0.0.1:{free}"},
        "http://.* does not answer .*",
    ),
    "no gRPC there": ("good.yaml", {"INSTANT_AUDIENCE_URL": "http://127.0.0.1:{node}"}, "http://.* does not answer .*"),
    "no URL": (
        "good.yaml",
        {"INSTANT_AUDIENCE_URL": "nonsense"},
        "nonsense has no scheme: it would be http://nonsense, .*",
    ),
    "no admin": (
        "good.yaml",
        {"INSTANT_AUDIENCE_TOKEN": "{demo}"},
        "UNAUTH: .*'admin'.*: `instant-audience login`, or --as",
    ),
}


@pytest.mark.parametrize(("file", "env", "line"), FAILURES.values(), ids=FAILURES)
async def test_failures(
    run: Any, changed: Service, admin: dict[str, str], tmp_path: Path, file: str, env: dict[str, str], line: str
) -> None:
    (tmp_path / "good.yaml").write_text("members: [{id: 5, name: x}]")
    (tmp_path / "no.yaml").write_text("members: [")
    (tmp_path / "bad.yaml").write_text("users: [{id: 1, username: x, member_id: 1, password: s3cret}]")
    (free,) = free_ports("127.0.0.1", 1)
    words = {"free": free, "node": changed.node_ports[0], "demo": await changed.token("demo")}
    ended = await run(
        "catalog", "import", file, env=admin | {name: value.format(**words) for name, value in env.items()}
    )
    assert (ended.status, ended.output) == (1, "")
    assert re.fullmatch(f"Error: {line}\n", ended.errors), ended.errors
    assert "s3cret" not in ended.errors


@pytest.mark.parametrize(("file", "error"), [("missing.yaml", "does not exist"), (".", "is a directory")])
async def test_no_such_file_is_wrong_usage(run: Any, file: str, error: str) -> None:
    """As for all commands that have a file as an argument."""
    ended = await run("catalog", "import", file)
    assert (ended.status, ended.output) == (2, "")
    assert ended.errors.endswith(f"Error: Invalid value for 'FILE': File '{file}' {error}.\n"), ended.errors


async def test_progress_is_shown_on_a_terminal(admin: dict[str, str], tmp_path: Path) -> None:
    """And on a terminal alone: the tests above find nothing on standard error."""
    (tmp_path / "catalog.yaml").write_text(FILE)
    async with on_a_terminal("catalog", "import", "catalog.yaml", cwd=tmp_path, env=admin) as terminal:
        assert await terminal.ended() == 0
    assert re.search("reading.*importing.*created ", terminal.shown, re.DOTALL)


INTERRUPTIONS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


def files_in(directory: Path) -> list[Path]:
    """All of them, hidden ones too."""
    return list(directory.iterdir())


async def interrupted(*words: str, directory: Path, service: socket.socket, number: signal.Signals) -> str:
    """What a command says that is interrupted while it waits for the answer of a service that gives none."""
    address, port = service.getsockname()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "catalog", *words, "--url", f"http://{address}:{port}"),
        cwd=directory,
        env=environment() | {"INSTANT_AUDIENCE_TOKEN": "token"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=not_ignoring_ctrl_c,
    )
    try:
        async with asyncio.timeout(60):
            connection, _ = await asyncio.get_running_loop().sock_accept(service)
            with connection:
                await until(lambda: files_in(directory) != [])
                process.send_signal(number)
                _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    return errors.decode()


@pytest.fixture
def silent() -> Any:
    """The socket of a service that takes connections, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@INTERRUPTIONS
async def test_an_interrupted_export_leaves_nothing(
    tmp_path: Path, silent: socket.socket, number: signal.Signals
) -> None:
    """What it had written stayed beside the file, under a hidden name, but for Ctrl-C."""
    words = "export", "catalog.yaml"
    said = await interrupted(*words, directory=tmp_path, service=silent, number=number)
    assert said == "Error: interrupted; catalog.yaml was not written\n"
    assert files_in(tmp_path) == []


@INTERRUPTIONS
async def test_an_interrupted_import_says_how_far_it_has_come(
    tmp_path: Path, silent: socket.socket, number: signal.Signals
) -> None:
    (tmp_path / "catalog.yaml").write_text(FILE)
    words = "import", "catalog.yaml"
    said = await interrupted(*words, directory=tmp_path, service=silent, number=number)
    assert said == "Error: interrupted; 0 of 5 entries were put for certain; import the file again for the others\n"
