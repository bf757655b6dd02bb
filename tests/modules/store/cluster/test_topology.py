"""Clusters that cannot be used at all are refused at start, with a text that says why and what is needed."""

import asyncio
import re
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.observation.telemetry import Event
from instantaudience_server.process.processes import free_ports
from instantaudience_server.settings import CONNECT_TIMEOUT_SECONDS
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology, changes
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.keys import SLOTS
from instantaudience_server.store.membership_store import ClusterMembershipStore
from redis.asyncio import Redis
from structlog.testing import capture_logs
from support.cluster.nodes import on_all_nodes, on_node, pids_of, whole
from support.cluster.running import all_take_writes, connected, running_node
from support.cluster.users import for_each, user_key, write
from support.service.processes import standing_still
from support.waiting import eventually, seconds_from_now

KEYS = [user_key(user_id) for user_id in range(1, 101)]
CLUSTERED = "cluster-enabled yes"
SECRET = "s3cr3t-w0rd"


async def refusal(url: str, connect_timeout_seconds: float = 20.0) -> str:
    """Why a cluster cannot be used. Unless told otherwise, a node has time to answer, as on a busy machine it needs."""
    with pytest.raises(StoreUnusableError) as refused:
        async with connected(url, connect_timeout_seconds=connect_timeout_seconds):
            pass
    text = str(refused.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


async def works(url: str) -> None:
    async with connected(url) as cluster:
        store = ClusterMembershipStore(cluster)
        await write(store, for_each(KEYS, {NEVER: {1: 1}}), seconds_from_now())
        # The cluster is not empty: the tests before have left what they left.
        assert [user[1] for user in await store.read(KEYS, seconds_from_now())] == [(1, NEVER)] * len(KEYS)
        assert await all_take_writes(cluster)


async def test_a_server_without_hsetex_is_refused(product: str, tmp_path: Path) -> None:
    async with running_node(product, tmp_path, CLUSTERED, 'rename-command HSETEX ""') as port:
        text = await refusal(f"redis://{HOST}:{port}")
    version = {"valkey": r"Valkey 9.", "redis": r"Redis 8."}[product]
    assert text.startswith(f"{HOST}:{port} runs {version}")
    reason, _, needed = text.partition("; ")
    assert reason.endswith("which does not know HSETEX")
    assert needed.startswith("needed: ")
    assert {"Redis 8.0", "Valkey 9.0"} <= set(needed.removeprefix("needed: ").split(" or "))


async def test_a_server_that_is_no_cluster_is_refused(product: str, tmp_path: Path) -> None:
    async with running_node(product, tmp_path) as port:
        text = await refusal(f"redis://{HOST}:{port}")
    assert "cluster" in text.lower().removeprefix("the cluster cannot be used: ")


async def test_nobody_there_is_refused() -> None:
    (port,) = free_ports(HOST, 1)
    assert str(port) in await refusal(f"redis://{HOST}:{port}")


async def test_a_cluster_without_slots_is_refused(product: str, tmp_path: Path) -> None:
    async with running_node(product, tmp_path, CLUSTERED) as port:
        await on_node(port, "CLUSTER", "DELSLOTSRANGE", 0, SLOTS - 1)
        assert "no node serves a slot; create it first" in await refusal(f"redis://{HOST}:{port}")


async def test_each_node_that_is_named_is_told_with_its_cause(product: str, tmp_path: Path) -> None:
    """It was that of one of them, without its name, and of another one at the next start."""
    (away,) = free_ports(HOST, 1)
    async with running_node(product, tmp_path, CLUSTERED) as port:
        await on_node(port, "CONFIG", "SET", "requirepass", "another")
        said = await refusal(f"redis://:password@{HOST}:{away},{HOST}:{port}")
    assert f"{HOST}:{away}: " in said
    assert f"{HOST}:{port}: invalid username-password pair" in said


async def test_a_cluster_that_is_made_anew_is_used_again(product: str, tmp_path: Path) -> None:
    async with running_node(product, tmp_path, CLUSTERED) as port, connected(f"redis://{HOST}:{port}") as cluster:
        await on_node(port, "CLUSTER", "RESET", "HARD")
        with capture_logs() as logged:
            cluster.routes.look_again()
            await eventually(partial(_logged, logged, Event.STORE_TOPOLOGY_UNKNOWN))
        await on_node(port, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 2)
        await _unserved(cluster, [SLOTS - 1])


async def test_nodes_that_disagree_are_believed_one_by_one(product: str, tmp_path: Path) -> None:
    """While nobody serves a slot, too: one of them has left the cluster, and takes all that it knows of for its own."""
    for name in ("stays", "leaves"):
        (tmp_path / name).mkdir()
    async with (
        running_node(product, tmp_path / "stays", CLUSTERED) as stays,
        running_node(product, tmp_path / "leaves", CLUSTERED) as leaves,
    ):
        await on_node(stays, "CLUSTER", "DELSLOTSRANGE", SLOTS // 2, SLOTS - 1)
        await on_node(leaves, "CLUSTER", "DELSLOTSRANGE", 0, SLOTS // 2 - 1)
        await on_node(leaves, "CLUSTER", "DELSLOTS", SLOTS - 2, SLOTS - 1)
        bus_port = (await on_node(leaves, "CONFIG GET", "cluster-port"))["cluster-port"]
        await on_node(stays, "CLUSTER", "MEET", HOST, leaves, bus_port)
        async with connected(f"redis://{HOST}:{stays}") as cluster:
            await _unserved(cluster, [SLOTS - 2, SLOTS - 1])
            await on_node(leaves, "CLUSTER", "RESET", "HARD")
            await on_node(leaves, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 2)
            await on_node(stays, "CLUSTER", "ADDSLOTS", SLOTS - 2)
            await _unserved(cluster, [SLOTS - 1])


async def test_a_name_that_leads_elsewhere_is_followed(product: str, tmp_path: Path) -> None:
    """All nodes have been replaced by others, with other addresses: those that were known help no more."""
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    async with AsyncExitStack() as stack:
        async with running_node(product, tmp_path / "before", CLUSTERED) as before:
            name = await stack.enter_async_context(_name(before))
            cluster = await stack.enter_async_context(connected(f"redis://{HOST}:{name.port}"))
        name.target = await stack.enter_async_context(running_node(product, tmp_path / "after", CLUSTERED))

        async def follows() -> None:
            cluster.routes.look_again()
            await asyncio.sleep(0.1)
            assert list(cluster.routes.primaries()) == [f"{HOST}:{name.target}"]

        await eventually(follows)


@dataclass
class _Name:
    """A port of ours that leads to another one, as a name in the DNS does."""

    target: int
    port: int = 0


@asynccontextmanager
async def _name(target: int) -> AsyncIterator[_Name]:
    name = _Name(target)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                writer.write(data)
        writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(HOST, name.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_server(lead, HOST, 0) as server:
        name.port = server.sockets[0].getsockname()[1]
        yield name


async def _logged(logged: list[MutableMapping[str, Any]], event: Event) -> None:
    assert any(each["event"] == event for each in logged)


async def _unserved(cluster: Cluster, slots: list[int]) -> None:
    async def check() -> None:
        cluster.routes.look_again()
        await asyncio.sleep(0.1)
        assert cluster.routes.unserved() == slots

    await eventually(check)


async def test_nodes_that_answer_late_are_asked_again(embedded: EmbeddedCluster) -> None:
    """As on a busy machine; those that never answer are refused."""
    with standing_still(*pids_of(embedded)):
        assert "Timeout" in await refusal(embedded.url, 0.5)
        working = asyncio.create_task(works(embedded.url))
        await asyncio.sleep(CONNECT_TIMEOUT_SECONDS + 0.5)
    await working
    await whole(embedded)


def test_what_is_no_url_is_refused(subtests: pytest.Subtests) -> None:
    for url in [
        "http://127.0.0.1:6379",
        "127.0.0.1:6379",
        "redis://127.0.0.1:port",
        "redis://127.0.0.1:6379,127.0.0.1:port",
        "redis://127.0.0.1:6379,",
        "redis://127.0.0.1:6379,:6380",
        "redis://user:password@127.0.0.1:6379,user:password@127.0.0.1:6380",
        "",
    ]:
        with subtests.test(url=url):
            with pytest.raises(StoreUnusableError, match="the cluster's URL cannot be used") as raised:
                Topology(url, connect_timeout_seconds=1)
            assert "user:password" not in str(raised.value)


def test_an_option_that_cannot_be_given_is_named(subtests: pytest.Subtests) -> None:
    """Of one that redis-py lacks, the error was Python's of an argument; of one that is no text, there was none yet."""
    for option in ["ssl_ca_cert", "startup_nodes", "address_remap"]:
        with subtests.test(option=option):
            with pytest.raises(StoreUnusableError) as raised:
                Topology(
                    f"rediss://user:password@127.0.0.1:6379?ssl_ca_certs=a&{option}=s3cret", connect_timeout_seconds=1
                )
            assert f"{option} is no option of it; those are: " in str(raised.value)
            assert "ssl_ca_certs" in str(raised.value)
            assert not re.search("s3cret|user:|__init__", str(raised.value))


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "soon", ""])
@pytest.mark.parametrize("option", ["socket_timeout", "socket_connect_timeout"])
def test_a_time_that_is_none_is_refused(option: str, value: str) -> None:
    with pytest.raises(StoreUnusableError, match=f"{option} is a number of seconds, which is more than 0"):
        Topology(f"redis://127.0.0.1:6379?{option}={value}", connect_timeout_seconds=1)


class TestCredentials:
    @pytest.fixture
    async def address(self, embedded: EmbeddedCluster) -> AsyncIterator[str]:
        """The cluster asks for credentials: the default user's password, or those of `app`."""
        await on_all_nodes(embedded, "ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "+@all")
        await on_all_nodes(embedded, "CONFIG", "SET", "requirepass", SECRET)
        yield embedded.url.removeprefix("redis://")
        for node in embedded.nodes:
            await self.reset(node.port)

    async def reset(self, port: int) -> None:
        """Ask for no credentials any more."""
        async with Redis(host=HOST, port=port, username="app", password=SECRET) as client:
            await client.config_set("requirepass", "")
        async with Redis(host=HOST, port=port) as client:
            await client.acl_deluser("app")

    @pytest.mark.parametrize("credentials", [f":{SECRET}@", f"default:{SECRET}@", f"app:{SECRET}@"])
    async def test_right_ones_work(self, address: str, credentials: str) -> None:
        await works(f"redis://{credentials}{address}")
        (away,) = free_ports(HOST, 1)
        await works(f"redis://{credentials}{HOST}:{away},{address}")

    @pytest.mark.parametrize("credentials", ["", ":wrong@", "app:wrong@", f"nobody:{SECRET}@"])
    async def test_wrong_ones_are_refused(self, address: str, credentials: str) -> None:
        text = await refusal(f"redis://{credentials}{address}")
        assert "auth" in text.lower() or "password" in text.lower()
        assert "wrong" not in text.replace("WRONGPASS", "").lower()


async def test_a_node_that_is_away_is_not_needed_where_others_are_named(embedded: EmbeddedCluster) -> None:
    (away,) = free_ports(HOST, 1)
    first, *others = embedded.ports
    await works(f"redis://{HOST}:{away},{HOST}:{first}")
    await works(f"redis://{HOST}:{first},{HOST}:{away}")
    with standing_still(pids_of(embedded)[0]):
        async with connected(f"redis://{HOST}:{first},{','.join(f'{HOST}:{port}' for port in others)}") as cluster:
            assert len(cluster.routes.primaries()) == len(embedded.ports)
    await whole(embedded)


async def test_any_node_will_do(embedded: EmbeddedCluster) -> None:
    for port in embedded.ports:
        await works(f"redis://{HOST}:{port}")
        await works(f"redis://localhost:{port}")


def test_failovers_are_told_from_moved_slots(subtests: pytest.Subtests) -> None:
    for before, now, failovers, moves in [
        ({}, {1: "a", 2: "b"}, set(), set()),
        ({1: "a", 2: "b"}, {1: "a", 2: "b"}, set(), set()),
        ({1: "a", 2: "b"}, {1: "a"}, set(), set()),  # nobody serves the others yet
        ({1: "a", 2: "a", 3: "b"}, {1: "c", 2: "c", 3: "b"}, {("a", "c")}, set()),
        ({1: "a", 2: "a", 3: "b"}, {1: "b", 2: "a", 3: "b"}, set(), {("a", "b")}),
        ({1: "a", 2: "b"}, {1: "b", 2: "b"}, set(), {("a", "b")}),  # the last slot of a
        ({1: "a", 2: "a"}, {1: "a", 2: "c"}, set(), {("a", "c")}),  # the first slot of c
        ({1: "a", 2: "b"}, {1: "c", 2: "d"}, {("a", "c"), ("b", "d")}, set()),
    ]:
        with subtests.test(before=before, now=now, failovers=failovers, moves=moves):
            found = changes(before, now)
            assert found.get("failover", set()) == failovers
            assert found.get("move", set()) == moves
