"""How long it is waited for what starts, and the directory that the service's processes share."""

import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from instantaudience_server.process.processes import Child, Program, StartError
from instantaudience_server.running import starting
from instantaudience_server.running.starting import own_directory, wait_until
from support.service.running import new_directory

pytestmark = pytest.mark.process

WORK = """
import pathlib, sys, time
while time.process_time() < 3:
    pass
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
REST = "import time\ntime.sleep(60)"


@pytest.mark.parametrize("does", ["work", "rest"])
async def test_who_works_is_waited_for_and_who_rests_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """A catalog of a million segments takes as long as the machine needs: such a service did not start at all."""
    monkeypatch.setattr(starting, "START_SECONDS", 2.0)
    is_there = tmp_path / "is there"
    child = await Child.start(Program("it", [sys.executable, "-c", WORK if does == "work" else REST, is_there]))

    async def ready() -> bool:
        return is_there.exists()

    try:
        if does == "work":
            await wait_until(child, ready)
        else:
            with pytest.raises(StartError, match="it has not started, and has done nothing for 2 s"):
                await wait_until(child, ready)
    finally:
        await child.stop(grace_seconds=0)


@pytest.mark.parametrize("is_limited", [False, True])
async def test_what_ends_where_addresses_are_limited(is_limited: bool) -> None:
    """Nobody who reads of status -6 thinks of `ulimit -v`."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    child = await Child.start(Program("it", ["sh", "-c", "exit 3"]))

    async def ready() -> bool:
        return False

    if is_limited:
        resource.setrlimit(resource.RLIMIT_AS, (2**50, limits[1]))
    try:
        with pytest.raises(StartError) as error:
            await wait_until(child, ready)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        await child.stop(grace_seconds=0)
    hint = ". A process may have 1073741824 MB of addresses (`ulimit -v`, LimitAS)" if is_limited else ""
    assert str(error.value).startswith(f"it ended with status 3; its last words are above{hint}")
    assert is_limited or str(error.value).endswith("above")


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="nothing cleans temporary directories here")
async def test_a_temporary_directory_is_cleaned_and_the_services_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten days the gateway's configuration was gone, and a gateway that crashed then never came back."""
    async with new_directory() as cleaned:
        monkeypatch.setenv("TMPDIR", str(cleaned))
        monkeypatch.setattr(tempfile, "tempdir", None)
        (rule := cleaned / "rule.conf").write_text(f"d {cleaned} - - - 0\n")
        with own_directory() as directory:
            (directory / "envoy.json").touch()
            await asyncio.to_thread(subprocess.run, ["systemd-tmpfiles", "--clean", rule], check=True)
            assert (rule.exists(), (directory / "envoy.json").exists()) == (False, True)
        assert not directory.exists()
