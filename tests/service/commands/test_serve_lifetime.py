"""`serve` from its start to its end: calls in flight finish, nothing stays behind but the data."""

import asyncio
import fcntl
import os
import shlex
import signal
import socket
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience_gateway.envoy import admin
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.process.processes import free_ports
from redis.asyncio import RedisCluster
from support.cluster.stored import stored
from support.contract.messages import apply_request, one_user, stream_request
from support.service.processes import Process, all_end, descendants, needs_proc, standing_still
from support.service.running import COMMAND, ON_ONE_HOST, Service, new_directory, running_service, starting_service
from support.waiting import eventually

pytestmark = needs_proc

STATUS = health_pb2.HealthCheckResponse


@asynccontextmanager
async def ended_cleanly(service: Service) -> AsyncIterator[None]:
    """The block ends the service with status 0, and nothing stays behind but its data."""
    children = descendants(service.process.pid)
    assert len(children) >= 3 + 2
    assert service.temporary_files
    yield
    assert service.process.returncode == 0, service.log
    assert await all_end(children, 10), children
    assert service.temporary_files == []
    assert "Traceback" not in service.log
    assert "process_killed" not in service.log


@asynccontextmanager
async def slow_nodes(service: Service) -> AsyncIterator[None]:
    """The nodes of the cluster stand still, so that calls stay in flight."""
    pids = [(await service.on_node(port, "INFO", "server"))["process_id"] for port in service.node_ports]
    with standing_still(*pids):
        yield


async def test_sigterm_with_calls_in_flight(host_mode: str) -> None:
    async with new_directory() as directory:
        async with running_service(host_mode=host_mode, directory=directory) as service, ended_cleanly(service):
            await drain_with_calls_in_flight(service)
        await assert_kept(directory / "data")


async def test_nobody_is_there_to_read_what_it_prints() -> None:
    """What it starts takes none of its connections for the closed output, either."""
    async with new_directory() as directory:
        command = shlex.join([*COMMAND, "serve", "--demo", "--workers", "1", "--http-port", "0", "--grpc-port", "0"])
        process = await asyncio.create_subprocess_exec("bash", "-c", f"exec {command} >&- 2>log", cwd=directory)
        log = directory / "log"

        async def serves() -> None:
            assert log.exists()
            assert log.read_text().count('"worker_ready"') == 2

        try:
            await eventually(serves, seconds=60)
        finally:
            process.terminate()
            status = await process.wait()
        assert (status, "Traceback" in log.read_text(), "Assertion" in log.read_text()) == (0, False, False)


async def test_whoever_reads_what_it_prints_may_leave() -> None:
    """`serve 2>&1 | head -1`: it starts, and serves."""
    http_port, grpc_port = free_ports("127.0.0.1", 2)
    words = ("serve", "--demo", "--workers", "1", "--http-port", str(http_port), "--grpc-port", str(grpc_port))
    ours, theirs = os.pipe()
    async with new_directory() as directory:
        process = await asyncio.create_subprocess_exec(*COMMAND, *words, cwd=directory, stdout=theirs, stderr=theirs)
        os.close(theirs)
        try:
            assert await asyncio.to_thread(os.read, ours, 1) == b"{"
            os.close(ours)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", trust_env=False) as http:

                async def serves() -> None:
                    assert process.returncode is None
                    try:
                        answer = await http.get("/readyz")
                    except httpx.TransportError as error:
                        raise AssertionError(error) from error
                    assert answer.status_code == 200

                await eventually(serves, seconds=60)
                # What is refused is logged.
                assert (await http.get("/rt-segment", headers={"authorization": "unknown"})).status_code == 401
                assert (await http.get("/healthz")).status_code == 200
        finally:
            if process.returncode is None:
                process.terminate()
            status = await process.wait()
        assert status == 0


async def assert_kept(data_dir: Path) -> None:
    """The next start finds what was applied."""
    cluster = EmbeddedCluster(data_dir, guarded=True)
    await cluster.start()
    try:
        async with RedisCluster.from_url(cluster.url) as plain:
            await eventually(lambda: assert_applied(plain))
    finally:
        await cluster.stop()


@ON_ONE_HOST
async def test_ctrl_c(host_mode: str) -> None:
    """It reaches the whole process group."""
    async with running_service(host_mode=host_mode) as service, ended_cleanly(service):
        os.killpg(service.process.pid, signal.SIGINT)
        assert await asyncio.wait_for(service.process.wait(), 20) == 0


@pytest.mark.wide
@pytest.mark.parametrize("under", [(), ("bash", "-c", "trap '' HUP; exec \"$@\"", "-")], ids=["", "as by nohup"])
async def test_its_terminal_is_closed(under: tuple[str, ...]) -> None:
    """It drains, where nobody has said that it is to outlive its terminal."""
    terminal, theirs = os.openpty()
    async with new_directory() as directory:
        (temporary := directory / "tmp").mkdir()
        process = await asyncio.create_subprocess_exec(
            *under,
            *(*COMMAND, "serve", "--demo", "--workers", "1", "--http-port", "0", "--grpc-port", "0"),
            cwd=directory,
            env=os.environ | {"TMPDIR": str(temporary)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_on_own_terminal,
        )
        os.close(theirs)
        try:
            printed = b""
            while b"curl " not in printed and (piece := await asyncio.to_thread(os.read, terminal, 4096)):
                printed += piece
            assert list(temporary.iterdir())
            os.close(terminal)
            if under:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(process.wait(), 1)
                process.terminate()
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert list(temporary.iterdir()) == []


def _on_own_terminal() -> None:
    """Whoever runs the tests may outlive a terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def assert_applied(cluster: RedisCluster) -> None:
    assert await stored(cluster) == {("", str(number)): {10001: (0, 0)} for number in range(1, 6)}


async def drain_with_calls_in_flight(service: Service) -> None:
    metadata = (("authorization", await service.token()),)
    async with (
        service.http(headers=dict(metadata)) as http,
        service.channel("gateway") as gateway,
        service.channel("direct") as direct,
    ):
        streams = [AudienceServiceStub(channel).StreamSegments(metadata=metadata) for channel in (gateway, direct)]
        for stream, user_id in zip(streams, ("1", "2"), strict=True):
            await stream.write(stream_request(one_user(user_id)))
            assert (await stream.read()).response.status == "OK"
        health = health_pb2_grpc.HealthStub(direct).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == STATUS.SERVING
        async with slow_nodes(service):
            rest = asyncio.create_task(http.post("/rt-segment", json=one_user("3")))
            calls = [
                asyncio.ensure_future(
                    AudienceServiceStub(channel).ApplySegments(apply_request(one_user(user_id)), metadata=metadata)
                )
                for channel, user_id in ((gateway, "4"), (direct, "5"))
            ]
            for stream, user_id in zip(streams, ("1", "2"), strict=True):
                await stream.write(stream_request(one_user(user_id)))
                await stream.done_writing()
            await eventually(lambda: assert_in_flight(service))
            service.process.terminate()
            assert (await asyncio.wait_for(health.read(), 20)).status == STATUS.NOT_SERVING
            health.cancel()
            await refused(service)
            assert not any(call.done() for call in (rest, *calls))
        assert (await rest).status_code == 200
        assert [(await call).response.status for call in calls] == ["OK", "OK"]
        assert [(await stream.read()).response.status for stream in streams] == ["OK", "OK"]
        assert [await stream.read() for stream in streams] == [grpc.aio.EOF] * 2
        assert await asyncio.wait_for(service.process.wait(), 20) == 0


async def assert_in_flight(service: Service) -> None:
    """The streams and the calls that go through Envoy have reached it; the others have left earlier, or as well."""
    active = (await admin.traffic(service.temporary_files[0] / "envoy.sock")).active
    assert active == (1 + 2 if service.host_mode == "native" else 2 + 3 + 1)


async def refused(service: Service) -> None:
    """No new connections are taken."""

    async def check() -> None:
        async with service.http() as http:
            try:
                answer = await http.get("/healthz")
            except httpx.TransportError:
                return
            raise AssertionError(answer)

    await eventually(check)


@pytest.mark.wide
@ON_ONE_HOST
async def test_a_service_manager_learns_when_it_serves_and_when_it_ends(
    host_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd with `Type=notify`, which lets those begin that need the service."""
    async with new_directory() as directory:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(directory / "notify"))
            manager.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
            told = partial(asyncio.get_running_loop().sock_recv, manager, 100)
            async with (
                running_service("--drain-wait", "2", host_mode=host_mode, directory=directory) as service,
                service.http() as http,
            ):
                assert await asyncio.wait_for(told(), 10) == b"READY=1"
                assert (await http.get("/readyz")).status_code == 200
                assert [each for each in descendants(service.process.pid) if knows_the_manager(each)] == []
                service.process.terminate()
                assert await asyncio.wait_for(told(), 10) == b"STOPPING=1"
                assert (await http.get("/healthz")).status_code == 200


def knows_the_manager(process: Process) -> bool:
    return b"NOTIFY_SOCKET" in Path(f"/proc/{process.pid}/environ").read_bytes()


async def test_sigterm_while_it_starts(host_mode: str) -> None:
    async with new_directory() as directory, starting_service(directory, host_mode=host_mode) as service:
        await eventually(lambda: workers_are_starting(service))
        children = descendants(service.process.pid)
        assert await service.stop() == 0
        assert await all_end(children, 10), children
        assert service.temporary_files == []
        assert "Traceback" not in service.log


async def workers_are_starting(service: Service) -> None:
    assert "workers" in service.log
    assert len(descendants(service.process.pid)) >= 3 + 1
