"""`member`, `user` and `segment`."""

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.commands.connection import client
from service.commands.conftest import rows
from support.credentials.key_pairs import private_pem, public_pem, signed
from support.service.running import Service, credentials
from support.service.terminals import on_a_terminal

PASSWORD, OTHER = "Object-Passw0rd", "Other-Passw0rd"


def fields_of(table: str) -> dict[str, str]:
    """The rows of a table with a field and its value each."""
    return dict(rows(table))  # type: ignore[arg-type]


@pytest.fixture
def done(run: Any, admin: dict[str, str]) -> Any:
    """Runs a command, which does what it should, as an admin; returns the object that it prints as JSON."""

    async def run_well(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Any:
        ended = await run(*words, "--json", stdin=stdin, env=admin | (env or {}))
        assert (ended.status, ended.errors) == (0, "")
        return json.loads(ended.output)

    return run_well


async def statuses(service: Service, username: str, *passwords: str) -> list[int]:
    """How the service answers when someone signs in."""
    async with service.http() as http:
        return [(await http.post("/auth", json=credentials(username, each))).status_code for each in passwords]


async def test_a_member_from_its_beginning_to_its_end(run: Any, done: Any, admin: dict[str, str]) -> None:
    words = ("--id", "801", "--default-expiration", "60", "--segment-access", "123,1661", "--use-external-uids", "yes")
    words += (
        "--longest-expiration-minutes",
        "90",
        "--durability",
        "disk",
        "--external-member-uid",
        "958",
        "--posts-per-second",
        "5",
        "--body-bytes",
        "1000",
    )
    member = await done("member", "add", "--name", "[b]é", *words)
    etag = member.pop("etag")
    assert member == {
        "id": 801,
        "name": "[b]é",
        "default_expiration": 60,
        "longest_expiration_minutes": 90,
        "segment_access": [123, 1661],
        "use_external_uids": True,
        "external_member_uid": 958,
        "durability": "disk",
        "limits": {"posts_per_second": 5, "body_bytes": 1000},
    }
    assert await done("member", "show", "801") == member | {"etag": etag}
    assert member | {"etag": etag} in await done("member", "list")
    shown = (await run("member", "show", "801", env=admin)).output
    assert fields_of(shown) == {
        "id": "801",
        "name": "[b]é",
        "default_expiration": "60",
        "longest_expiration_minutes": "90",
        "segment_access": "123, 1661",
        "use_external_uids": "yes",
        "external_member_uid": "958",
        "durability": "disk",
        "limits.posts_per_second": "5",
        "limits.body_bytes": "1000",
        "etag": etag,
    }
    changed = await done("member", "set", "801", "--users-per-call", "9", "--segment-access", "", "--etag", etag)
    assert changed["limits"] == {"posts_per_second": 5, "body_bytes": 1000, "users_per_call": 9}
    assert (changed["segment_access"], changed["name"], changed["etag"] == etag) == ([], "[b]é", False)
    unset = ("--unset", "limits.posts_per_second", "--unset", "external_member_uid", "--unset", "default_expiration")
    changed = await done("member", "set", "801", *unset)
    assert changed["limits"] == {"body_bytes": 1000, "users_per_call": 9}
    assert (changed.get("external_member_uid"), changed["default_expiration"]) == (None, 0)
    ended = await run("member", "remove", "801", "--etag", etag, env=admin)
    assert (ended.status, ended.output) == (1, "")
    assert re.fullmatch("Error: INTEGRITY: .*changed meanwhile: read it again.*\n", ended.errors)
    ended = await run("member", "remove", "801", "--etag", changed["etag"], env=admin)
    assert (ended.status, ended.output, ended.errors) == (0, "removed member 801\n", "")
    ended = await run("member", "show", "801", env=admin)
    assert (ended.status, ended.output, ended.errors) == (1, "", "Error: SYNTAX: 'id': there is no member 801\n")


async def test_a_user_from_its_beginning_to_its_end(
    run: Any, done: Any, changed: Service, admin: dict[str, str]
) -> None:
    words = ("--username", "anna", "--member-id", "777", "--password-stdin")
    user = await done("user", "add", *words, stdin=f"{PASSWORD}\n")
    assert {name: value for name, value in user.items() if name not in ("id", "etag", "token_generation")} == {
        "username": "anna",
        "member_id": 777,
        "role": "member",
        "deactivated": False,
        "certificate_names": [],
    }
    user_id = str(user["id"])
    assert user in await done("user", "list", "--member-id", "777")
    assert user not in await done("user", "list", "--member-id", "123")
    assert await statuses(changed, "anna", PASSWORD) == [200]
    assert (await done("user", "set", user_id, "--deactivated", "yes"))["deactivated"]
    assert await statuses(changed, "anna", PASSWORD) == [401]
    user = await done("user", "set", user_id, "--deactivated", "no", "--role", "admin", "--username", "Anna")
    assert (user["deactivated"], user["role"], user["username"]) == (False, "admin", "Anna")
    ended = await run("user", "list", "--member-id", "777", env=admin)
    assert re.search(rf"{user_id} +│ +Anna +│ +777 +│ +admin +│ +no ", ended.output)
    ended = await run("user", "remove", user_id, env=admin)
    assert (ended.status, ended.output, ended.errors) == (0, f"removed user {user_id}\n", "")
    assert await statuses(changed, "Anna", PASSWORD) == [401]


async def test_passwords_and_tokens(run: Any, done: Any, changed: Service, admin: dict[str, str]) -> None:
    user = await done(
        "user", "add", "--username", "berta", "--member-id", "777", "--password-stdin", stdin=f"{PASSWORD}\n"
    )
    berta = {
        "INSTANT_AUDIENCE_URL": changed.url,
        "INSTANT_AUDIENCE_USERNAME": "berta",
        "INSTANT_AUDIENCE_PASSWORD": PASSWORD,
    }
    own = ("user", "password", "--password-stdin")
    ended = await run(*own, stdin=f"wrong\n{OTHER}\n", env=berta)
    assert (ended.status, ended.output) == (1, "")
    assert ended.errors == "Error: UNAUTH: 'current_password' is wrong\n"
    ended = await run(*own, str(user["id"]), stdin=f"{PASSWORD}\n{OTHER}\n", env=berta)  # the old one is needed, too
    assert (ended.status, ended.errors) == (0, "")
    assert await statuses(changed, "berta", PASSWORD, OTHER) == [401, 200]
    other = ("user", "password", str(user["id"]), "--password-stdin")
    assert (await run(*other, stdin=f"{PASSWORD}\n", env=admin)).status == 0
    assert await statuses(changed, "berta", OTHER, PASSWORD) == [401, 200]
    weak = await run(*other, stdin="weak\n", env=admin)
    assert (weak.status, weak.output) == (1, "")
    assert re.fullmatch("Error: SYNTAX: 'new_password' must have at least 10 characters, .*\n", weak.errors)
    async with changed.http() as http:
        answer = await http.post("/auth", json=credentials("berta", PASSWORD))
        headers = {"authorization": answer.json()["response"]["token"]}
        assert (await http.get("/segment", headers=headers)).status_code == 200
        assert (await run("user", "revoke", str(user["id"]), env=admin)).status == 0
        async with asyncio.timeout(20):  # one worker after the other learns it
            while (await http.get("/segment", headers=headers)).status_code != 401:
                pass
    # A token of before is replaced without asking.
    assert (await run("user", "revoke", env=berta)).status == 0
    assert (await run("segment", "list", env=berta)).status == 0


async def test_public_keys(run: Any, changed: Service, admin: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text(public_pem("ES256"))
    (tmp_path / "private.pem").write_text(private_pem("ES256"))

    async def key(*words: str, stdin: str = "") -> Any:
        return await run("user", "key", *words, "--user", "1003", stdin=stdin, env=admin)

    added = await key("add", str(tmp_path / "public.pem"), "--name", "pods")
    assert (added.status, added.output) == (0, "added key 1, pods\n")
    assert (await key("add", "-", "--name", "more", stdin=public_pem("ES256"))).output == "added key 2, more\n"
    assert (await key("deactivate", "2")).output == "deactivated key 2\n"
    (pods, more) = json.loads((await key("list", "--json")).output)
    assert (pods["name"], pods["active"], more["active"]) == ("pods", True, False)
    assert re.search(r"│ +2 +│ more +│ no +│", (await key("list")).output)
    assert (await key("activate", "2")).output == "activated key 2\n"
    for words, text in (
        (("add", str(tmp_path / "public.pem"), "--name", "pods"), "INTEGRITY: 'name' is taken"),
        (("add", str(tmp_path / "private.pem"), "--name", "x"), "SYNTAX: The key is a private key"),
        (("deactivate", "9"), "SYNTAX: 'key_id': user 1003 has no key 9"),
    ):
        failed = await key(*words)
        assert failed.status == 1
        assert text in failed.errors
        assert "BEGIN" not in failed.errors
    jwt = signed("ES256", time.time(), "private", "pods")
    async with changed.http() as http:
        assert (await http.post("/v2/auth/jwt", content=jwt)).status_code == 200


async def test_a_password_is_asked_for_on_a_terminal(changed: Service, admin: dict[str, str], tmp_path: Path) -> None:
    """Twice, and it is not shown."""
    words = ("user", "add", "--username", "clara", "--member-id", "777")
    async with on_a_terminal(*words, cwd=tmp_path, env=admin) as terminal:
        for prompt in ("Password of the new user: ", "Repeat for confirmation: "):
            await terminal.until(prompt)
            terminal.type(PASSWORD)
        assert await terminal.ended() == 0
    assert PASSWORD not in terminal.shown
    assert await statuses(changed, "clara", PASSWORD) == [200]


async def test_a_segment_from_its_beginning_to_its_end(run: Any, done: Any, admin: dict[str, str]) -> None:
    words = ("--code", "[i]", "--short-name", "Sports; all", "--description", "x", "--expire-minutes", "5")
    words += ("--original-fields", '{"price": 1.5}')
    segment = await done("segment", "add", "--member-id", "777", *words)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", segment["last_modified"])
    assert {name: value for name, value in segment.items() if name not in ("id", "etag", "last_modified")} == {
        "member_id": 777,
        "code": "[i]",
        "short_name": "Sports; all",
        "description": "x",
        "state": "active",
        "expire_minutes": 5,
        "original_fields": {"price": 1.5},
    }
    segment_id = str(segment["id"])
    assert await done("segment", "list", "--member-id", "777", "--search", "SPORTS;") == [segment]
    assert await done("segment", "list", "--member-id", "777", "--search", "nothing like it") == []
    assert len(await done("segment", "list", "--limit", "2")) == 2
    ended = await run("segment", "list", "--search", "sports;", env=admin | {"COLUMNS": "200"})
    assert re.search(rf"{segment_id} +│ +777 +│ \[i\] +│ Sports; all +│ active +│ +5 ", ended.output)
    segment = await done(
        "segment", "set", segment_id, "--state", "inactive", "--unset", "code", "--unset", "expire_minutes"
    )
    assert "expire_minutes" not in segment
    assert (segment["state"], segment.get("code"), segment["short_name"]) == (
        "inactive",
        None,
        "Sports; all",
    )
    assert await done("segment", "show", segment_id) == segment
    ended = await run("segment", "remove", segment_id, env=admin)
    assert (ended.status, ended.output, ended.errors) == (0, f"removed segment {segment_id}\n", "")


async def test_a_member_works_on_its_own_segments_alone(run: Any, changed: Service) -> None:
    demo = {"INSTANT_AUDIENCE_URL": changed.url, "INSTANT_AUDIENCE_TOKEN": await changed.token("demo")}
    ended = await run("segment", "list", "--json", env=demo)
    assert {each["member_id"] for each in json.loads(ended.output)} == {123}
    for words in (("segment", "show", "40001"), ("member", "list"), ("user", "set", "1", "--role", "member")):
        ended = await run(*words, env=demo)
        assert (ended.status, ended.output) == (1, "")
        assert re.fullmatch(
            "Error: UNAUTH: .*; sign in as a user that may do this: `instant-audience login`, or --as\n", ended.errors
        )


FAILURES = {
    "nothing to change": ("member set 123", 2, "nothing to change: give at least one field"),
    "nothing to add": ("segment add", 2, "nothing to add: give at least one field"),
    "a field that no file has": (
        "member set 123 --batch-fields SEG_ID,END",
        2,
        ".* there is no field END; the fields are SEG_ID, SEG_CODE, MEMBER_ID, EXPIRATION, TIMESTAMP, VALUE",
    ),
    "set and unset": ("segment set 12 --code x --unset code", 2, "code cannot be set and unset at once"),
    "an unknown field": ("segment set 12 --unset id", 2, ".*'--unset': 'id' is not one of .*"),
    "no ID": ("segment show", 2, "Missing argument 'ID'."),
    "an ID that is no number": ("segment show x", 2, "Invalid value for 'ID': 'x' is no whole number of 32 bits"),
    "too large a number": ("member add --name x --id 2147483648", 2, ".*'--id': '2147483648' is no whole number .*"),
    "IDs that are none": ("member add --name x --segment-access 1,x", 2, ".*'--segment-access': 'x' is no whole .*"),
    "no name": ("member add", 2, "Missing option '--name'."),
    "an unknown role": ("user set 1 --role root", 2, ".*'--role': 'root' is not one of 'member', 'admin'."),
    "nobody to ask for a password": ("user add --username x --member-id 1", 2, "standard input is no terminal .*"),
    "half of a character": (r'segment add --original-fields {"price":"\ud800"}', 2, ".* this is no object in JSON"),
    "a number that no field holds": (
        f'segment add --original-fields {{"price":1{"0" * 400}}}',
        2,
        ".* this is no object in JSON",
    ),
    "a number whose digits would be lost": (
        'segment add --original-fields {"price":[9007199254740993]}',
        2,
        ".* a double has fewer digits than a number in it: write that as a string",
    ),
    "far too deep": (
        f'segment add --original-fields {{"price":{"[" * 20_000}{"]" * 20_000}}}',
        2,
        ".* this is no object in JSON",
    ),
    "a password as an argument": ("user add --username x --member-id 1 --password x", 2, ".*"),
    "a broken rule": ("member set 123 --users-per-call 100001", 1, "SYNTAX: 'limits.users_per_call' must be 1 to .*"),
    "a code that is taken": (
        "segment set 10001 --code car_shoppers",
        1,
        "INTEGRITY: 'code' is taken in member 123, .*",
    ),
    "an ID that is taken": ("segment add --id 10001", 1, "INTEGRITY: 'id' is taken: there is a segment 10001"),
    "a member in use": ("member remove 777", 1, "INTEGRITY: Member 777 is in use: .*"),
    "nobody there": ("user password 999 --password-stdin", 1, "SYNTAX: .*"),
}


@pytest.mark.parametrize(("words", "status", "line"), FAILURES.values(), ids=FAILURES)
async def test_failures(run: Any, admin: dict[str, str], words: str, status: int, line: str) -> None:
    ended = await run(*words.split(), stdin=f"{PASSWORD}\n", env=admin)
    assert (ended.status, ended.output) == (status, "")
    *usage, last = ended.errors.splitlines()
    assert re.fullmatch(f"Error: {line}", last), ended.errors
    assert len(usage) == (3 if status == 2 else 0)
    assert PASSWORD not in ended.errors


async def test_after_the_last_wait_for_a_limit_comes_another_try(
    changed: Service, done: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be in vain."""
    monkeypatch.setattr(client, "MOST_WAITS", 1)
    await done("member", "set", "777", "--gets-per-second", "1")
    token = await changed.token("private")

    def list_segments() -> None:
        with contextlib.closing(client.Client(changed.url, token, None)) as calling:
            for _ in range(4):
                assert len(calling.catalog("ListSegments", pb.ListSegmentsRequest()).segments) == 1

    await asyncio.to_thread(list_segments)
    await done("member", "set", "777", "--unset", "limits.gets_per_second")
