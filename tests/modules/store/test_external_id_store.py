"""External IDs in the cluster, read back with plain redis-py (design, "Storage")."""

import time

import pytest
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.external_id_store import ClusterExternalIdStore
from instantaudience_server.store.interfaces.memberships import NEVER
from redis.asyncio import RedisCluster
from support.cluster.running import send_again
from support.waiting import seconds_from_now

NOW = int(time.time() * 1000)
END = NOW + 3_600_000
LARGEST_USER = "18446744073709551615"
KEYS = [b"x:958:crm-1", b"x:958:{tag}a", b"x:958:}{", b"x:958:{}", "x:958:é {1}".encode(), b"x:958:a\r\n$1"]
"""Among them some whose braces decide their slot."""


@pytest.fixture
def external_ids(cluster: Cluster) -> ClusterExternalIdStore:
    return ClusterExternalIdStore(cluster)


async def test_mappings_are_strings_that_end(external_ids: ClusterExternalIdStore, plain: RedisCluster) -> None:
    await external_ids.map(KEYS, LARGEST_USER, END, seconds_from_now())
    for key in KEYS:
        assert await plain.get(key) == LARGEST_USER.encode()
        assert await plain.pexpiretime(key) == END
    assert await external_ids.resolve(KEYS, seconds_from_now()) == [(LARGEST_USER, END)] * len(KEYS)


async def test_answers_are_in_the_order_of_the_keys(external_ids: ClusterExternalIdStore) -> None:
    keys = [b"x:958:%d" % number for number in range(1000)]
    for number in range(0, 1000, 100):
        await external_ids.map(keys[number : number + 50], str(number + 1), END + number, seconds_from_now())
    expected = [
        (str(number // 100 * 100 + 1), END + number // 100 * 100) if number % 100 < 50 else None
        for number in range(1000)
    ]
    assert await external_ids.resolve(keys, seconds_from_now()) == expected


async def test_mapping_again_replaces_user_and_end(external_ids: ClusterExternalIdStore) -> None:
    await external_ids.map(KEYS, "1", END, seconds_from_now())
    await external_ids.map(KEYS[:2], "2", END + 5, seconds_from_now())
    expected = [("2", END + 5)] * 2 + [("1", END)] * (len(KEYS) - 2)
    assert await external_ids.resolve(KEYS, seconds_from_now()) == expected


async def test_what_has_ended_is_gone(external_ids: ClusterExternalIdStore, plain: RedisCluster) -> None:
    await external_ids.map(KEYS, "1", NOW - 1, seconds_from_now())
    assert await external_ids.resolve(KEYS, seconds_from_now()) == [None] * len(KEYS)
    assert await plain.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0


async def test_a_mapping_without_an_end(external_ids: ClusterExternalIdStore, plain: RedisCluster) -> None:
    await plain.set(KEYS[0], "7")
    assert await external_ids.resolve(KEYS[:1], seconds_from_now()) == [("7", NEVER)]


async def test_forgetting_tells_how_many_there_were(external_ids: ClusterExternalIdStore, plain: RedisCluster) -> None:
    await external_ids.map(KEYS[:4], "1", END, seconds_from_now())
    assert await external_ids.forget([*KEYS[2:], b"x:957:crm-1"], seconds_from_now()) == 2
    assert await external_ids.forget(KEYS[2:], seconds_from_now()) == 0
    assert sorted([key async for key in plain.scan_iter()]) == sorted(KEYS[:2])


async def test_forgetting_tells_how_many_there_were_when_it_is_sent_again(
    external_ids: ClusterExternalIdStore, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lost answer, there is none any more."""
    send_again(cluster, monkeypatch)
    await external_ids.map(KEYS[:4], "1", END, seconds_from_now())
    assert await external_ids.forget(KEYS[2:], seconds_from_now()) == 2
    assert await external_ids.forget(KEYS[2:], seconds_from_now()) == 0


async def test_no_keys(external_ids: ClusterExternalIdStore, plain: RedisCluster) -> None:
    await external_ids.map([], "1", END, seconds_from_now())
    assert await external_ids.resolve([], seconds_from_now()) == []
    assert await external_ids.forget([], seconds_from_now()) == 0
    assert await plain.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0
