"""What is planted in a real cluster is found, with a way to mend it; and nothing else is."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.diagnosis.cluster import Wanted, judge
from instantaudience_server.diagnosis.deployment import diagnose
from instantaudience_server.diagnosis.finding import Finding, Level, worst
from instantaudience_server.diagnosis.members import Wishes
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.embedded.node import HOST
from instantaudience_server.process.processes import free_ports
from instantaudience_server.settings import Durability, Settings
from instantaudience_server.store.cluster.topology import NEEDED
from instantaudience_server.store.inspection.durability_settings import CHECKS
from instantaudience_server.store.inspection.facts import ANSWER_SECONDS, inspect
from instantaudience_server.store.inspection.permissions import COMMANDS, KEY_LETTERS
from instantaudience_server.store.keys import CATALOG_MEMBERS, CATALOG_PARTIAL, SLOTS
from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError
from support.cluster.nodes import on_node
from support.cluster.replicated import ReplicatedCluster, replicated_cluster
from support.cluster.running import running_node
from support.cluster.users import user_of_slots
from support.waiting import eventually

pytestmark = pytest.mark.process

DOCUMENT = (Path(__file__).parents[3] / "docs/cluster.md").read_text()
STORE = Path(__file__).parents[3] / "server/instantaudience_server/store"
Plant = Callable[[ReplicatedCluster], AbstractAsyncContextManager[None]]


def documented_acl() -> list[str]:
    """The words after `user` in docs/cluster.md; it has a password that nobody knows."""
    (line,) = re.findall(r"^user (audience on .*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(line).replace(">…", "nopass").split()


@pytest.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedCluster]:
    """Three primaries with replicas, set as the documents want it, with the user that they have."""
    async with replicated_cluster(tmp_path_factory.mktemp("diagnosed")) as cluster:
        for node in cluster.nodes:
            for check in CHECKS:
                await node.ask("CONFIG", "SET", check.directive, check.wanted)
            await node.ask("ACL", "SETUSER", *documented_acl())
        yield cluster


async def found(
    url: str, *, ahead: float = 0.0, durability: Durability = Durability.PRIMARY, acl_user: str | None = "audience"
) -> list[Finding]:
    """What is found when this machine's clock is so far ahead."""
    settings = Settings.model_validate({"redis": url, "durability": durability})
    return [each async for each in diagnose(settings, None, acl_user=acl_user, now=lambda: time.time() + ahead)]


def names(cluster: ReplicatedCluster, *indexes: int) -> str:
    """These nodes, or all, as a finding lists them."""
    nodes = [cluster.nodes[each] for each in indexes] if indexes else cluster.nodes
    return ", ".join(sorted(f"127.0.0.1:{node.port}" for node in nodes))


def wrong(findings: list[Finding]) -> dict[str, list[str]]:
    """What is not well, by topic."""
    topics: dict[str, list[str]] = {}
    for each in findings:
        if each.level is not Level.OK:
            assert each.mend
            topics.setdefault(each.topic, []).append(each.text)
    return topics


async def test_all_is_well_where_it_is(replicated: ReplicatedCluster) -> None:
    findings = await found(replicated.url)
    assert wrong(findings) == {}
    topics = ["cluster", "nodes", "slots", "versions", "clocks", "settings", "disks", "replicas", "members", "memory"]
    assert [each.topic for each in findings] == [*topics, "rights", "files"]


def setting(directive: str, value: str) -> Plant:
    """A node is set otherwise."""

    @asynccontextmanager
    async def plant(cluster: ReplicatedCluster) -> AsyncIterator[None]:
        node = cluster.nodes[1]
        before = await node.ask("CONFIG GET", directive)
        await node.ask("CONFIG", "SET", directive, value)
        yield
        await node.ask("CONFIG", "SET", directive, before[directive])

    return plant


@asynccontextmanager
async def little_memory(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A node has nearly reached its limit."""
    used = (await cluster.nodes[1].ask("INFO", "memory"))["used_memory"]
    await cluster.nodes[1].ask("CONFIG", "SET", "maxmemory", int(used * 1.05))
    yield
    await cluster.nodes[1].ask("CONFIG", "SET", "maxmemory", 0)


def acl(take: str, give: str) -> Plant:
    """A node's ACL is of another version."""

    @asynccontextmanager
    async def plant(cluster: ReplicatedCluster) -> AsyncIterator[None]:
        await cluster.nodes[2].ask("ACL", "SETUSER", "audience", *take.split())
        yield
        await cluster.nodes[2].ask("ACL", "SETUSER", "audience", *give.split())

    return plant


@asynccontextmanager
async def unknown_user(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A node has not got the service's user."""
    await cluster.nodes[2].ask("ACL", "DELUSER", "audience")
    yield
    await cluster.nodes[2].ask("ACL", "SETUSER", *documented_acl())


@asynccontextmanager
async def slot_without_owner(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """Nobody serves a slot."""
    await cluster.nodes[0].ask("CLUSTER", "DELSLOTS", 0)
    yield
    await cluster.nodes[0].ask("CLUSTER", "ADDSLOTS", 0)


@asynccontextmanager
async def dropped(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A node has dropped what it held. What is done about that is what its mend says."""
    node, key = cluster.nodes[0], user_of_slots(1, 1000)
    await node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await node.ask("SET", key, "1")
    await node.ask("CONFIG", "SET", "maxmemory", 1)
    await asyncio.gather(node.ask("SET", key, "2"), return_exceptions=True)  # OOM: nothing else can be dropped
    await node.ask("CONFIG", "SET", "maxmemory", 0)
    yield
    await node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert "has dropped" in wrong(await found(cluster.url))["memory"][0]
    await node.ask("CONFIG", "RESETSTAT")


@asynccontextmanager
async def told_nothing(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """We may not ask a node how it is."""
    await cluster.nodes[1].ask("ACL", "SETUSER", "default", "-info")
    yield
    await cluster.nodes[1].ask("ACL", "SETUSER", "default", "+info")


@asynccontextmanager
async def lost_replica(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A replica may not follow its primary any more."""
    primary = cluster.nodes[0]
    await primary.ask("ACL", "SETUSER", "default", "-psync", "-sync")
    await primary.ask("CLIENT", "KILL", "TYPE", "replica")
    yield
    await primary.ask("ACL", "SETUSER", "default", "+psync", "+sync")
    await cluster.whole()


@asynccontextmanager
async def new_replica(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A replica reads all data of its primary, slowly."""
    primary = cluster.nodes[0]
    await primary.ask("CONFIG", "SET", "rdb-key-save-delay", 5_000_000)
    await primary.ask("SET", user_of_slots(1, 1000), "1", "EX", 60)
    await primary.ask("DEBUG", "CHANGE-REPL-ID")
    await primary.ask("CLIENT", "KILL", "TYPE", "replica")
    replica = await cluster.replica_of(primary)

    async def is_copying() -> None:
        assert (await replica.ask("INFO", "replication"))["master_sync_in_progress"]

    await eventually(is_copying)
    yield
    await primary.ask("CONFIG", "SET", "rdb-key-save-delay", 0)
    await primary.ask("CLIENT", "KILL", "TYPE", "replica")
    await cluster.whole()


@asynccontextmanager
async def stopped(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A replica stands still."""
    cluster.nodes[5].signal(signal.SIGSTOP)
    yield
    cluster.nodes[5].signal(signal.SIGCONT)
    await cluster.whole()


@asynccontextmanager
async def another_password(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A node has not got the password that the others have."""
    await cluster.nodes[4].ask("CONFIG", "SET", "requirepass", "another")
    yield
    await on_node(cluster.nodes[4].port, "CONFIG", "SET", "requirepass", "", password="another")


@asynccontextmanager
async def script_without_end(cluster: ReplicatedCluster) -> AsyncIterator[None]:
    """A node runs a script, and does nothing else."""
    node = cluster.nodes[4]
    await node.ask("CONFIG", "SET", "busy-reply-threshold", 100)
    running = asyncio.create_task(node.ask("EVAL", "while true do end", 0))

    async def is_busy() -> None:
        answer = (await asyncio.gather(node.ask("PING"), return_exceptions=True))[0]
        assert str(answer).startswith("BUSY ")

    try:
        await eventually(is_busy, ANSWER_SECONDS)
        yield
    finally:
        await node.ask("SCRIPT KILL")
        with pytest.raises(ResponseError, match="killed by user"):
            await running
        await node.ask("CONFIG", "SET", "busy-reply-threshold", 5000)


PLANTED: dict[str, tuple[Plant, str, str]] = {
    "eviction": (setting("maxmemory-policy", "allkeys-lru"), "settings", "maxmemory-policy is allkeys-lru"),
    "no file": (setting("appendonly", "no"), "settings", "appendonly is no"),
    "no replica asked": (setting("min-replicas-to-write", "0"), "settings", "min-replicas-to-write is 0"),
    "late to notice": (setting("min-replicas-max-lag", "30"), "settings", "min-replicas-max-lag is 30"),
    "slow failover": (setting("cluster-node-timeout", "15000"), "settings", "cluster-node-timeout is 15000"),
    "no failover": (
        setting("cluster-replica-validity-factor", "10"),
        "settings",
        "cluster-replica-validity-factor is 10",
    ),
    "no slot without all": (
        setting("cluster-require-full-coverage", "yes"),
        "settings",
        "cluster-require-full-coverage is yes",
    ),
    "memory": (little_memory, "memory", "of maxmemory"),
    "dropped": (dropped, "memory", "has dropped 1 keys"),
    "a command": (acl("-hsetex", "+hsetex"), "rights", "forbids the service's user: hsetex"),
    "keys": (
        acl("resetkeys ~m:*", " ".join(f"~{each}:*" for each in KEY_LETTERS if each != "m")),
        "rights",
        "keys r:*",
    ),
    "unknown user": (unknown_user, "rights", "does not let the service's user sign in"),
    "user turned off": (acl("off", "on"), "rights", "does not let the service's user sign in"),
    "slot": (slot_without_owner, "slots", "nobody serves 1 of 16384 slots"),
    "lost replica": (lost_replica, "replicas", "has no replica that follows it"),
    "new replica": (new_replica, "replicas", "is copying its primary's data"),
    "may not ask": (told_nothing, "nodes", "does not say how it is: NOPERM "),
    "password": (another_password, "nodes", "does not say how it is: NOAUTH "),
    "busy": (script_without_end, "nodes", "does not say how it is: BUSY "),
    "stopped": (stopped, "nodes", "does not answer: "),
}


WARNINGS = {
    "no replica asked",
    "late to notice",
    "slow failover",
    "no failover",
    "no slot without all",
    "lost replica",
    "new replica",
}
"""Those of them that are none yet, but for a failover."""


@pytest.mark.parametrize("fault", PLANTED)
async def test_what_is_planted_is_found(replicated: ReplicatedCluster, fault: str) -> None:
    plant, topic, text = PLANTED[fault]
    async with plant(replicated):
        findings = await found(replicated.url)
    told = wrong(findings)
    assert any(text in each for each in told[topic]), told
    well = [each.text for each in findings if each.level is Level.OK and each.topic not in ("cluster", "files")]
    assert all(each.endswith("(known of nodes that answer)") is (topic == "nodes") for each in well)
    assert worst(findings) is (Level.WARNING if fault in WARNINGS else Level.PROBLEM)
    await replicated.whole()
    assert wrong(await found(replicated.url)) == {}


@pytest.mark.parametrize(
    ("plant", "forbidden"),
    [
        (acl("-hset -eval", "+hset +eval"), "eval, hset"),
        (acl(" ".join(["resetkeys", *(f"~{each}:*" for each in KEY_LETTERS if each != "m")]), "~m:*"), "keys m:*"),
    ],
)
async def test_forbidden_commands_forbid_no_keys_nor_the_other_way_round(
    replicated: ReplicatedCluster, plant: Plant, forbidden: str
) -> None:
    async with plant(replicated):
        (told,) = wrong(await found(replicated.url))["rights"]
    assert told.endswith(f" forbids the service's user: {forbidden}")


@pytest.mark.parametrize(
    ("ahead", "level", "where"), [(-5.0, Level.WARNING, "ahead of"), (60.0, Level.PROBLEM, "behind")]
)
async def test_clocks_that_differ_are_found(
    replicated: ReplicatedCluster, ahead: float, level: Level, where: str
) -> None:
    findings = await found(replicated.url, ahead=ahead)
    ((topic, texts),) = wrong(findings).items()
    assert topic == "clocks"
    assert all(f" s {where} this machine" in text for text in texts)
    assert worst(findings) is level


async def test_what_a_durability_wants_is_looked_for(replicated: ReplicatedCluster) -> None:
    (lone, *_) = wrong(await found(replicated.url, durability=Durability.REPLICA))["replicas"]
    assert "has one replica" in lone
    (slow,) = wrong(await found(replicated.url, durability=Durability.DISK))["settings"]
    assert slow.startswith(f"{names(replicated)}: appendfsync is everysec")


async def test_a_setting_is_told_once_for_all_nodes_that_have_it(replicated: ReplicatedCluster) -> None:
    """What has another value is told apart."""
    directive = "cluster-node-timeout"
    for node, value in zip(replicated.nodes, ("15000", "15000", "20000", "15000", "3000", "3000"), strict=True):
        await node.ask("CONFIG", "SET", directive, value)
    told = wrong(await found(replicated.url))
    for node in replicated.nodes:
        await node.ask("CONFIG", "SET", directive, "3000")
    assert told.keys() == {"settings"}
    assert set(told["settings"]) == {
        f"{names(replicated, 0, 1, 3)}: {directive} is 15000",
        f"{names(replicated, 2)}: {directive} is 20000",
    }
    assert len(told["settings"]) == 2


async def test_a_setting_that_a_node_does_not_tell_is_not_said_to_be_well(replicated: ReplicatedCluster) -> None:
    """As those of providers, whose `CONFIG GET` answers a part."""
    facts = await inspect(replicated.url, now=time.time, user=None)
    silent, *others = facts.nodes
    told = {name: value for name, value in silent.settings.items() if name not in ("appendonly", "maxmemory-policy")}
    partly = replace(facts, nodes=(replace(silent, settings=told), *others))
    findings = list(judge(partly, Wanted(Durability.PRIMARY, Wishes({}), embedded=False)))
    assert wrong(findings) == {"settings": [f"{silent.name} does not tell appendonly, maxmemory-policy"]}


@asynccontextmanager
async def members_that_want(url: str, durabilities: dict[int, "pb.Durability"]) -> AsyncIterator[None]:
    """They are in the catalog meanwhile."""
    async with RedisCluster.from_url(url) as client:
        for number, durability in durabilities.items():
            await client.hset(CATALOG_MEMBERS, number, pb.Member(id=number, durability=durability).SerializeToString())
        yield
        await client.delete(CATALOG_MEMBERS)


async def test_a_part_of_a_catalog_is_told(embedded: EmbeddedCluster) -> None:
    """A restore that was killed leaves it: all was well then, and nobody could sign in."""
    async with RedisCluster.from_url(embedded.url) as client:
        await client.set(CATALOG_PARTIAL, "name of a restore")
        findings = await found(embedded.url, acl_user=None)
        await client.delete(CATALOG_PARTIAL)
    (told,) = [each for each in findings if each.topic == "members"]
    assert (told.level, told.text.partition(":")[0]) == (Level.PROBLEM, "a part of the catalog is there")
    assert "run it again, with the same file" in told.mend


async def test_members_that_want_what_they_cannot_have_are_named(embedded: EmbeddedCluster) -> None:
    wanting = dict.fromkeys(range(1, 9), pb.DURABILITY_REPLICA) | {20: pb.DURABILITY_DISK, 30: pb.DURABILITY_PRIMARY}
    async with members_that_want(embedded.url, wanting):
        told = wrong(await found(embedded.url, acl_user=None))
    replica, disk = sorted(told["members"])
    assert replica.startswith("member 1, 2, 3, 4, 5 (and 3 others) with durability replica waits in vain")
    assert disk.startswith("member 20 with durability disk waits in vain")
    assert all(f"127.0.0.1:{port}" in disk for port in embedded.ports)
    assert any("appendfsync is no" in each for each in told["settings"])


async def test_members_that_want_what_they_can_have_are_well(replicated: ReplicatedCluster) -> None:
    async with members_that_want(replicated.url, {1: pb.DURABILITY_REPLICA}):
        assert wrong(await found(replicated.url)) == {}


async def test_who_may_not_read_the_catalog_is_told_so(replicated: ReplicatedCluster) -> None:
    for node in replicated.nodes:
        await node.ask("ACL", "SETUSER", "looker", "on", "nopass", "~m:*", "+@all")
    told = wrong(await found(replicated.url.replace("://", "://looker:x@")))
    assert ["not known" in each for each in told["members"]] == [True]


async def test_a_cluster_without_replicas_is_told(embedded: EmbeddedCluster) -> None:
    findings = await found(embedded.url, acl_user=None)
    assert wrong(findings).keys() == {"replicas"}
    assert worst(findings) is Level.WARNING
    assert worst(await found(embedded.url, acl_user=None, durability=Durability.REPLICA)) is Level.PROBLEM


async def test_nodes_that_are_too_old_are_told(embedded: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no old server here: what is needed is newer."""
    for product in NEEDED:
        monkeypatch.setitem(NEEDED, product, (99, 0))
    told = wrong(await found(embedded.url, acl_user=None))["versions"]
    assert len(told) == 3
    assert all(re.search(r"runs (Valkey|Redis) \d+\.", each) for each in told)


async def test_who_may_not_ask_everything_is_told_so(replicated: ReplicatedCluster) -> None:
    """Nothing is said to be well that could not be looked at; once for all nodes, not for each."""
    url = replicated.url.replace("://", "://audience:x@")
    told = wrong(await found(url, acl_user=None))
    asked = {"slots": "CLUSTER INFO", "settings": "CONFIG GET", "rights": "ACL WHOAMI"}
    assert {topic: [text.partition(": User")[0] for text in texts] for topic, texts in told.items()} == {
        topic: [f"not known of {names(replicated)}: {command}"] for topic, command in asked.items()
    }
    assert "not known" in wrong(await found(url, acl_user="audience"))["rights"][0]


async def test_a_cluster_out_of_reach_is_a_problem(subtests: pytest.Subtests) -> None:
    for url, text in [
        ("redis://127.0.0.1:1", "Connect call failed"),
    ]:
        with subtests.test(url=url, text=text):
            findings = await found(url)
            assert worst(findings) is Level.PROBLEM
            assert wrong(findings)["cluster"][0].count(text) == 1


async def test_a_url_that_cannot_be_used_is_what_is_to_be_mended(subtests: pytest.Subtests) -> None:
    """It said to start the cluster."""
    for url, text in [
        ("redis://127.0.0.1:1/1", "Argument 'db' must be 0"),
        ("rediss://127.0.0.1:1?ssl_ca_cert=/ca.pem", "ssl_ca_cert is no option of it"),
        ("redis://127.0.0.1:1?startup_nodes=a", "startup_nodes is no option of it"),
        ("redis://127.0.0.1:1?ssl_ca_certs=/ca.pem", "ssl_ca_certs is an option of rediss:// alone"),
    ]:
        with subtests.test(url=url, text=text):
            (finding, *_) = await found(url)
            assert (finding.level, finding.topic) == (Level.PROBLEM, "cluster")
            assert text in finding.text
            assert finding.mend == "change the cluster's URL, INSTANT_AUDIENCE_REDIS; docs/cluster.md has its form"


async def test_a_cluster_without_slots_is_a_problem(tmp_path: Path) -> None:
    async with running_node("valkey", tmp_path, "cluster-enabled yes") as port:
        await on_node(port, "CLUSTER", "DELSLOTSRANGE", 0, SLOTS - 1)
        (finding, *_) = await found(f"redis://127.0.0.1:{port}")
    assert (finding.level, finding.topic) == (Level.PROBLEM, "cluster")
    assert finding.text.startswith("cannot be asked: no node serves a slot; create it first")


async def test_nodes_that_announce_another_address_are_all_that_is_told(tmp_path: Path) -> None:
    (closed,) = free_ports(HOST, 1)
    async with running_node("valkey", tmp_path, "cluster-enabled yes", f"cluster-announce-port {closed}") as port:
        findings = await found(f"redis://{HOST}:{port}")
    assert {each.topic for each in findings} == {"nodes", "files"}
    (text,) = wrong(findings)["nodes"]
    assert text.startswith(f"{HOST}:{closed} does not answer: ")


async def test_a_wrong_password_is_told(replicated: ReplicatedCluster) -> None:
    (finding, *_) = await found(replicated.url.replace("://", "://nobody:wrong@"))
    assert "INSTANT_AUDIENCE_REDIS" in finding.mend
    assert "wrong" not in finding.text.split()


async def test_a_wrong_password_is_told_where_another_node_is_away(replicated: ReplicatedCluster) -> None:
    (away,) = free_ports(HOST, 1)
    (finding, *_) = await found(replicated.url.replace("://", f"://nobody:wrong@{HOST}:{away},"))
    assert f"{HOST}:{away}: " in finding.text
    assert f"{HOST}:{replicated.nodes[0].port}: " in finding.text
    assert finding.mend.startswith("give the user and the password")


async def test_what_cannot_be_asked_keeps_no_connection(replicated: ReplicatedCluster) -> None:
    for node in replicated.nodes:
        await node.ask("ACL", "SETUSER", "blind", "on", "nopass", "+@all", "-cluster")
    (finding, *_) = await found(replicated.url.replace("://", "://blind:x@"))
    assert finding.level is Level.PROBLEM
    for node in replicated.nodes:
        assert "blind" not in {client["user"] for client in await node.ask("CLIENT LIST")}


def test_every_command_of_the_store_is_in_the_acl() -> None:
    words = re.compile(r"redis\.call\('([A-Z]+)'|_pack\(\(b\"([A-Z]+)\"|\(b\"([A-Z]{3,})\", ")
    # Whole keys are read by an operator's user, for backups.
    files = [each for each in STORE.rglob("*.py") if each.name != "whole_keys.py"]
    texts = [each.read_text() for each in files]
    assert not any(re.search(r"redis\.call\((?!')", text) for text in texts), "a command that is not seen here"
    sent = {"".join(match) for text in texts for match in words.findall(text)}
    assert {each.lower() for each in sent - {"PXAT"}} <= COMMANDS.keys()
    assert len(sent) > 30
