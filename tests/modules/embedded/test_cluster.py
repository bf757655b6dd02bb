import errno
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.embedded import data_dir
from instantaudience_server.embedded import node as node_module
from instantaudience_server.embedded import server as server_module
from instantaudience_server.embedded.cluster import EmbeddedCluster, slots_of_nodes
from instantaudience_server.embedded.data_dir import DataDirInUseError, NodeLostError
from instantaudience_server.embedded.node import HOST, Node, NodeStartError
from instantaudience_server.embedded.server import NoServerError, find_server
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import AuthenticationError, ResponseError
from support.cluster.servers import PRODUCTS, server_binary
from support.waiting import eventually

pytestmark = pytest.mark.process

HOUR_FROM_NOW_MS = int(time.time() * 1000) + 3_600_000
USERS = [f"m:p:{user}" for user in range(50)]


@pytest.fixture(params=PRODUCTS)
def server(request: pytest.FixtureRequest) -> Path:
    return server_binary(request.param)


@asynccontextmanager
async def running(cluster: EmbeddedCluster) -> AsyncIterator[EmbeddedCluster]:
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop()


async def write(cluster: EmbeddedCluster) -> None:
    async with RedisCluster.from_url(cluster.url) as client:
        for user in USERS:
            await client.execute_command("HSETEX", user, "PXAT", HOUR_FROM_NOW_MS, "FIELDS", 1, "10001", "7")
            await client.execute_command("HSETEX", user, "FIELDS", 1, "10002", "8")


async def assert_kept(cluster: EmbeddedCluster) -> None:
    async with RedisCluster.from_url(cluster.url) as client:
        for user in USERS:
            assert await client.hgetall(user) == {b"10001": b"7", b"10002": b"8"}
            ends = await client.execute_command("HPEXPIRETIME", user, "FIELDS", 2, "10001", "10002")
            assert ends == [HOUR_FROM_NOW_MS, -1]


async def assert_handed_over(port: int) -> None:
    """A node's kernel has all that it has answered: while one sync takes long, the next write waits in its memory."""
    async with Redis(host=HOST, port=port) as client:
        assert (await client.info("persistence"))["aof_buffer_length"] == 0


async def view_of(port: int) -> tuple[dict[str, str], dict[str, Any]]:
    """A node's CLUSTER INFO and CLUSTER NODES."""
    async with Redis(host=HOST, port=port) as client:
        return await client.execute_command("CLUSTER INFO"), await client.execute_command("CLUSTER NODES")


async def assert_whole(cluster: EmbeddedCluster) -> dict[str, Any]:
    """Every node serves and sees all; the slots of each node ID."""
    slots: dict[str, Any] = {}
    for port in cluster.ports:
        info, nodes = await view_of(port)
        assert info["cluster_state"] == "ok"
        assert info["cluster_slots_ok"] == "16384"
        assert info["cluster_known_nodes"] == "3"
        assert {int(address.rpartition(":")[2]) for address in nodes} == set(cluster.ports)
        assert len({node["epoch"] for node in nodes.values()}) == 3
        seen = {node["node_id"]: node["slots"] for node in nodes.values()}
        assert slots in ({}, seen)
        slots = seen
    return slots


def occupied(stack: ExitStack | AsyncExitStack, port: int) -> None:
    stack.enter_context(socket.create_server((HOST, port)))


async def test_keeps_everything_over_a_stop_and_a_start(tmp_path: Path, server: Path) -> None:
    data_dir = tmp_path / "not" / 'yet "there"'
    cluster = EmbeddedCluster(data_dir, server)
    async with running(cluster):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        slots = await assert_whole(cluster)
        assert sorted(slots.values()) == [[["0", "5460"]], [["10923", "16383"]], [["5461", "10922"]]]
        ports = cluster.ports
        assert cluster.url == f"redis://127.0.0.1:{ports[0]}"
        await write(cluster)
        await assert_kept(cluster)
    again = EmbeddedCluster(data_dir, server)
    async with running(again):
        assert again.ports == ports
        assert await assert_whole(again) == slots
        await assert_kept(again)


async def test_moves_to_other_ports_where_its_own_are_taken(tmp_path: Path, server: Path) -> None:
    cluster = EmbeddedCluster(tmp_path, server)
    async with running(cluster):
        slots = await assert_whole(cluster)
        await write(cluster)
        former = cluster.nodes
    async with AsyncExitStack() as stack:
        for node in former:
            occupied(stack, node.port)
            occupied(stack, node.bus_port)
        await stack.enter_async_context(running(cluster))
        assert set(cluster.ports).isdisjoint(node.port for node in former)
        assert await assert_whole(cluster) == slots
        await assert_kept(cluster)
    for node in cluster.nodes:
        addresses = {line.split()[1].split(",")[0] for line in (node.dir / "nodes.conf").read_text().splitlines()[:-1]}
        assert addresses == {each.address for each in cluster.nodes}


@pytest.mark.wide
async def test_stays_apart_from_another_cluster_at_its_former_addresses(tmp_path: Path) -> None:
    cluster, other = EmbeddedCluster(tmp_path / "one"), EmbeddedCluster(tmp_path / "other")
    async with running(cluster):
        slots = await assert_whole(cluster)
        former = cluster.ports
    other.data_dir.mkdir()
    shutil.copy(cluster.data_dir / "ports.json", other.data_dir)
    async with running(other):
        assert other.ports == former
        async with running(cluster):
            assert await assert_whole(cluster) == slots
            assert set(await assert_whole(other)).isdisjoint(slots)


@pytest.mark.wide
async def test_a_copy_of_its_directory_is_a_cluster_of_its_own_beside_it(tmp_path: Path, server: Path) -> None:
    cluster, copy = (EmbeddedCluster(tmp_path / name, server) for name in ("one", "copy"))
    async with running(cluster):
        await write(cluster)
    shutil.copytree(cluster.data_dir, copy.data_dir)
    for first, second in ((cluster, copy), (copy, cluster)):
        async with running(first), running(second):
            assert set(first.ports).isdisjoint(second.ports)
            assert await assert_whole(first) == await assert_whole(second)
            async with RedisCluster.from_url(second.url) as client:
                for user in USERS:
                    await client.delete(user)
            await assert_kept(first)
            await write(second)


async def test_a_directory_that_no_cluster_runs_on_has_no_url(tmp_path: Path) -> None:
    """At the ports that stand in it, with its password, may be another one: who has been copied runs on."""
    cluster, copy = EmbeddedCluster(tmp_path / "one", guarded=True), tmp_path / "copy"
    async with running(cluster):
        shutil.copytree(cluster.data_dir, copy)
        assert data_dir.url_of(cluster.data_dir) == cluster.url
        assert data_dir.url_of(copy) is None
        (copy / "lock").unlink()
        assert data_dir.url_of(copy) is None
    assert data_dir.url_of(cluster.data_dir) is None


async def test_a_killed_node_comes_back_with_its_data(tmp_path: Path, server: Path) -> None:
    async with running(EmbeddedCluster(tmp_path, server)) as cluster:
        await write(cluster)
        await eventually(lambda: assert_handed_over(cluster.ports[1]))
        victim = cluster.nodes[1].child.pid
        os.kill(victim, signal.SIGKILL)
        await cluster.nodes[1].child.wait()
        # The others serve on without it.
        for port in (cluster.ports[0], cluster.ports[2]):
            assert (await view_of(port))[0]["cluster_state"] == "ok"
        await eventually(lambda: assert_whole(cluster))
        await assert_kept(cluster)
        assert cluster.nodes[1].child.pid != victim


async def test_a_port_lost_between_our_look_and_the_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = data_dir.free_ports(HOST, 6)
    answers = [ports]
    free_ports = data_dir.free_ports
    monkeypatch.setattr(data_dir, "free_ports", lambda *args: answers.pop() if answers else free_ports(*args))
    with ExitStack() as stack:
        occupied(stack, ports[3])
        async with running(EmbeddedCluster(tmp_path)) as cluster:
            assert set(cluster.ports).isdisjoint(ports)
            await assert_whole(cluster)


@pytest.mark.parametrize(("command", "passes"), [("CLUSTER ADDSLOTSRANGE", 1), ("CLUSTER MEET", 1)])
async def test_completes_a_first_start_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, passes: int
) -> None:
    admin = Node.admin
    calls = []

    async def cut_short(node: Node, *words: str | int) -> Any:
        if words[0] == command:
            calls.append(words)
            if len(calls) > passes:
                os.kill(node.child.pid, signal.SIGKILL)
                raise KeyError("cut short")
        return await admin(node, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Node, "admin", cut_short)
        with pytest.raises(KeyError, match="cut short"):
            await EmbeddedCluster(tmp_path).start()
    async with running(EmbeddedCluster(tmp_path)) as cluster:
        await assert_whole(cluster)


async def test_a_node_whose_files_are_gone_is_named(tmp_path: Path) -> None:
    """Half a minute went by, and the log of another node was shown."""
    async with running(EmbeddedCluster(tmp_path)):
        pass
    shutil.move(tmp_path / "node-3", tmp_path / "elsewhere")
    with pytest.raises(NodeLostError, match=r"lacks what node-3 had \(nodes.conf\)"):
        await EmbeddedCluster(tmp_path).start()
    assert not (tmp_path / "node-3").exists()
    shutil.move(tmp_path / "elsewhere", tmp_path / "node-3")
    async with running(EmbeddedCluster(tmp_path)):
        pass


async def test_starts_over_files_that_a_power_failure_has_left_empty(tmp_path: Path) -> None:
    async with running(EmbeddedCluster(tmp_path, guarded=True)) as cluster:
        await write(cluster)
    for name in ("ports.json", "password"):
        os.truncate(tmp_path / name, 0)
    assert data_dir.url_of(tmp_path) is None
    async with running(EmbeddedCluster(tmp_path, guarded=True)) as cluster:
        await assert_kept(cluster)
        assert data_dir.url_of(tmp_path) == cluster.url
        assert len((tmp_path / "password").read_text()) > 32


async def test_starts_with_files_that_somebody_has_edited(tmp_path: Path) -> None:
    """Their editor ended the password with a line end: the nodes had none then, and the start gave up after 30 s."""
    async with running(EmbeddedCluster(tmp_path, guarded=True)) as cluster:
        await write(cluster)
    for name in ("ports.json", "password"):
        (tmp_path / name).write_text(f"{(tmp_path / name).read_text()}\n")
    async with running(EmbeddedCluster(tmp_path, guarded=True)) as again:
        assert again.ports == cluster.ports
        await assert_kept(again)
        assert data_dir.url_of(tmp_path) == again.url == cluster.url


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"ports": [[7001, 7002]]}', "[1]", "null", "[[7001]]", "[[7001, 7002]]", "[[70000, 1]]", "[" * 10**5],
)
def test_ports_that_are_none_are_chosen_anew(tmp_path: Path, text: str) -> None:
    """As those of a version that keeps them in another way: each was a traceback."""
    (tmp_path / "ports.json").write_text(text)
    assert data_dir.url_of(tmp_path) is None
    ports = data_dir.kept_ports(tmp_path, 3)
    assert len({port for pair in ports for port in pair}) == 6
    assert data_dir.kept_ports(tmp_path, 3) == ports


async def test_a_data_directory_has_one_cluster(tmp_path: Path) -> None:
    async with running(EmbeddedCluster(tmp_path)) as cluster:
        with pytest.raises(DataDirInUseError, match=r"in use by another process") as refused:
            await EmbeddedCluster(tmp_path).start()
        assert str(tmp_path) in str(refused.value)
        await assert_whole(cluster)


async def test_takes_more_configuration(tmp_path: Path) -> None:
    extra_config = {"rename-command HSETEX": '""', "appendfsync": "always"}
    async with (
        running(EmbeddedCluster(tmp_path, extra_config=extra_config)) as cluster,
        Redis(host=HOST, port=cluster.ports[0]) as client,
    ):
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
        with pytest.raises(ResponseError, match="unknown command"):
            await client.execute_command("HSETEX", "m:p:1", "FIELDS", 1, "10001", "7")


async def test_a_node_that_cannot_start_shows_its_log(tmp_path: Path, server: Path) -> None:
    cluster = EmbeddedCluster(tmp_path, server, {"no-such-directive": "1"})
    with pytest.raises(NodeStartError, match=r"(?s)node-\d .* ended with status 1; its log .*no-such-directive"):
        await cluster.start()
    # It has let go of the directory.
    async with running(EmbeddedCluster(tmp_path, server)):
        pass


async def test_a_node_that_cannot_start_on_a_full_disk_says_so(
    tmp_path: Path, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log may be empty then. It is as full as the machine's disk is to be."""
    monkeypatch.setattr(node_module, "_LEAST_FREE_BYTES", 2**62)
    cluster = EmbeddedCluster(tmp_path, server, {"no-such-directive": "1"})
    with pytest.raises(NodeStartError, match="ended with status 1, as the disk is full; its log "):
        await cluster.start()


def killed_supervisor(data_dir: Path) -> list[int]:
    """Start a cluster in a process of its own and kill that once the nodes are up; the pidfds of the nodes."""
    program = """
        import asyncio, sys
        from pathlib import Path
        from instantaudience_server.embedded.cluster import EmbeddedCluster

        async def main():
            cluster = EmbeddedCluster(Path(sys.argv[1]))
            await cluster.start()
            print("pids", *(node.child.pid for node in cluster.nodes), flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(data_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = next(line for line in supervisor.stdout if line.startswith("pids ")).split()[1:]  # log lines come first
        nodes = [os.pidfd_open(int(pid)) for pid in pids]
        supervisor.kill()
    return nodes


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd_open and PR_SET_PDEATHSIG")
async def test_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    nodes = killed_supervisor(tmp_path)
    assert len(nodes) == 3
    for node in nodes:
        assert select.select([node], [], [], 10.0)[0], "a node outlived its supervisor"
        os.close(node)
    async with running(EmbeddedCluster(tmp_path)) as cluster:
        await assert_whole(cluster)


class TestFindServer:
    def test_prefers_the_bundled_one(self) -> None:
        assert find_server() == server_binary("valkey")

    @pytest.fixture
    def on_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
        """Install a server that prints a version; there is no bundled one, nor any other on PATH."""

        def install(name: str, version: str) -> Path:
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\necho '{version}'\n")
            path.chmod(0o700)
            return path

        monkeypatch.setattr(server_module, "packaged_server", lambda: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        return install

    @pytest.mark.parametrize(
        ("name", "version"),
        [
            ("valkey-server", "Valkey server v=9.0.0 sha=0 malloc=libc bits=64 build=0"),
            ("redis-server", "Redis server v=8.0.1 sha=0 malloc=libc bits=64 build=0"),
            ("redis-server", "Redis server v=10.0.0 sha=0 malloc=libc bits=64 build=0"),
            ("redis-server", "Valkey server v=9.1.0 sha=0 malloc=libc bits=64 build=0"),  # a distribution's alias
        ],
    )
    def test_takes_a_new_one_on_path(self, on_path: Callable[[str, str], Path], name: str, version: str) -> None:
        installed = on_path(name, version)
        assert find_server() == installed

    def test_passes_over_an_old_one(self, on_path: Callable[[str, str], Path]) -> None:
        on_path("valkey-server", "Valkey server v=8.1.4 sha=0 malloc=libc bits=64 build=0")
        new = on_path("redis-server", "Redis server v=8.2.0 sha=0 malloc=libc bits=64 build=0")
        assert find_server() == new

    def test_names_what_it_found_and_needs(self, on_path: Callable[[str, str], Path]) -> None:
        old = on_path("redis-server", "Redis server v=7.2.4 sha=0 malloc=libc bits=64 build=0")
        broken = on_path("valkey-server", "")
        broken.write_text("#!/no/such/interpreter\n")
        with pytest.raises(NoServerError) as refused:
            find_server()
        message = str(refused.value)
        assert "Valkey 9.0 or Redis 8.0 or newer is needed" in message
        assert f"{old}: Redis server v=7.2.4" in message
        assert f"{broken}: does not run" in message

    def test_says_so_when_there_is_none(self, on_path: Callable[[str, str], Path]) -> None:
        with pytest.raises(NoServerError, match="found none at all"):
            find_server()


async def test_nobody_comes_from_another_machine(tmp_path: Path) -> None:
    """Another address of this one is as far."""
    async with running(EmbeddedCluster(tmp_path)) as cluster:
        for node in cluster.nodes:
            for port in (node.port, node.bus_port):
                for host, error in ((HOST, 0), ("127.0.0.2", errno.ECONNREFUSED)):
                    with socket.socket() as caller:
                        assert caller.connect_ex((host, port)) == error


async def test_a_password_keeps_others_of_the_machine_out(tmp_path: Path, server: Path) -> None:
    cluster = EmbeddedCluster(tmp_path, server, guarded=True)
    async with running(cluster):
        file = tmp_path / "password"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text()) == 64
        await write(cluster)
        async with Redis(host=HOST, port=cluster.ports[0]) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        assert cluster.nodes[0].child.program.argv[1:] == ["-"]
    again = EmbeddedCluster(tmp_path, server, guarded=True)
    async with running(again):
        assert again.url == f"redis://:{file.read_text()}@{HOST}:{again.ports[0]}"
        await assert_kept(again)


def test_nodes_have_all_slots_in_even_parts(subtests: pytest.Subtests) -> None:
    for nodes in [1, 3, 6, 7, 9]:
        with subtests.test(nodes=nodes):
            parts = slots_of_nodes(nodes)
            assert [slot for part in parts for slot in part] == list(range(16384))
            assert len(parts) == nodes
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
