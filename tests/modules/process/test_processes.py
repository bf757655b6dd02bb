import asyncio
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.process.processes import (
    Child,
    PortInUseError,
    Program,
    Supervised,
    free_ports,
    port_is_free,
    reserve_port,
)
from structlog.testing import capture_logs
from support.waiting import until

pytestmark = pytest.mark.process

HOST = "127.0.0.1"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open and PR_SET_PDEATHSIG")


def shell(script: str, **program: object) -> Program:
    return Program("test", ["/bin/sh", "-c", script], **program)  # type: ignore[arg-type]


def line_of(file: Path) -> str:
    """The first line that a child writes, once it is there."""
    deadline = time.monotonic() + 10
    while not (text := file.read_text()).endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text.strip()


def ends_soon(pidfd: int) -> bool:
    ended, _, _ = select.select([pidfd], [], [], 10.0)
    os.close(pidfd)
    return bool(ended)


class TestChild:
    async def test_tells_how_it_ended(self, subtests: pytest.Subtests) -> None:
        for script, returncode in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9)]:
            with subtests.test(script=script, returncode=returncode):
                child = await Child.start(shell(script))
                assert await child.wait() == returncode
                assert child.returncode == returncode
                assert await child.stop(grace_seconds=1) == returncode

    async def test_gets_input_environment_and_output(self, tmp_path: Path) -> None:
        output = tmp_path / "output"
        output.write_text("before\n")
        content = b"x" * 200_000  # more than a pipe holds
        child = await Child.start(
            shell('wc -c | tr -d " "; echo $WORD >&2', env={"WORD": "hello"}, stdin=content, output=output)
        )
        assert await child.wait() == 0
        assert output.read_text() == "before\n200000\nhello\n"

    async def test_has_an_empty_input_unless_told(self) -> None:
        child = await Child.start(shell('test -z "$(cat)"'))
        assert await child.wait() == 0

    async def test_waits_to_be_told_and_its_successor_does_not(self, tmp_path: Path) -> None:
        output = tmp_path / "output"
        child = await Child.start(shell('echo begun; wc -c | tr -d " "', output=output), waits=True)
        assert line_of(output) == "begun"
        assert child.returncode is None
        await child.tell(b"x" * 200_000)
        assert await child.wait() == 0
        successor = await Child.start(child.program)
        assert await successor.wait() == 0
        assert output.read_text() == "begun\n200000\n" * 2

    async def test_may_end_before_it_is_told(self) -> None:
        child = await Child.start(shell("exit 3"), waits=True)
        assert await child.wait() == 3
        await child.tell(b"x" * 200_000)

    async def test_is_told_nothing_that_it_does_not_wait_for(self) -> None:
        child = await Child.start(shell("exit 0"))
        with pytest.raises(ValueError, match="test does not wait"):
            await child.tell(b"x")
        assert await child.wait() == 0

    async def test_keeps_passed_files_open_and_no_others(self) -> None:
        passed, kept = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)
        child = await Child.start(shell(f"test -e /dev/fd/{passed} && ! test -e /dev/fd/{kept}", pass_fds=[passed]))
        os.close(passed)
        os.close(kept)
        assert await child.wait() == 0

    async def test_is_out_of_reach_of_the_terminal(self) -> None:
        child = await Child.start(shell("exec sleep 600"))
        assert os.getpgid(child.pid) == child.pid
        assert os.getsid(child.pid) == os.getsid(0)
        assert await child.stop(grace_seconds=10) == -signal.SIGTERM

    async def test_cannot_start_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            await Child.start(Program("test", [tmp_path / "missing"]))

    @linux_only
    async def test_is_killed_with_its_own_children_when_it_ignores_sigterm(self, tmp_path: Path) -> None:
        output = tmp_path / "output"
        child = await Child.start(shell("trap '' TERM; sleep 600 & echo $!; wait", output=output))
        grandchild = os.pidfd_open(int(line_of(output)))
        with capture_logs() as logs:
            assert await child.stop(grace_seconds=0.1) == -signal.SIGKILL
        assert ends_soon(grandchild)
        assert [(entry["event"], entry["process"], entry["pid"]) for entry in logs] == [
            ("process_killed", "test", child.pid)
        ]

    @linux_only
    def test_dies_with_a_parent_that_is_killed(self) -> None:
        program = """
            import asyncio
            from instantaudience_server.process.processes import Child, Program, Supervised

            async def main():
                child = await Child.start(Program("test", ["sleep", "600"]))
                supervised = Supervised(await Child.start(Program("test", ["sleep", "600"])))
                print(child.pid, supervised.child.pid, flush=True)
                await asyncio.Event().wait()

            asyncio.run(main())
        """
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
            parent.kill()
        assert len(children) == 2
        assert all(ends_soon(child) for child in children)


class Recorder:
    """A sleep that takes no time, and after `count` of them no end."""

    def __init__(self, count: int) -> None:
        self.delays: list[float] = []
        self.done = asyncio.Event()
        self._count = count

    async def __call__(self, seconds: float) -> None:
        self.delays.append(seconds)
        if len(self.delays) == self._count:
            self.done.set()
            await asyncio.Event().wait()


def clock_of(lifetimes: list[float]) -> Iterator[float]:
    """A clock that is read when a child starts and when it has ended."""
    for lifetime in lifetimes:
        yield 1000.0
        yield 1000.0 + lifetime


class TestSupervised:
    async def test_restarts_ever_more_slowly(self) -> None:
        sleep = Recorder(7)
        with capture_logs() as logs:
            supervised = Supervised(await Child.start(shell("exit 3")), sleep=sleep)
            await sleep.done.wait()
            assert await supervised.stop(grace_seconds=1) == 3
        assert sleep.delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        exits = [entry for entry in logs if entry["event"] == "process_exited"]
        assert [entry["restart_in_seconds"] for entry in exits] == sleep.delays
        assert {(entry["process"], entry["returncode"]) for entry in exits} == {("test", 3)}
        assert len({entry["pid"] for entry in exits}) == len(exits)

    async def test_tells_of_an_end_before_it_starts_the_next(self) -> None:
        sleep = Recorder(3)
        ended: list[int] = []
        child = await Child.start(shell("exit 0"))
        supervised = Supervised(child, on_exit=lambda: ended.append(len(sleep.delays)), sleep=sleep)
        await sleep.done.wait()
        await supervised.stop(grace_seconds=1)
        assert ended == [0, 1, 2]

    async def test_goes_on_when_what_is_told_of_an_end_fails(self) -> None:
        """It ended the supervision: the child was gone for good, without a word."""

        def full() -> None:
            raise OSError(errno.ENOSPC, "no space")

        sleep = Recorder(2)
        with capture_logs() as logs:
            supervised = Supervised(await Child.start(shell("exit 0")), on_exit=full, sleep=sleep)
            async with asyncio.timeout(30):
                await sleep.done.wait()
            await supervised.stop(grace_seconds=1)
        told = ["process_exited", "background_defect"]
        assert [entry["event"] for entry in logs] == [*told, "process_restarted", *told]

    async def test_restarts_quickly_again_after_a_steady_time(self) -> None:
        sleep = Recorder(5)
        clock = clock_of([0.0, 29.9, 30.0, 0.0, 0.0])
        supervised = Supervised(await Child.start(shell("exit 0")), sleep=sleep, clock=lambda: next(clock))
        await sleep.done.wait()
        await supervised.stop(grace_seconds=1)
        assert sleep.delays == [0.2, 0.4, 0.2, 0.4, 0.8]

    async def test_goes_on_when_the_program_is_gone_for_a_while(self, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/bin/sh\nexit 0\n")
        script.chmod(0o700)
        sleep = Recorder(3)
        child = await Child.start(Program("test", [script]))
        script.unlink()
        with capture_logs() as logs:
            supervised = Supervised(child, sleep=sleep)
            await sleep.done.wait()
            await supervised.stop(grace_seconds=1)
        assert [entry["event"] for entry in logs] == ["process_exited", *["process_start_failed"] * 2]
        assert sleep.delays == [0.2, 0.4, 0.8]

    @pytest.mark.parametrize(
        "error", [BlockingIOError(errno.EAGAIN, "not now"), RuntimeError("can't start new thread")], ids=repr
    )
    async def test_goes_on_when_there_may_be_no_more_processes(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """A thread that asyncio could not have ended the supervision: the child was gone for good, without a word."""
        supervised = Supervised(first := await Child.start(shell("exec sleep 600")), sleep=lambda _: asyncio.sleep(0))
        run, errors = asyncio.create_subprocess_exec, iter([error])

        async def refused_once(*words: Any, **options: Any) -> asyncio.subprocess.Process:
            for each in errors:
                raise each
            return await run(*words, **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", refused_once)
        try:
            with capture_logs() as logs:
                first.kill()
                await until(lambda: supervised.child is not first)
        finally:
            await supervised.stop(grace_seconds=10)
        assert [entry["event"] for entry in logs] == ["process_exited", "process_start_failed", "process_restarted"]
        assert logs[1]["error"].startswith("test cannot be started, as there may be no more processes or threads")

    async def test_replaces_a_killed_child(self) -> None:
        first = await Child.start(shell("exec sleep 600"))
        supervised = Supervised(first, sleep=lambda _: asyncio.sleep(0))
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while supervised.child is first:  # noqa: ASYNC110 - it tells no one
                await asyncio.sleep(0.01)
        assert supervised.child.returncode is None
        assert await supervised.stop(grace_seconds=10) == -signal.SIGTERM
        assert supervised.child.pid != first.pid


def listening(*options: int) -> socket.socket:
    server = socket.socket()
    for option in options:
        server.setsockopt(socket.SOL_SOCKET, option, 1)
    server.bind((HOST, 0))
    server.listen()
    return server


class TestPorts:
    def test_free_ports_are_distinct_and_below_the_ephemeral_ones(self) -> None:
        ports = free_ports(HOST, 20)
        assert len(set(ports)) == 20
        assert all(port_is_free(HOST, port) and port < 32_768 for port in ports)

    def test_a_port_where_another_listens_is_refused(self, subtests: pytest.Subtests) -> None:
        for options in [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]:
            with subtests.test(options=options):
                with listening(*options) as server:
                    port = server.getsockname()[1]
                    assert not port_is_free(HOST, port)
                    with pytest.raises(PortInUseError, match=f"port {port} on {HOST} is in use") as refused:
                        reserve_port(HOST, port)
                assert refused.value.port == port
                assert refused.value.errno == errno.EADDRINUSE

    def test_a_reserved_port_is_for_the_children_only(self) -> None:
        with reserve_port(HOST, 0) as reserved:
            port = reserved.getsockname()[1]
            assert not port_is_free(HOST, port)
            with pytest.raises(PortInUseError):
                reserve_port(HOST, port)
            with socket.socket() as child, socket.socket() as sibling:
                for each in (child, sibling):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    each.bind((HOST, port))
                child.listen()
                # All connections come to those that listen, none is lost on the socket that reserves.
                for _ in range(20):
                    with socket.create_connection((HOST, port), timeout=5), child.accept()[0]:
                        pass
        assert port_is_free(HOST, port)

    def test_a_free_port_can_be_reserved_by_number(self) -> None:
        (port,) = free_ports(HOST, 1)
        with reserve_port(HOST, port) as reserved:
            assert reserved.getsockname() == (HOST, port)

    def test_other_troubles_are_not_taken_for_a_port_in_use(self) -> None:
        with pytest.raises(OSError, match="assign") as refused:
            reserve_port("192.0.2.1", 0)  # TEST-NET-1, RFC 5737: nobody's address
        assert not isinstance(refused.value, PortInUseError)
