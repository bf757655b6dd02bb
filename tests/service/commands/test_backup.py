"""`backup` and `restore` as an operator calls them, beside a service that runs."""

import asyncio
import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from instantaudience_server.backup.file import Writer
from instantaudience_server.commands.root import main
from instantaudience_server.store.restore_store import ClusterRestoreStore
from support.service.running import Service
from support.service.terminals import on_a_terminal


async def signed_out(service: Service) -> None:
    """Its workers find that the catalog is another one: tokens have ended with it. Later tests sign in again."""
    await service.refused(await service.token())
    service.forget_tokens()


async def test_there_and_back(run: Any, changed: Service) -> None:
    async with changed.http(headers={"authorization": await changed.token()}) as http:
        body = {"rt_segment": [{"user_id": "4711", "seg_block": [{"seg_id": 10001, "value": 5}]}]}
        assert (await http.post("/rt-segment", json=body)).is_success
        env = {"INSTANT_AUDIENCE_DATA_DIR": str(changed.directory / "data")}
        taken = await run("backup", "saved", "--json", env=env)
        assert taken.status == 0, taken.errors
        assert json.loads(taken.output)["catalog_objects"] > 10
        body["rt_segment"][0]["seg_block"] = [{"seg_id": 10001, "expiration": -1}]
        assert (await http.post("/rt-segment", json=body)).is_success
        assert "10001" not in (await http.get("/rt-segment", params={"user_id": "4711"})).text
        refused = await run("restore", "saved", env=env)
        assert (refused.status, "--overwrite" in refused.errors) == (1, True)
        put = await run("restore", "saved", "--overwrite", env=env)
        assert (put.status, put.errors) == (0, "")
        assert "memberships" in put.output
        await signed_out(changed)
        http.headers["authorization"] = await changed.token()
        assert "10001" in (await http.get("/rt-segment", params={"user_id": "4711"})).text
        assert (await http.get("/segment", params={"id": 10001})).is_success


async def test_progress_is_shown_on_a_terminal(service: Service, tmp_path: Path) -> None:
    env = {"INSTANT_AUDIENCE_DATA_DIR": str(service.directory / "data")}
    async with on_a_terminal("backup", "saved", cwd=tmp_path, env=env) as terminal:
        assert await terminal.ended() == 0
    assert re.search(r"backup .*100%", terminal.shown)


async def test_a_full_disk_is_told_without_the_clusters_password(
    monkeypatch: pytest.MonkeyPatch, changed: Service, tmp_path: Path
) -> None:
    """What writes says no file's name; the cluster's URL stood in its place."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Writer, "add", full)
    words = ["backup", str(tmp_path / "saved"), "--data-dir", str(changed.directory / "data")]
    ended = await asyncio.to_thread(CliRunner().invoke, main, words)
    assert ended.exit_code == 1
    assert ended.stderr.splitlines()[-1] == f"Error: {tmp_path}/saved: No space left on device"


async def test_who_takes_no_writes_is_told_and_keeps_no_other_one_out(
    monkeypatch: pytest.MonkeyPatch, changed: Service, tmp_path: Path
) -> None:
    """It was told as a call that may be sent again, and the next two minutes' restores found another one under way."""

    async def run(*words: str) -> Result:
        every = [*words, str(tmp_path / "saved"), "--data-dir", str(changed.directory / "data")]
        return await asyncio.to_thread(CliRunner().invoke, main, every)

    await changed.token()
    assert (await run("backup")).exit_code == 0
    begun = ClusterRestoreStore.hold

    async def memory(limit: str) -> None:
        for port in changed.node_ports:
            await changed.on_node(port, "CONFIG", "SET", "maxmemory", limit)

    async def hold(store: ClusterRestoreStore) -> bool:
        held = await begun(store)
        await memory("1")
        full.setattr("instantaudience_server.backup.connection.PATIENCE_SECONDS", 0.5)
        return held

    with monkeypatch.context() as full:
        full.setattr(ClusterRestoreStore, "hold", hold)
        try:
            ended = await run("restore", "--overwrite")
        finally:
            await memory("0")
    assert ended.exit_code == 1
    assert re.search(r"takes no writes: 127\.0\.0\.1:\d+ \(OOM\)$", ended.stderr.strip()), ended.stderr
    assert (await run("restore", "--overwrite")).exit_code == 0
    await signed_out(changed)


async def test_nothing_to_take_it_of(run: Any) -> None:
    ended = await run("backup", "-")
    assert (ended.status, ended.errors.splitlines()[-1]) == (
        2,
        "Error: a backup has its name when it is whole, so it cannot go to standard output: name a file",
    )
    ended = await run("backup", "")
    assert (ended.status, ended.errors.splitlines()[-1]) == (2, "Error: Invalid value for 'FILE': '' is no path")
    ended = await run("backup", "saved", "--data-dir", "nowhere")
    assert (ended.status, "INSTANT_AUDIENCE_REDIS" in ended.errors) == (2, True)
    ended = await run("backup", "saved", "--redis", "redis://127.0.0.1:1")
    assert (ended.status, "the cluster cannot be used" in ended.errors) == (1, True)
