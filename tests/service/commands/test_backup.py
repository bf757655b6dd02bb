"""`backup` and `restore` as an operator calls them, beside a service that runs."""

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from instantaudience_server.backup.file import MAGIC, Writer
from instantaudience_server.commands.root import main
from instantaudience_server.store import keys
from instantaudience_server.store.restore_store import ClusterRestoreStore
from support.contract.messages import one_user
from support.service.processes import not_ignoring_ctrl_c
from support.service.running import COMMAND, Service, environment
from support.service.terminals import on_a_terminal
from support.waiting import eventually, until


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


INTERRUPTIONS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


def left(directory: Path) -> list[Path]:
    """The files of a backup, a partial one too."""
    return list(directory.glob("saved*"))


@INTERRUPTIONS
async def test_an_interrupted_backup_leaves_nothing(changed: Service, tmp_path: Path, number: int) -> None:
    for _ in range(20):  # until it is met before it is done
        async with running(changed, tmp_path, "backup") as process:
            await until(lambda: process.returncode is not None or left(tmp_path) != [])
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            _, errors = await process.communicate()
        if process.returncode != 0:
            break
        (tmp_path / "saved").unlink()
    assert (process.returncode, errors) == (1, b"Error: interrupted; saved was not written\n")
    assert left(tmp_path) == []


@INTERRUPTIONS
async def test_an_interrupted_restore_may_be_run_again_at_once(
    run: Any, changed: Service, tmp_path: Path, number: int
) -> None:
    """Killed by SIGTERM, it kept the next one out for two minutes, and nothing was said."""
    async with changed.http(headers={"authorization": await changed.token()}) as http:
        for user in range(1, 31):  # on every node
            assert (await http.post("/rt-segment", json=one_user(str(user)))).is_success
    env = {"INSTANT_AUDIENCE_DATA_DIR": str(changed.directory / "data")}
    assert (await run("backup", "saved", env=env)).status == 0
    async with changed.cluster() as cluster:

        async def has_begun() -> None:
            assert await cluster.exists(keys.RESTORE_LEASE)

        catalogs = cluster.get_node_from_key(keys.RESTORE_LEASE.decode()).port
        others = [port for port in changed.node_ports if port != catalogs]
        async with taking_no_writes(changed, others), running(changed, tmp_path, "restore", "--overwrite") as process:
            await eventually(has_begun)
            process.send_signal(number)
            _, errors = await process.communicate()
    stays = "what it has put back stays in the cluster: run it again"
    assert (process.returncode, errors.decode()) == (1, f"Error: interrupted; {stays}\n")
    again = await run("restore", "saved", "--overwrite", env=env)
    assert (again.status, again.errors) == (0, "")
    await signed_out(changed)


@INTERRUPTIONS
async def test_a_restore_that_is_interrupted_while_it_checks_its_file_ends_at_once(
    changed: Service, tmp_path: Path, number: int
) -> None:
    """It went on to the end of the file, for minutes where the file is large."""
    saved, block_bytes = tmp_path / "saved", 1 << 26
    with saved.open("wb") as file:  # 256 GB of blocks, with holes in place of what is in them
        file.write(MAGIC)
        for _ in range(1 << 12):
            file.write(block_bytes.to_bytes(4, "big"))
            file.seek(block_bytes, os.SEEK_CUR)
    async with running(changed, tmp_path, "restore", "--overwrite") as process:
        opened = Path(f"/proc/{process.pid}/fd")
        await until(lambda: any(os.path.realpath(each) == os.path.realpath(saved) for each in opened.iterdir()))
        process.send_signal(number)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
    stays = "what it has put back stays in the cluster: run it again"
    assert (process.returncode, errors.decode()) == (1, f"Error: interrupted; {stays}\n")
    async with changed.cluster() as cluster:
        assert not await cluster.exists(keys.RESTORE_LEASE)
    async with changed.http(headers={"authorization": await changed.token()}) as http:
        assert (await http.get("/member")).is_success


@contextlib.asynccontextmanager
async def taking_no_writes(service: Service, ports: list[int]) -> AsyncIterator[None]:
    """Writes to these nodes of the embedded cluster wait for the block's end."""
    try:
        for port in ports:
            await service.on_node(port, "CLIENT", "PAUSE", "60000", "WRITE")
        yield
    finally:
        for port in ports:
            await service.on_node(port, "CLIENT", "UNPAUSE")


@contextlib.asynccontextmanager
async def running(service: Service, directory: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command on the file `saved`."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *words, "saved", "--data-dir", str(service.directory / "data")),
        cwd=directory,
        env=environment(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=not_ignoring_ctrl_c,
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


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
