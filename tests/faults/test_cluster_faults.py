"""What is broken in the cluster, and what callers notice of it: nothing but a pause, where their deadline allows."""

import asyncio
import itertools
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import grpc
import pytest
from instantaudience.v1 import catalog_pb2
from instantaudience.v1.audience_pb2_grpc import AudienceServiceStub
from instantaudience.v1.catalog_pb2_grpc import CatalogServiceStub
from instantaudience_server.embedded.node import HOST
from instantaudience_server.sign_in.tokens import hash_token
from instantaudience_server.store.interfaces.quotas import Quota
from instantaudience_server.store.keys import key_slot, membership_key, quota_key, session_key, usage_key
from support.cluster.nodes import Migration
from support.cluster.replicated import ReplicatedCluster, ReplicatedNode, replica_stopped
from support.contract.messages import USER, apply_request, one_user
from support.service.metrics import scrape
from support.service.processes import needs_proc
from support.service.running import Service
from support.service.traffic import MEMBER, Traffic
from support.waiting import eventually

pytestmark = [pytest.mark.wide, pytest.mark.alone, needs_proc, pytest.mark.timeout(300)]


async def node_of(replicated: ReplicatedCluster, token: str, what: str) -> ReplicatedNode:
    """The primary that holds something of the caller's."""
    key = {
        "quota": quota_key(MEMBER, Quota.POSTS),
        "usage": usage_key(MEMBER, int(time.time()) // 3600),
        "session": session_key(hash_token(token)),
    }[what]
    return await replicated.primary_of(key_slot(key))


class Ports(NamedTuple):
    """Of some nodes."""

    ports: tuple[int, ...]


Fault = Callable[[ReplicatedCluster, str], Awaitable[None]]


KILLED = ("quota", "usage", "session", "quota", "usage")


async def killed(replicated: ReplicatedCluster, token: str) -> None:
    """Five primaries in a row, each of which holds something of the caller's; each comes back as a replica."""
    for what in KILLED:
        await replicated.lose_primary(await node_of(replicated, token, what))
        await replicated.whole()


async def cut_off(replicated: ReplicatedCluster, token: str) -> None:
    """Clients reach the primary still, its replica and the others do not: they make another one primary."""
    primary = await node_of(replicated, token, "quota")
    replica = await replicated.replica_of(primary)
    await primary.cut_off()
    await replica.takes_over()
    await asyncio.sleep(1)
    await primary.reconnect()


def stopped(seconds: float) -> Fault:
    """A primary stands still."""

    async def fault(replicated: ReplicatedCluster, token: str) -> None:
        primary = await node_of(replicated, token, "quota")
        primary.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        primary.signal(signal.SIGCONT)

    return fault


async def failover(replicated: ReplicatedCluster, token: str) -> None:
    """An operator has a replica take over."""
    replica = await replicated.replica_of(await node_of(replicated, token, "usage"))
    await replica.ask("CLUSTER", "FAILOVER")
    await replica.takes_over()


async def replica_killed(replicated: ReplicatedCluster, token: str) -> None:
    replica = await replicated.replica_of(await node_of(replicated, token, "quota"))
    await replica.kill()
    await asyncio.sleep(1)
    await replica.start()


async def resharded(replicated: ReplicatedCluster, token: str) -> None:
    """The slots that count the member's calls move to another node, and a few others with users."""
    slots = [key_slot(quota_key(MEMBER, Quota.POSTS)), key_slot(usage_key(MEMBER, int(time.time()) // 3600))]
    primaries = Ports(tuple([node.port for node in replicated.nodes if await node.role() == "master"]))
    for slot in (*slots, *range(100, 110)):
        source = await replicated.primary_of(slot)
        target = next(port for port in primaries.ports if port != source.port)
        migration = Migration(primaries, slot, source.port, target)
        await migration.begin()
        await migration.move_keys()
        await migration.end()


async def restarted(replicated: ReplicatedCluster, token: str) -> None:
    """A primary is ended in order, and started again."""
    primary = await node_of(replicated, token, "usage")
    await primary.child.stop(grace_seconds=20)
    await primary.start()


async def connections_killed(replicated: ReplicatedCluster, _: str) -> None:
    for _ in range(10):
        for node in replicated.nodes:
            await node.ask("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.1)


async def away(replicated: ReplicatedCluster, _: str) -> None:
    """The whole cluster stands still."""
    for node in replicated.nodes:
        node.signal(signal.SIGSTOP)
    await asyncio.sleep(10)
    for node in replicated.nodes:
        node.signal(signal.SIGCONT)


FAULTS: dict[str, tuple[Fault, float]] = {
    "primaries are killed, one after the other": (killed, 10),
    "a primary is cut off": (cut_off, 10),
    "a primary stands still for 1 s": (stopped(1), 10),
    "a primary stands still for 5 s": (stopped(5), 10),
    # Its successor has no replica that could confirm anything before it is back.
    "a primary stands still for 12 s": (stopped(12), 25),
    "a replica takes over": (failover, 10),
    "a replica is killed": (replica_killed, 10),
    "slots move": (resharded, 10),
    "a primary is restarted": (restarted, 10),
    "connections are killed": (connections_killed, 10),
    "the whole cluster stands still for 10 s": (away, 25),
}
"""And the deadline of the calls, in seconds."""
CHANGES = {
    "primaries are killed, one after the other": "failover",
    "a replica takes over": "failover",
    "slots move": "move",
}
"""How operators see that another primary serves slots."""
RECONNECTED = ("store_connections_total", "store_connection_failures_total")
"""What counts, by node, connections that were made, and that were lost."""


@pytest.mark.parametrize("name", FAULTS)
async def test_callers_notice_a_pause_at_most(service: Service, replicated: ReplicatedCluster, name: str) -> None:
    """No call fails, none that was acknowledged is missing, nothing else is there, and the counts are exact."""
    fault, seconds = FAULTS[name]
    token = await service.token()
    before = await scrape(service)
    traffic = Traffic([service], replicated.url, token, deadline_seconds=seconds)
    kind = CHANGES.get(name)

    async def told() -> None:
        counter, now = "store_primary_changes_total", await scrape(service)
        assert now.total(counter, kind=kind) > before.total(counter, kind=kind)

    async with traffic.running():
        await fault(replicated, token)
        if kind is not None:
            # Some nodes hear later than others, and a worker may ask one of them.
            await eventually(told, seconds=5)
    await replicated.whole()
    await traffic.assert_nothing_is_lost()
    assert traffic.failed == []
    assert traffic.ledger.acknowledged > 10
    assert traffic.reads > 1
    assert kind != "failover" or any(event["event"] == "store_failover" for event in service.events)
    if fault is connections_killed:
        after = await scrape(service)
        for node, counter in itertools.product(replicated.nodes, RECONNECTED):
            if await node.role() == "master":
                label = f"{HOST}:{node.port}"
                assert after.total(counter, node=label) > before.total(counter, node=label)


async def test_a_member_says_what_its_acknowledgements_mean(service: Service, replicated: ReplicatedCluster) -> None:
    """The service's calls wait for a replica; a member's do not when it does without, and do again when it does not."""
    token, admin = await service.token(), await service.token("admin")
    async with service.channel("gateway") as channel:

        async def says(durability: catalog_pb2.Durability.ValueType) -> None:
            member = catalog_pb2.Member(id=MEMBER, durability=durability)
            request = catalog_pb2.UpdateMemberRequest(member=member, update_mask={"paths": ["durability"]})
            await CatalogServiceStub(channel).UpdateMember(request, metadata=(("authorization", admin),), timeout=20)

        async def is_answered() -> bool:
            """Within a second."""
            request, metadata = apply_request(one_user()), (("authorization", token),)
            try:
                await AudienceServiceStub(channel).ApplySegments(request, metadata=metadata, timeout=1)
            except grpc.aio.AioRpcError:
                return False
            return True

        async def are_answered(expected: bool) -> None:
            """By all workers, very likely: they hear of it within a second."""
            assert [await is_answered() for _ in range(3)] == [expected] * 3

        unsaid, primary = catalog_pb2.DURABILITY_UNSPECIFIED, catalog_pb2.DURABILITY_PRIMARY
        for durability, expected in ((primary, True), (unsaid, False)):
            await says(durability)
            async with replica_stopped(replicated, membership_key(b"p", USER.encode())):
                await eventually(partial(are_answered, expected))
