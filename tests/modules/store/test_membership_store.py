"""What stands in the cluster after each kind of change, read back with plain redis-py (design, "Storage")."""

import asyncio
import time

import pytest
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.store.cluster import commands
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.memberships import NEVER, REMOVE
from instantaudience_server.store.keys import external_id_key
from instantaudience_server.store.membership_store import ClusterMembershipStore
from redis.asyncio import RedisCluster
from support.cluster.nodes import carried_out, on_all_nodes
from support.cluster.users import for_each, of_users, user_key, write
from support.waiting import seconds_from_now

HOUR_FROM_NOW = int(time.time() * 1000) + 3_600_000
TWO_HOURS_FROM_NOW = HOUR_FROM_NOW + 3_600_000
THOUSAND_YEARS_FROM_NOW = HOUR_FROM_NOW + 525_600_000 * 60_000
KEY = user_key(1)
VALUES = (0, 1, -1, 2**31 - 1, -(2**31))


async def standing(plain: RedisCluster, key: bytes) -> dict[int, tuple[int, int]]:
    """Segment ID → (value, end or -1), as the cluster holds it."""
    values = await plain.hgetall(key)
    if not values:
        assert not await plain.exists(key)
        return {}
    ends = await plain.hpexpiretime(key, *values)
    left = await plain.hpttl(key, *values)
    assert all((end == -1) == (ttl == -1) for end, ttl in zip(ends, left, strict=True))
    return {int(field): (int(value), end) for (field, value), end in zip(values.items(), ends, strict=True)}


async def test_a_membership_is_a_field_with_its_own_end(store: ClusterMembershipStore, plain: RedisCluster) -> None:
    await write(store, of_users({KEY: {HOUR_FROM_NOW: {10001: 1, 12: -7}, NEVER: {10002: 3}}}), seconds_from_now())
    assert await standing(plain, KEY) == {10001: (1, HOUR_FROM_NOW), 12: (-7, HOUR_FROM_NOW), 10002: (3, -1)}
    assert await plain.pexpiretime(KEY) == -1
    assert await store.read([KEY], seconds_from_now()) == [
        {10001: (1, HOUR_FROM_NOW), 12: (-7, HOUR_FROM_NOW), 10002: (3, NEVER)}
    ]


@pytest.mark.parametrize("before", [NEVER, HOUR_FROM_NOW, TWO_HOURS_FROM_NOW], ids=["never", "hour", "two hours"])
@pytest.mark.parametrize("after", [NEVER, HOUR_FROM_NOW, TWO_HOURS_FROM_NOW], ids=["never", "hour", "two hours"])
async def test_writing_again_replaces_value_and_end(
    store: ClusterMembershipStore, plain: RedisCluster, before: int, after: int
) -> None:
    other = {12: (8, HOUR_FROM_NOW)}
    await write(store, of_users({KEY: {before: {10001: 1}}}), seconds_from_now())
    await write(store, of_users({KEY: {HOUR_FROM_NOW: {12: 8}}}), seconds_from_now())
    await write(store, of_users({KEY: {after: {10001: 2}}}), seconds_from_now())
    assert await standing(plain, KEY) == {10001: (2, after or -1), **other}


async def test_removing_takes_the_field_and_the_last_one_the_key(
    store: ClusterMembershipStore, plain: RedisCluster
) -> None:
    await write(store, of_users({KEY: {HOUR_FROM_NOW: {1: 1}, NEVER: {2: 2, 3: 3}}}), seconds_from_now())
    await write(store, of_users({KEY: {REMOVE: {1: 0, 2: 0}}}), seconds_from_now())
    assert await standing(plain, KEY) == {3: (3, -1)}
    await write(store, of_users({KEY: {REMOVE: {3: 0}}}), seconds_from_now())
    assert await standing(plain, KEY) == {}


async def test_leaving_a_segment_that_one_is_not_in_is_no_error(
    store: ClusterMembershipStore, plain: RedisCluster
) -> None:
    await write(store, of_users({KEY: {REMOVE: {1: 0}}}), seconds_from_now())
    await write(store, of_users({KEY: {NEVER: {2: 2}}}), seconds_from_now())
    await write(store, of_users({KEY: {REMOVE: {1: 0}}}), seconds_from_now())
    assert await standing(plain, KEY) == {2: (2, -1)}


@pytest.mark.parametrize("end", [NEVER, HOUR_FROM_NOW, THOUSAND_YEARS_FROM_NOW], ids=["never", "hour", "1000 years"])
async def test_every_value_and_end_comes_back(store: ClusterMembershipStore, plain: RedisCluster, end: int) -> None:
    values = dict(enumerate(VALUES, start=2**31 - len(VALUES)))
    await write(store, of_users({KEY: {end: values}}), seconds_from_now())
    assert await standing(plain, KEY) == {segment: (value, end or -1) for segment, value in values.items()}
    assert await store.read([KEY], seconds_from_now()) == [{segment: (value, end) for segment, value in values.items()}]


async def test_a_membership_whose_end_is_over_when_it_is_written_does_not_stand(
    store: ClusterMembershipStore, plain: RedisCluster
) -> None:
    """The end is fixed when the request is read; a write that comes later than that must not extend it."""
    await write(store, of_users({KEY: {HOUR_FROM_NOW: {1: 1, 2: 2}}}), seconds_from_now())
    await write(store, of_users({KEY: {HOUR_FROM_NOW - 2 * 3_600_000: {1: 5}}}), seconds_from_now())
    assert await standing(plain, KEY) == {2: (2, HOUR_FROM_NOW)}
    assert await store.read([KEY], seconds_from_now()) == [{2: (2, HOUR_FROM_NOW)}]


async def test_what_is_packed_before_is_written_likewise(store: ClusterMembershipStore) -> None:
    """A piece after the other."""
    stands = {user_key(number): {1: (number, NEVER), 2: (number, HOUR_FROM_NOW)} for number in range(1, 251)}
    changes = of_users({key: {NEVER: {1: each[1][0]}, HOUR_FROM_NOW: {2: each[1][0]}} for key, each in stands.items()})
    changes += for_each([user_key(number) for number in range(1001, 1011)], {NEVER: {3: 3}, REMOVE: {1: 0}})
    packing = store.pack(changes)
    pieces = 0
    while True:
        try:
            next(packing)
        except StopIteration as end:
            packed = end.value
            break
        pieces += 1
    assert pieces == 3
    writing = store.write(packed, seconds_from_now())
    await writing.done
    assert not writing.failures()
    assert writing.unwritten() == set()
    assert await store.read(list(stands), seconds_from_now()) == list(stands.values())
    assert await store.read([user_key(1001), user_key(1010)], seconds_from_now()) == [{3: (3, NEVER)}] * 2


async def test_whose_changes_the_cluster_refused_is_told(store: ClusterMembershipStore, plain: RedisCluster) -> None:
    """However they were sent: who joins, who leaves, and who does the same as others."""
    users = {kind: [user_key(100 * number + each) for each in range(3)] for number, kind in enumerate("jls", 1)}
    refused = {users["j"][1], users["l"][0], users["s"][2]}
    for key in refused:
        await plain.set(key, "something else")
    changes = of_users({key: {NEVER: {1: number}} for number, key in enumerate(users["j"])})
    changes += of_users({key: {REMOVE: {1 + number: 0}} for number, key in enumerate(users["l"])})
    changes += for_each(users["s"], {NEVER: {3: 3}})
    writing = store.write(changes, seconds_from_now())
    await writing.done
    assert set(writing.failures()) == writing.unwritten() == refused
    for key in refused:
        await plain.delete(key)
    read = await store.read([*users["j"], *users["s"]], seconds_from_now())
    assert read == [{1: (0, NEVER)}, {}, {1: (2, NEVER)}, {3: (3, NEVER)}, {3: (3, NEVER)}, {}]


async def test_users_are_read_in_the_order_asked_for(store: ClusterMembershipStore) -> None:
    keys = [user_key(user_id) for user_id in range(1, 301)]
    await write(
        store, of_users({key: {NEVER: {7: index}} for index, key in enumerate(keys) if index % 3}), seconds_from_now()
    )
    asked = [*reversed(keys), keys[1], keys[1]]
    expected = [{7: (keys.index(key), NEVER)} if keys.index(key) % 3 else {} for key in asked]
    assert await store.read(asked, seconds_from_now()) == expected
    assert await store.read([], seconds_from_now()) == []


async def test_nothing_to_write_is_no_command(store: ClusterMembershipStore, plain: RedisCluster) -> None:
    before = await calls(plain)
    await write(store, [], seconds_from_now())
    assert await calls(plain) == before


async def calls(plain: RedisCluster) -> dict[str, int]:
    """How often the nodes have changed something."""
    return {name: await carried_out(plain, name) for name in ("hsetex", "hdel")}


@pytest.mark.parametrize(
    ("user_changes", "commands"),
    [
        ({NEVER: dict.fromkeys(range(1, 101), 1)}, {"hsetex": 1, "hdel": 0}),
        ({HOUR_FROM_NOW: dict.fromkeys(range(1, 101), 1)}, {"hsetex": 1, "hdel": 0}),
        ({REMOVE: dict.fromkeys(range(1, 101), 0)}, {"hsetex": 0, "hdel": 1}),
        (
            {HOUR_FROM_NOW: {1: 1, 2: 1}, TWO_HOURS_FROM_NOW: {3: 1}, NEVER: {4: 1, 5: 1}, REMOVE: {6: 0, 7: 0}},
            {"hsetex": 3, "hdel": 1},
        ),
    ],
    ids=["never", "end", "remove", "all"],
)
async def test_changes_with_one_end_are_one_atomic_command(
    store: ClusterMembershipStore,
    plain: RedisCluster,
    user_changes: dict[int, dict[int, int]],
    commands: dict[str, int],
) -> None:
    users = [f"m:i:{index:036x}".encode() for index in range(5)]
    before = await calls(plain)
    await write(store, for_each(users, user_changes), seconds_from_now())
    after = await calls(plain)
    assert {name: after[name] - before[name] for name in after} == {name: 5 * count for name, count in commands.items()}


async def test_calls_of_one_user_are_carried_out_in_order(store: ClusterMembershipStore) -> None:
    async with asyncio.TaskGroup() as tasks:
        for value in range(300):
            changes = of_users({KEY: {REMOVE if value % 2 else NEVER: {1: value, 2: value}}})
            tasks.create_task(write(store, changes, seconds_from_now()))
        tasks.create_task(write(store, of_users({KEY: {NEVER: {1: 77}}}), seconds_from_now()))
    assert await store.read([KEY], seconds_from_now()) == [{1: (77, NEVER)}]


async def test_a_user_with_many_memberships_is_read_in_parts(
    store: ClusterMembershipStore, plain: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And users with few beside it, one of them twice; what is over meanwhile is left out."""
    few, nobody = user_key(2), user_key(3)
    many = {NEVER: {number: number for number in range(1, 3001)}, HOUR_FROM_NOW: dict.fromkeys(range(5001, 8001), 7)}
    await write(store, of_users({KEY: many, few: {NEVER: {1: 5}}}), seconds_from_now())
    await plain.hpexpire(KEY, 1, *range(2900, 3001))  # type: ignore[misc]
    await asyncio.sleep(0.05)
    parts = []
    scan_hash = commands.scan_hash
    monkeypatch.setattr(commands, "scan_hash", lambda *words: parts.append(words) or scan_hash(*words))
    read = await store.read([few, KEY, nobody, few], seconds_from_now())
    assert read[0] == read[3] == {1: (5, NEVER)}
    assert read[2] == {}
    expected = {number: (number, NEVER) for number in range(1, 2900)}
    assert read[1] == expected | dict.fromkeys(range(5001, 8001), (7, HOUR_FROM_NOW))
    assert len([words for words in parts if words[0] == KEY]) >= 3


class TestExternalIds:
    EXTERNAL = (
        "crm-1",
        "{",
        "}",
        "{}",
        "{}a",
        "a{b}c",
        "{b}",
        "{a}{b}",
        "a}b{c",
        "}{",
        "{{a}}",
        "é{日本}",
        "a b",
        "a:b",
    )

    @pytest.fixture
    async def keys(self, plain: RedisCluster) -> list[bytes]:
        """All mapped, each to its place in the list."""
        keys = [external_id_key(958, external_id) for external_id in self.EXTERNAL]
        for index, key in enumerate(keys):
            await plain.set(key, index + 1)
        return keys

    async def test_lead_to_users_in_the_order_asked_for(
        self, store: ClusterMembershipStore, cluster: Cluster, keys: list[bytes]
    ) -> None:
        missing = [external_id_key(958, "nobody"), external_id_key(959, "crm-1")]
        users = await store.resolve_external_ids([missing[0], *keys, missing[1]], seconds_from_now())
        assert users == [None, *(str(index + 1) for index in range(len(keys))), None]

    async def test_live_where_their_hash_tag_says(
        self, store: ClusterMembershipStore, embedded: EmbeddedCluster, keys: list[bytes]
    ) -> None:
        """No question is sent to a wrong node: nobody has to answer MOVED."""
        before = [info.get("errorstat_MOVED") for info in await on_all_nodes(embedded, "INFO", "errorstats")]
        await store.resolve_external_ids(keys, seconds_from_now())
        assert [info.get("errorstat_MOVED") for info in await on_all_nodes(embedded, "INFO", "errorstats")] == before
