"""`login`, `logout` and profiles."""

import asyncio
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from service.commands.conftest import LIKE_OTHERS, NOBODY
from support.service.running import PASSWORDS, Service
from support.service.terminals import on_a_terminal


async def test_from_signing_in_to_signing_out(run: Any, changed: Service, tmp_path: Path) -> None:
    """The password is asked for, and is nowhere afterwards; the token is for its owner alone, and ends."""
    env = {"INSTANT_AUDIENCE_URL": changed.url}
    words = ("login", "--as", "private", "--profile", "mine")
    ended = await run(*words, "--password-stdin", stdin=f"{PASSWORDS['private']}\n", env=env)
    assert (ended.status, ended.output) == (0, f"signed in to {changed.url} as private, profile mine\n"), ended.errors
    kept = tmp_path / "config/instant-audience/profiles/mine.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    profile = json.loads(kept.read_text())
    assert (profile["url"], profile["username"]) == (changed.url, "private")
    assert PASSWORDS["private"] not in kept.read_text()
    shown, elsewhere = await asyncio.gather(
        run("segment", "list", "--profile", "mine", "--json"),
        run("segment", "list", "--profile", "mine", "--url", "http://127.0.0.1:1"),
    )
    assert {each["member_id"] for each in json.loads(shown.output)} == {777}
    assert elsewhere.errors == f"Error: profile mine is for {changed.url}, not for http://127.0.0.1:1\n"
    ended = await run("logout", "--profile", "mine")
    assert (ended.status, ended.output) == (0, f"signed out of {changed.url}, profile mine\n")
    assert not kept.exists()
    kept.write_text(json.dumps(profile))
    async with asyncio.timeout(30):  # one worker after the other learns that the token has ended
        while (ended := await run("segment", "list", "--profile", "mine")).status == 0:
            pass
    again = "`instant-audience login --profile mine`"
    assert ended.errors == f"Error: the token of profile mine has ended: {again}\n"
    missing, refused, unreadable, empty = await asyncio.gather(
        run("get", "1", "--profile", "other"),
        run(*words, "--password-stdin", stdin="wrong\n", env=env),
        run(*words, "--password-stdin", stdin="x\udcff\n", env=env | {"PYTHONIOENCODING": "utf-8:strict"}),
        run(*words, "--password-stdin", stdin="\n", env=env),
    )
    assert empty.errors == "Error: standard input has an empty line, or none, where a password is needed\n"
    assert (unreadable.status, unreadable.errors) == (1, "Error: standard input is no readable text\n")
    assert missing.errors.startswith("Error: there is no profile other: sign in with `instant-audience login")
    assert (refused.status, refused.output) == (1, "")
    assert "does not accept the user name 'private' with this password" in refused.errors


async def test_signing_out_of_a_service_that_is_away(run: Any, tmp_path: Path) -> None:
    kept = tmp_path / "config/instant-audience/profiles/mine.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"url": "http://127.0.0.1:1", "username": "demo", "token": "hbapi:1:0:local"}))
    ended = await run("logout", "--profile", "mine")
    assert (ended.status, ended.output) == (1, "")
    left = "profile mine is deleted here, but its token is not ended"
    assert re.fullmatch(rf"Error: http://127\.0\.0\.1:1 does not answer .*; {left}; once .*\n", ended.errors), (
        ended.errors
    )
    assert not kept.exists()


async def test_a_damaged_profile_is_mended_as_it_says(run: Any, changed: Service, tmp_path: Path) -> None:
    kept = tmp_path / "config/instant-audience/profiles/mine.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    damaged = await run("get", "1", "--profile", "mine")
    again = "sign in again with `instant-audience login --profile mine`"
    assert damaged.errors == f"Error: {kept} is no profile: {again}\n"
    words = ("login", "--profile", "mine", "--as", "demo", "--url", changed.url, "--password-stdin")
    ended = await run(*words, stdin=f"{PASSWORDS['demo']}\n")
    assert ended.status == 0, ended.errors
    assert (await run("get", NOBODY, "--profile", "mine")).output == f"{NOBODY} is in no segment\n"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[" * 100_000,
        json.dumps({"url": "http://127.0.0.1:1", "username": "demo", "token": "hbapi:1:0:local\n"}),
    ],
    ids=["cut off", "nested", "broken token"],
)
async def test_signing_out_deletes_a_damaged_profile(run: Any, tmp_path: Path, content: str) -> None:
    kept = tmp_path / "config/instant-audience/profiles/default.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    ended = await run("logout")
    left = "profile default is deleted here, but a token that it may have had is not ended"
    assert (ended.status, ended.errors) == (1, f"Error: {kept} is no profile; {left}\n")
    assert not kept.exists()


async def test_a_folder_in_a_profiles_place_is_to_be_moved_away(run: Any, tmp_path: Path) -> None:
    kept = tmp_path / "config/instant-audience/profiles/default.json"
    kept.mkdir(parents=True)
    for ended in await asyncio.gather(*(run(*words) for words in (("logout",), ("get", "1")))):
        assert ended.errors == f"Error: {kept}: Is a directory; move away what is in its place\n"


async def test_a_profile_that_may_not_be_deleted_is_told(run: Any, tmp_path: Path) -> None:
    kept = tmp_path / "config/instant-audience/profiles/default.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{")
    kept.parent.chmod(0o555)
    ended = await run("logout", under=LIKE_OTHERS)
    assert (ended.status, ended.errors) == (1, f"Error: {kept} cannot be deleted: Permission denied\n")


async def test_a_damaged_kept_token_is_replaced(run: Any, changed: Service, tmp_path: Path) -> None:
    env = {"INSTANT_AUDIENCE_URL": changed.url}
    assert (await run("get", NOBODY, env=env)).status == 0
    [kept] = (tmp_path / "cache/instant-audience").iterdir()
    token = kept.read_text()
    kept.write_text(f"{token}\n")
    ended = await run("get", NOBODY, env=env)
    assert (ended.output, ended.errors) == (f"{NOBODY} is in no segment\n", "")
    assert kept.read_text() not in (token, f"{token}\n")


async def test_on_a_terminal(changed: Service, tmp_path: Path) -> None:
    """Name and password are asked for; then the default profile counts; removing asks first."""
    env = {"XDG_CONFIG_HOME": str(tmp_path), "PAGER": "cat", "COLUMNS": "80", "LINES": "9"}

    async def typed(*words: str, answers: dict[str, str] | None = None, **more: str) -> str:
        async with on_a_terminal(*words, cwd=tmp_path, env=env | more) as terminal:
            for prompt, answer in (answers or {}).items():
                await terminal.until(prompt)
                terminal.type(answer)
            await terminal.ended()
        return terminal.shown

    answers = {"User name: ": "admin", "Password: ": PASSWORDS["admin"]}
    shown = await typed("login", "--url", changed.url, answers=answers)
    assert f"signed in to {changed.url} as admin" in shown
    assert PASSWORDS["admin"] not in shown
    shown = await typed("segment", "list")  # longer than the screen: in a pager
    assert re.search("│ ?car_shoppers *│.*│2[0-9]{3}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}│", shown)
    assert max(len(line) for line in shown.splitlines() if "│" in line) <= 80
    for more, is_coloured in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        assert ("\x1b[" in await typed("doctor", "--no-service", **more)) == is_coloured, more
    shown = await typed("segment", "remove", "30001", answers={"Remove segment 30001? [y/N]: ": "n"})
    assert "Aborted!" in shown
    assert "active" in await typed("segment", "show", "30001")
