"""Whether the service can serve."""

import asyncio
import os
import signal

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.health import PING_SECONDS, HealthService
from instantaudience_server.store.cluster import Cluster
from support.clusters import seconds_from_now, whole


async def test_a_change_is_reported_once(embedded: EmbeddedCluster, cluster: Cluster) -> None:
    reports: asyncio.Queue[bool] = asyncio.Queue()
    watching = asyncio.create_task(HealthService(cluster).watch(reports.put))
    node = embedded.nodes[1]
    try:
        async with asyncio.timeout(20):
            assert await reports.get()
            os.kill(node.child.pid, signal.SIGSTOP)
            assert not await reports.get()
            os.kill(node.child.pid, signal.SIGCONT)
            assert await reports.get()
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
        watching.cancel()
    assert reports.empty()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await whole(embedded)


async def test_a_check_takes_a_second_at_most(embedded: EmbeddedCluster, cluster: Cluster) -> None:
    service, node = HealthService(cluster), embedded.nodes[2]
    await service.check(seconds_from_now(60))
    os.kill(node.child.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(2 * PING_SECONDS):
            with pytest.raises(AudienceError) as failed:
                await service.check(seconds_from_now(60))
    finally:
        os.kill(node.child.pid, signal.SIGCONT)
    assert failed.value.reason is Reason.UNAVAILABLE
    await whole(embedded)
