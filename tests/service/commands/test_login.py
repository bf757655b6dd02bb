"""`login`, `logout` and profiles."""

import asyncio
import json
import os
import pty
import re
import stat
from pathlib import Path
from typing import Any

from service.commands.conftest import NOBODY
from support.service.processes import all_of, read_until
from support.service.running import COMMAND, PASSWORDS, Service


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
    missing, refused, unreadable = await asyncio.gather(
        run("get", "1", "--profile", "other"),
        run(*words, "--password-stdin", stdin="wrong\n", env=env),
        run(*words, "--password-stdin", stdin="x\udcff\n", env=env | {"PYTHONIOENCODING": "utf-8:strict"}),
    )
    assert (unreadable.status, unreadable.errors) == (1, "Error: standard input is no readable text\n")
    assert missing.errors.startswith("Error: there is no profile other: sign in with `instant-audience login")
    assert (refused.status, refused.output) == (1, "")
    assert "does not accept the user name 'private' with this password" in refused.errors


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


async def test_on_a_terminal(changed: Service, tmp_path: Path) -> None:
    """Name and password are asked for; then the default profile counts; removing asks first."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INSTANT_AUDIENCE_")}
    env = inherited | {"TERM": "xterm", "XDG_CONFIG_HOME": str(tmp_path), "PAGER": "cat", "COLUMNS": "80", "LINES": "9"}

    async def typed(*words: str, no_color: str = "", **answers: str) -> str:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env | {"NO_COLOR": no_color},
            preexec_fn=lambda: os.login_tty(theirs),
        )
        os.close(theirs)
        for prompt, answer in answers.items():
            await asyncio.to_thread(read_until, ours, f"{prompt.replace('_', ' ')}: ".encode())
            os.write(ours, f"{answer}\n".encode())
        shown = await asyncio.to_thread(all_of, ours)
        await asyncio.wait_for(process.wait(), 30)
        return shown

    shown = await typed("login", "--url", changed.url, User_name="admin", Password=PASSWORDS["admin"])
    assert f"signed in to {changed.url} as admin" in shown
    assert PASSWORDS["admin"] not in shown
    shown = await typed("segment", "list")  # longer than the screen: in a pager
    assert re.search("│ ?car_shoppers *│.*│2[0-9]{3}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}│", shown)
    assert max(len(line) for line in shown.splitlines() if "│" in line) <= 80
    coloured, plain = [await typed("doctor", "--no-service", no_color=each) for each in ("", "1")]
    assert ("\x1b[" in coloured, "\x1b[" in plain) == (True, False)
    shown = await typed("segment", "remove", "30001", **{"Remove_segment_30001?_[y/N]": "n"})
    assert "Aborted!" in shown
    assert "active" in await typed("segment", "show", "30001")
