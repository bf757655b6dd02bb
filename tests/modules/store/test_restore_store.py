"""Whose turn it is to restore into a cluster, and who has begun to put its catalog back."""

import pytest
from instantaudience_server.errors import AudienceError
from instantaudience_server.store import keys
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.restore_store import LEASE_MS, ClusterRestoreStore
from redis.asyncio import RedisCluster
from support.waiting import seconds_from_now


@pytest.fixture
def ours(cluster: Cluster) -> ClusterRestoreStore:
    return ClusterRestoreStore(cluster, "ours", seconds_from_now)


@pytest.fixture
def other(cluster: Cluster) -> ClusterRestoreStore:
    return ClusterRestoreStore(cluster, "other", seconds_from_now)


@pytest.mark.parametrize("hold", ["hold", "begin_catalog", "hold_catalog"])
async def test_who_goes_on_keeps_others_out_for_as_long_as_at_first(
    ours: ClusterRestoreStore, other: ClusterRestoreStore, plain: RedisCluster, hold: str
) -> None:
    assert await ours.begin_catalog()
    assert await plain.pexpire(keys.RESTORE_LEASE, LEASE_MS // 2)  # as where half of it is over
    assert await getattr(ours, hold)()
    assert LEASE_MS // 2 < await plain.pttl(keys.RESTORE_LEASE) <= LEASE_MS
    await other.end()
    assert not await other.begin_catalog()
    assert await ours.hold_catalog()
    await ours.end()
    assert await other.hold()


async def test_a_clock_that_was_set_back_keeps_nobody_out_for_longer(
    ours: ClusterRestoreStore, other: ClusterRestoreStore, plain: RedisCluster
) -> None:
    """The node keeps the lease's end as a time (https://redis.io/docs/latest/commands/expire/)."""
    assert await ours.hold()
    assert await plain.pexpire(keys.RESTORE_LEASE, LEASE_MS + 3_600_000)  # as where its clock was set back by an hour
    assert not await other.hold()
    assert LEASE_MS // 2 < await plain.pttl(keys.RESTORE_LEASE) <= LEASE_MS
    assert await ours.hold(), "one that is at work has not lost it"


async def test_from_its_beginning_to_its_end_nobody_takes_the_catalog_for_whole(
    ours: ClusterRestoreStore, plain: RedisCluster
) -> None:
    await plain.set(keys.CATALOG_VERSION, "of what stood there")
    assert await ours.hold()
    assert await plain.exists(keys.CATALOG_VERSION)
    assert await ours.begin_catalog()
    assert not await plain.exists(keys.CATALOG_VERSION)
    assert await plain.exists(keys.CATALOG_PARTIAL)
    await plain.set(keys.CATALOG_VERSION, "of what was put back")
    assert await ours.hold_catalog()
    await ours.end_catalog()
    assert await plain.exists(keys.CATALOG_VERSION)
    assert not await plain.exists(keys.CATALOG_PARTIAL)


@pytest.mark.parametrize("is_done", [False, True])
async def test_who_stood_still_does_not_go_on_with_a_catalog_that_another_one_has_begun(
    ours: ClusterRestoreStore, other: ClusterRestoreStore, plain: RedisCluster, is_done: bool
) -> None:
    """Though nobody keeps it out any more: the other one has been killed, or is done."""
    assert await ours.begin_catalog()
    await plain.delete(keys.RESTORE_LEASE)
    assert await other.begin_catalog()
    if is_done:
        await other.end_catalog()
    await other.end()
    assert not await ours.hold_catalog()
    await ours.end_catalog()
    assert await plain.exists(keys.CATALOG_PARTIAL) == (not is_done)
    assert await ours.hold()


async def test_who_cannot_release_the_lease_is_done_all_the_same(cluster: Cluster) -> None:
    """It ends by itself."""
    late = ClusterRestoreStore(cluster, "late", lambda: 0.0)
    with pytest.raises(AudienceError):
        await late.hold()
    await late.end()
