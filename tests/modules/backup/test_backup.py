"""What a cluster holds comes back, in a cluster of another shape and product: nothing less, nothing that has ended."""

import asyncio
import math
import os
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.backup.connection import Connection, connected, deadline
from instantaudience_server.backup.contents import NOT_KEPT, SORTS, TOGETHER, Totals
from instantaudience_server.backup.file import BackupError, Writer, check
from instantaudience_server.backup.putting_back import put_back
from instantaudience_server.backup.taking import take
from instantaudience_server.catalog import records
from instantaudience_server.embedded.cluster import EmbeddedCluster
from instantaudience_server.errors import AudienceError, Reason, RefusedCommandError
from instantaudience_server.passwords.hashing import Passwords
from instantaudience_server.settings import Settings
from instantaudience_server.store import keys, restore_store
from instantaudience_server.store.catalog_store import OBJECTS
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.cluster.topology import StoreUnusableError, Topology
from instantaudience_server.store.inspection.permissions import KEY_LETTERS, WITHOUT_KEYS, name_of
from instantaudience_server.store.interfaces.catalog import Kind as ObjectKind
from instantaudience_server.store.interfaces.memberships import NEVER
from instantaudience_server.store.restore_store import LEASE_MS
from instantaudience_server.store.suppression_store import ClusterSuppressionStore
from instantaudience_server.store.whole_keys import Kind, Part, WholeKeys
from redis import Redis as SyncRedis
from redis import RedisCluster as SyncRedisCluster
from redis.asyncio import Redis, RedisCluster
from support.clocks import FakeClock
from support.cluster.nodes import away_from_owner, migration_of, on_all_nodes, on_node, owner_of
from support.cluster.running import running_node
from support.cluster.users import users_of_slot
from support.parts.accounts import AccountWorker, refused
from support.parts.callers import quick_hash
from support.waiting import eventually, seconds_from_now

USERS, SEGMENTS = 600, 5
HOUR_MS = 3_600_000
YEAR_9999_MS = 253_402_300_799_000
SETTINGS = Settings()
DEPLOYMENT = Path(__file__).parents[3] / "docs/deployment.md"


def told(done: int, of: int) -> None:
    """Progress only grows."""
    assert 0 < done <= of


def files_in(directory: Path) -> list[Path]:
    """All of them."""
    return list(directory.iterdir())


@asynccontextmanager
async def another_cluster(directory: Path) -> AsyncIterator[tuple[Redis, Connection]]:
    """A node that has all slots, of another product."""
    async with (
        running_node("redis", directory, "cluster-enabled yes") as port,
        connected(f"redis://127.0.0.1:{port}", SETTINGS) as connection,
        Redis(port=port) as client,
    ):
        yield client, connection


async def fill(plain: RedisCluster, now_ms: int) -> dict[bytes, dict[bytes, tuple[bytes, int]]]:
    """Users' memberships that end soon, late and never; what stands, as it has to come back."""
    drawn, stands = random.Random(1), {}
    pipeline = plain.pipeline()
    for number in range(USERS):
        key, fields = keys.membership_key(b"p", b"%d" % number), {}
        for segment in range(SEGMENTS):
            end = drawn.choice([0, now_ms + HOUR_MS, now_ms + 2 * HOUR_MS + number])
            expiry = ("PXAT", end) if end else ()
            pipeline.execute_command("HSETEX", key, *expiry, "FIELDS", 1, segment, number)
            fields[b"%d" % segment] = (b"%d" % number, end or -1)
        stands[key] = fields
    await pipeline.execute()
    return stands


async def memberships(client: Any, found: list[bytes]) -> dict[bytes, dict[bytes, tuple[bytes, int]]]:
    """Values and ends of users."""
    stands = {}
    for key in found:
        fields = await client.hgetall(key)
        ends = await client.hpexpiretime(key, *fields)
        stands[key] = {name: (value, end) for (name, value), end in zip(fields.items(), ends, strict=True)}
    return stands


def test_of_every_key_it_is_said_whether_it_is_kept() -> None:
    letters = b"".join([*SORTS, *TOGETHER]) + NOT_KEPT
    assert sorted(letters.decode()) == sorted(KEY_LETTERS)


async def test_everything_comes_back(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    now_ms, end = clock.now_ms(), clock.now_ms() + HOUR_MS
    stands = await fill(plain, now_ms)
    large = keys.membership_key(b"a", b"large")
    await plain.hset(large, mapping={str(field): 1 for field in range(3500)})
    await plain.set(keys.external_id_key(958, "é{x}"), "7", pxat=end)
    await plain.hset(keys.usage_key(123, 500_000), mapping={"calls": 3})
    await plain.execute_command("HSETEX", keys.usage_key(123, 500_000), "PXAT", end, "FIELDS", 1, "worker", 8)
    await plain.pexpireat(keys.usage_key(123, 500_000), end)
    await plain.set(keys.usage_lines_key(123, 500_000, "errors"), "a\nb\n", pxat=end)
    await plain.pfadd(keys.segment_size_key(10001, 2900), *range(1000))
    await plain.hset(keys.suppression_key(large), "123", 1)
    await plain.zadd(keys.suppressed_users_key(123), {large: float("inf"), b"m:p:8": end})
    await plain.pexpireat(keys.suppressed_users_key(123), YEAR_9999_MS)
    await plain.set("t:token", "not in it")
    file = tmp_path / "backup"
    async with connected(embedded.url, SETTINGS) as connection:
        taken = await take(connection, file, clock, told)
    assert taken["memberships"] == USERS * SEGMENTS + 3500
    assert file.stat().st_mode & 0o777 == 0o600
    assert files_in(tmp_path) == [file]
    async with another_cluster(tmp_path) as (client, connection):
        put = await put_back(connection, file, clock, told)
        assert put["memberships"] == taken["memberships"]
        assert await memberships(client, list(stands)) == stands
        assert await client.hlen(large) == 3500
        for key in [each async for each in plain.scan_iter(match="[lrxhspc]:*")]:
            if key.startswith(b"c:{catalog}:answer") or key == keys.CATALOG_CHANGES:
                continue
            if key not in (keys.CATALOG_USERS, keys.CATALOG_VERSION):
                assert await content(client, key) == await content(plain, key), key
        assert await users(client) == await users(plain)
        assert (await client.xinfo_stream(keys.CATALOG_CHANGES))["last-generated-id"] == await client.get(
            keys.CATALOG_VERSION
        )
        assert not await client.exists("t:token")


async def users(client: Any) -> dict[bytes, pb.User]:
    """The catalog's users, but for what counts how often their tokens were revoked."""
    found = {key: pb.User.FromString(data) for key, data in (await client.hgetall(keys.CATALOG_USERS)).items()}
    for user in found.values():
        user.ClearField("token_generation")
    return found


async def content(client: Any, key: bytes) -> Any:
    """What a key holds, and its end."""
    kind, end = await client.type(key), await client.pexpiretime(key)
    if kind == b"hash":
        fields = await client.hgetall(key)
        return fields, end, dict(zip(fields, await client.hpexpiretime(key, *fields), strict=True))
    if kind == b"zset":
        return await client.zrange(key, 0, -1, withscores=True), end
    return await client.get(key), end


async def test_what_was_read_twice_counts_once(
    embedded: EmbeddedCluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path
) -> None:
    """A slot that has moved is read again."""
    slot, users = 7, users_of_slot(7, 30)
    for user in (*users, *users_of_slot(8, 10)):
        await plain.hset(user, mapping={"1": 1, "2": 1})
    await plain.set(keys.CATALOG_SEEDING, 1)
    async with (
        migration_of(embedded, slot) as migration,
        connected(embedded.url, SETTINGS) as connection,
        another_cluster(tmp_path) as (client, there),
    ):

        async def move() -> None:
            await on_node(await owner_of(embedded, slot), "HSET", users[0], 3, 1)  # which only the second reading has
            await migration.begin()
            assert await migration.move_keys() == len(users)
            await migration.end()

        moves = [move]

        def move_when_read(done: int, of: int) -> None:
            if moves:
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, moves.pop()()).result()

        taken = await take(connection, tmp_path / "backup", clock, move_when_read)
        assert not moves
        assert taken["memberships"] == 81
        put = await put_back(there, tmp_path / "backup", clock, told)
        assert (put["memberships"], len(await client.keys("m:*"))) == (81, 40)
        assert not await client.exists(keys.CATALOG_SEEDING), "whom a file's catalog has would come back with it"


async def test_keys_of_a_slot_are_listed_wherever_they_are(embedded: EmbeddedCluster, plain: RedisCluster) -> None:
    """Before it moves, while it does, and when it has; the connection does not know where it is."""
    slot, users = 7, users_of_slot(7, 10)
    for user in users:
        await plain.hset(user, mapping={"1": 1})
    async with migration_of(embedded, slot) as migration, connected(embedded.url, SETTINGS) as connection:

        async def assert_listed() -> None:
            assert sorted(await connection.keys.names([slot])) == sorted(users)

        await assert_listed()
        await migration.begin()
        await assert_listed()
        await migration.move_keys(5)
        await assert_listed()
        await migration.move_keys()
        await assert_listed()
        await migration.end()
        await assert_listed()


async def test_slots_that_stand_half_moved_are_read(
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    worker: AccountWorker,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As whoever moved them was killed: it is not waited for. Neither node answers about keys of both."""
    monkeypatch.setattr("instantaudience_server.backup.connection.PATIENCE_SECONDS", 3)
    for user in users_of_slot(7, 50):
        await plain.hset(user, mapping={"1": 1, "2": 1})
    catalog = keys.key_slot(keys.CATALOG_USERS)
    objects = sum([await plain.hlen(key) for key in OBJECTS.values()])
    async with connected(embedded.url, SETTINGS) as connection, AsyncExitStack() as stack:
        for slot in (7, catalog):
            migration = await stack.enter_async_context(migration_of(embedded, slot))
            await migration.begin()
            await migration.move_keys(3)
        taken = await take(connection, tmp_path / "backup", clock, told)
    assert (taken["memberships"], taken["catalog_objects"]) == (100, objects)


class MovingTopology:
    """A topology that is read each time just after a slot has moved, up to some number of times."""

    def __init__(self, topology: Topology, embedded: EmbeddedCluster, slot: int, most: float) -> None:
        self._topology, self._embedded, self._slot = topology, embedded, slot
        self.left = most
        self.primaries = topology.primaries

    async def refresh(self) -> None:
        if self.left:
            self.left -= 1
            migration = await away_from_owner(self._embedded, self._slot)
            await migration.carry_out()
        await self._topology.refresh()


@pytest.mark.parametrize("most", [20, math.inf])
async def test_slots_that_move_again_and_again_are_waited_for(
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: float,
) -> None:
    """As one slot after the other is moved: each time that the backup looks, another node has it."""
    monkeypatch.setattr("instantaudience_server.backup.connection.PATIENCE_SECONDS", 2 if most == math.inf else 60)
    for user in users_of_slot(7, 10):
        await plain.hset(user, "1", 1)
    async with migration_of(embedded, 7), connected(embedded.url, SETTINGS) as connection:
        moving = MovingTopology(connection.topology, embedded, 7, most)
        taking = take(connection._replace(topology=cast("Topology", moving)), tmp_path / "backup", clock, told)
        if most == math.inf:
            with pytest.raises(BackupError, match="slots were moved all the time"):
                await taking
            assert files_in(tmp_path) == []
        else:
            assert ((await taking)["memberships"], moving.left) == (10, 0)


def test_of_a_slot_that_begins_anew_the_last_counts() -> None:
    def part(key: bytes, *fields: bytes) -> Part:
        return Part(Kind.HASH, key, 0, [each for field in fields for each in (field, b"1", b"0")])

    # The user has the same slot as the catalog.
    user = users_of_slot(keys.key_slot(keys.CATALOG_USERS), 1)[0]
    totals = Totals()
    for each in (
        *(part(user, b"1"), part(user, b"2"), part(users_of_slot(1, 1)[0], b"1")),
        *(part(keys.CATALOG_USERS), part(keys.CATALOG_MEMBERS)),
        *(part(keys.CATALOG_USERS, b"1", b"2"), part(keys.CATALOG_MEMBERS, b"1")),
        *(part(keys.CATALOG_USERS), part(keys.CATALOG_MEMBERS)),
        *(part(keys.CATALOG_USERS, b"1"), part(keys.CATALOG_MEMBERS, b"1")),
    ):
        totals.add(each)
    assert +totals.counts() == {"memberships": 3, "catalog_objects": 2}


async def test_what_has_ended_is_not_put_back(
    embedded: EmbeddedCluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path
) -> None:
    now_ms = clock.now_ms()
    key = keys.membership_key(b"p", b"1")
    for segment, hours in enumerate([1, 3, 0]):
        expiry = ("PXAT", now_ms + hours * HOUR_MS) if hours else ()
        await plain.execute_command("HSETEX", key, *expiry, "FIELDS", 1, segment, 1)
    await plain.set(keys.external_id_key(1, "a"), "7", pxat=now_ms + HOUR_MS)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
    clock.ms += 2 * HOUR_MS
    async with another_cluster(tmp_path) as (client, connection):
        put = await put_back(connection, tmp_path / "backup", clock, told)
        assert (put["memberships"], put["ended_memberships"], put["ended_external_ids"]) == (2, 1, 1)
        assert await client.hkeys(key) == [b"1", b"2"]
        assert await client.keys("x:*") == []


async def test_under_writes_it_has_all_that_stood_before(
    embedded: EmbeddedCluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path
) -> None:
    stands = await fill(plain, clock.now_ms())
    changing = [keys.membership_key(b"p", b"%d" % number) for number in range(0, USERS, 2)]
    stop = asyncio.Event()

    async def write() -> int:
        value = 10_000
        while not stop.is_set():
            value += 1
            await plain.hset(random.Random(value).choice(changing), "0", value)
        return value

    writing = asyncio.create_task(write())
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
    stop.set()
    last = await writing
    async with another_cluster(tmp_path) as (client, connection):
        await put_back(connection, tmp_path / "backup", clock, told)
        found = await memberships(client, list(stands))
    for key in stands.keys() - set(changing):
        assert found[key] == stands[key]
    for key in changing:
        assert found[key].keys() == stands[key].keys()
        value = int(found[key][b"0"][0])
        assert found[key][b"0"] == stands[key][b"0"] or 10_000 < value <= last


async def test_what_the_catalog_gets_for_the_first_time_meanwhile_is_in_it(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    """As all of it is from one moment: else a code would be taken by a segment that there is not."""
    assert not await plain.exists(keys.CATALOG_SEGMENTS)
    port = await owner_of(embedded, keys.key_slot(keys.CATALOG_SEGMENTS))

    def create(done: int, of: int) -> None:
        if done == of:
            with SyncRedis(port=port) as client:
                client.hset(keys.CATALOG_SEGMENTS, "12", "a segment")
                client.hset(keys.CATALOG_NAMES, "segment:1:tea", "12")
                client.set(keys.CATALOG_VERSION, "900-1")

    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, create)
    async with another_cluster(tmp_path) as (client, there):
        await put_back(there, tmp_path / "backup", clock, told)
        assert await client.hget(keys.CATALOG_NAMES, "segment:1:tea") == b"12"
        assert await client.hget(keys.CATALOG_SEGMENTS, "12") == b"a segment"


async def test_a_cluster_that_has_a_catalog_is_left_as_it_is(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, file, clock, told)
        members = await plain.hlen(keys.CATALOG_MEMBERS)
        await plain.hset(keys.CATALOG_MEMBERS, "77", "new")
        with pytest.raises(BackupError, match="has a catalog already"):
            await put_back(connection, file, clock, told)
        assert await plain.hexists(keys.CATALOG_MEMBERS, "77")
        await put_back(connection, file, clock, told, over=True)
        assert await plain.hlen(keys.CATALOG_MEMBERS) == members


async def assert_hangs_together(plain: RedisCluster) -> None:
    """Names lead to objects, objects have their names, and as many are owned as there are."""
    names, owned = Counter[bytes](), Counter[bytes]()
    for kind, key in OBJECTS.items():
        for object_id, data in (await plain.hgetall(key)).items():
            found = records.decode(kind, data)
            if name := records.unique_name(found):
                names[b"%b=%b" % (name.encode(), object_id)] += 1
            owned[b"%d" % records.owner_id(found)] += 1
    del owned[b"0"]
    assert names == Counter([b"%b=%b" % each for each in (await plain.hgetall(keys.CATALOG_NAMES)).items()])
    assert owned == {member: int(count) for member, count in (await plain.hgetall(keys.CATALOG_OWNED)).items()}


@pytest.mark.parametrize("put", OBJECTS.values())
async def test_while_the_catalog_is_there_in_part_it_is_left_alone(
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    cluster: Cluster,
    worker: AccountWorker,
    clock: FakeClock,
    passwords: Passwords,
    tmp_path: Path,
    put: bytes,
) -> None:
    """A change made a version of it, so that workers took it for whole, and was lost or counted wrongly; who signed in
    had guessed wrong, who began to serve knew a part, and a backup had no more."""
    segments = [pb.Segment(member_id=123, code=f"code{number}", short_name="One") for number in range(3)]
    await worker.editor.create(segments[0], seconds_from_now())
    changing: list[asyncio.Task[Any]] = []

    class Watched(WholeKeys):
        async def put_back(self, parts: Sequence[Part], now_ms: int) -> None:
            if parts[0].key == put:
                changing.append(asyncio.create_task(worker.editor.create(segments[1], seconds_from_now())))
                changing.append(asyncio.create_task(worker.change_user(1001, username="other")))
                changing.append(asyncio.create_task(worker.sign_in()))
                done, _ = await asyncio.wait(changing, timeout=0.2)
                assert {type(change.exception()) for change in done} <= {AudienceError}
                assert not await plain.exists(keys.CATALOG_VERSION)
                assert 0 < await plain.pttl(keys.RESTORE_LEASE) <= LEASE_MS  # as long, others wait for a killed one
                await refused(another.feed._load(), Reason.UNAVAILABLE)
                with pytest.raises(BackupError, match="a part of a catalog"):
                    await take(there, tmp_path / "another", clock, told)
                with pytest.raises(BackupError, match="another restore into this cluster is under way"):
                    await put_back(there, tmp_path / "backup", clock, told, over=True)
            await super().put_back(parts, now_ms)

    another = AccountWorker(cluster, clock, passwords, number=1)
    async with connected(embedded.url, SETTINGS) as connection, connected(embedded.url, SETTINGS) as there:
        await take(connection, tmp_path / "backup", clock, told)
        watched = connection._replace(keys=Watched(connection.keys._cluster, deadline))
        await put_back(watched, tmp_path / "backup", clock, told, over=True)
        for error in await asyncio.gather(*changing, return_exceptions=True):
            assert not isinstance(error, AudienceError) or error.reason is Reason.UNAVAILABLE
        await another.close()
    await assert_hangs_together(plain)
    await worker.feed.load()
    await worker.editor.create(segments[2], seconds_from_now())
    assert all(worker.catalog.segment_by_code(123, each.code) for each in segments[::2])


@pytest.mark.parametrize(
    ("behind", "never_there"),
    [
        (None, keys.membership_key(b"p", b"1")),
        (keys.CATALOG_MEMBERS, keys.CATALOG_USERS),
        (keys.CATALOG_CHANGES, keys.CATALOG_VERSION),
    ],
    ids=["memberships", "catalog", "version"],
)
async def test_one_that_stood_still_writes_nothing_into_what_another_puts_back(
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    worker: AccountWorker,
    clock: FakeClock,
    tmp_path: Path,
    behind: bytes | None,
    never_there: bytes,
) -> None:
    await plain.hset(keys.membership_key(b"p", b"1"), "10001", 1)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
    async with another_cluster(tmp_path) as (client, there):
        port = client.connection_pool.connection_kwargs["port"]

        def overtake() -> None:
            with SyncRedis(port=port) as other:
                other.mset({keys.RESTORE_LEASE: "another"} | ({keys.CATALOG_PARTIAL: "another"} if behind else {}))

        class Watched(WholeKeys):
            async def put_back(self, parts: Sequence[Part], now_ms: int) -> None:
                await super().put_back(parts, now_ms)
                if parts[0].key == behind:
                    overtake()

        def overtake_at_first(done: int, of: int) -> None:
            if behind is None:
                overtake()

        watched = there._replace(keys=Watched(there.keys._cluster, deadline))
        with pytest.raises(BackupError, match="stood still for too long, and another restore into this cluster"):
            await put_back(watched, tmp_path / "backup", clock, overtake_at_first)
        assert not await client.exists(never_there)
        assert not await client.exists(keys.CATALOG_VERSION)
        assert behind is None or await client.exists(behind)
        assert await client.get(keys.RESTORE_LEASE) == b"another"


async def test_one_that_is_interrupted_before_it_knows_its_turn_keeps_nobody_out(
    embedded: EmbeddedCluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease stood for two minutes."""
    async with connected(embedded.url, SETTINGS) as connection:
        hold = connection.restore.hold

        async def hold_unheard() -> bool:
            await hold()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(connection.restore, "hold", hold_unheard)
        restoring = asyncio.create_task(put_back(connection, tmp_path / "backup", clock, told))

        async def has_begun() -> None:
            assert await plain.exists(keys.RESTORE_LEASE)

        await eventually(has_begun)
        restoring.cancel()
        await asyncio.wait([restoring])
        assert restoring.cancelled()
    assert not await plain.exists(keys.RESTORE_LEASE)


async def test_others_are_kept_out_for_as_long_as_a_file_is_checked(
    embedded: EmbeddedCluster,
    worker: AccountWorker,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where that took over two minutes, another restore could begin."""
    monkeypatch.setattr(restore_store, "LEASE_MS", 2000)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
    async with another_cluster(tmp_path) as (client, there):
        left_ms = [restore_store.LEASE_MS] * 2

        def check_until_renewed(done: int, of: int) -> None:
            with SyncRedis(port=client.connection_pool.connection_kwargs["port"]) as other:
                while 0 < left_ms[-1] <= left_ms[-2]:
                    left_ms.append(other.pttl(keys.RESTORE_LEASE))

        await put_back(there, tmp_path / "backup", clock, check_until_renewed)
        assert left_ms[-1] > left_ms[-2] > 0
        assert not await client.exists(keys.RESTORE_LEASE)


async def test_tokens_from_before_do_not_come_back(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    """Neither one that was revoked since the backup, nor one that was issued since; workers hear of it, although they
    may know the same change as the newest."""
    revoked = await worker.sign_in()
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
        await worker.change_user(1001, token_generation=clock.ms // 1000 + 1)
        later = await worker.sign_in()
        for issued in ([revoked, later], [await worker.sign_in()]):
            clock.ms += 2000
            await put_back(connection, tmp_path / "backup", clock, told, over=True)
            await refused(worker.catch_up(), Reason.UNAVAILABLE)
            await worker.feed.load()
            for token in issued:
                await refused(worker.verify(token), Reason.NOAUTH)
            assert (await worker.verify(await worker.sign_in())).account.id == 1001


async def test_tokens_of_who_was_made_since_are_nobody_elses(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    """Neither of the user that the backup has under the same ID, nor of one who is made after it has been put back: the
    clock may have been set back meanwhile, or their tokens revoked very often."""

    async def make(user_id: int) -> str:
        user = pb.User(id=user_id, username=f"user {user_id}", member_id=123)
        await worker.editor.create(user, seconds_from_now(), quick_hash("Some-Passw0rd!"))
        return await worker.sign_in(user.username, "Some-Passw0rd!")

    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
        await worker.editor.delete(ObjectKind.USER, 1001, "", seconds_from_now())
        tokens = [await make(1001), await make(2000)]
        clock.ms -= HOUR_MS
        await put_back(connection, tmp_path / "backup", clock, told, over=True)
    await worker.feed.load()
    await make(2000)
    for token in tokens:
        await refused(worker.verify(token), Reason.NOAUTH)


async def test_ids_that_were_given_since_are_not_given_again(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    """The users of a segment that was made since the backup stay: nobody else's may have its ID."""
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
        since = await worker.store.allocate_id(ObjectKind.SEGMENT, seconds_from_now())
        for _ in range(2):
            await put_back(connection, tmp_path / "backup", clock, told, over=True)
    assert await worker.store.allocate_id(ObjectKind.SEGMENT, seconds_from_now()) == since + 1
    assert await worker.store.allocate_id(ObjectKind.USER, seconds_from_now()) == 1005


async def test_who_has_been_suppressed_since_stays_so(
    embedded: EmbeddedCluster, plain: RedisCluster, cluster: Cluster, clock: FakeClock, tmp_path: Path
) -> None:
    """For as long as it was said last; who was suppressed then, again. Whose memberships came back is due."""
    store, end_ms = ClusterSuppressionStore(cluster), clock.ms + HOUR_MS
    then, since, longer = (keys.membership_key(b"p", b"%d" % number) for number in range(3))

    async def suppress(user: bytes, end_ms: int) -> None:
        await store.suppress(123, [user], clock.ms, end_ms, (HOUR_MS, HOUR_MS), "a", seconds_from_now())

    for user in (then, longer):
        await suppress(user, end_ms)
    await plain.hset(since, "10001", 1)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
        await store.lift(123, [then], clock.ms, "b", seconds_from_now())
        for user in (since, longer):
            await suppress(user, NEVER)
        await plain.delete(since)
        await put_back(connection, tmp_path / "backup", clock, told, over=True)
    assert await plain.hexists(since, "10001")
    assert (await store.find(123, [then, since, longer], seconds_from_now())).suppressed == {then, since, longer}
    ends = [await plain.hpexpiretime(keys.suppression_key(user), "123") for user in (then, since, longer)]
    assert ends == [[end_ms], [-1], [-1]]
    assert await store.members(seconds_from_now()) == {123: NEVER}
    due = await plain.zrange(keys.SUPPRESSIONS_DUE, 0, -1, withscores=True)
    assert len(due) == 6
    assert max(since for _, since in due) < end_ms - HOUR_MS / 2


async def test_who_has_been_suppressed_since_is_so_for_longer_than_all_in_the_backup(
    embedded: EmbeddedCluster, plain: RedisCluster, cluster: Cluster, clock: FakeClock, tmp_path: Path
) -> None:
    """Also where their time is over by the node's clock, and not yet by that of whoever puts the backup back."""
    store, user, registry = ClusterSuppressionStore(cluster), b"m:p:1", keys.suppressed_users_key(123)
    clock.ms = FakeClock.real().ms
    await plain.zadd(registry, {b"m:p:2": clock.ms + 3000})
    await plain.pexpireat(registry, clock.ms + 3000)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)

        async def is_over() -> None:
            assert not await plain.exists(registry)

        await eventually(is_over)
        await store.suppress(123, [user], clock.ms, NEVER, (1, 1), "a", seconds_from_now())
        await put_back(connection, tmp_path / "backup", clock, told, over=True)
    assert await store.members(seconds_from_now()) == {123: NEVER}
    assert await plain.zscore(registry, user) == float("inf")


async def test_who_is_suppressed_while_it_is_taken_is_so(
    embedded: EmbeddedCluster, plain: RedisCluster, cluster: Cluster, clock: FakeClock, tmp_path: Path
) -> None:
    """What lies beside the user was read before; who is suppressed is read last."""
    store, user = ClusterSuppressionStore(cluster), keys.membership_key(b"p", b"1")

    def suppress(done: int, of: int) -> None:
        if done == of:
            with SyncRedisCluster.from_url(embedded.url) as client:
                client.zadd(keys.suppressed_users_key(123), {user: float("inf")})

    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, suppress)
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        await put_back(connection, tmp_path / "backup", clock, told)
    assert (await store.find(123, [user], seconds_from_now())).suppressed == {user}


async def test_workers_hear_that_nobody_is_suppressed_any_more(
    embedded: EmbeddedCluster, plain: RedisCluster, cluster: Cluster, clock: FakeClock, tmp_path: Path
) -> None:
    """Without a version, those that had known one would take it for lost, for ever."""
    store, user = ClusterSuppressionStore(cluster), keys.membership_key(b"p", b"1")
    await store.suppress(123, [user], clock.ms, clock.ms + HOUR_MS, (1, 1), "a", seconds_from_now())
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, tmp_path / "backup", clock, told)
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        clock.ms += 2 * HOUR_MS
        await put_back(connection, tmp_path / "backup", clock, told)
    assert await store.version(seconds_from_now()) not in (b"", b"a")
    assert not (await store.find(123, [user], seconds_from_now())).suppressed
    # By the node's clock, it has not ended: so it stays noted, and goes by itself.
    assert await plain.pexpiretime(keys.suppressed_users_key(123)) > max(
        (await store.members(seconds_from_now())).values()
    )


async def test_the_rights_that_are_written_down_are_enough_and_one_that_lacks_is_told(
    embedded: EmbeddedCluster,
    plain: RedisCluster,
    worker: AccountWorker,
    cluster: Cluster,
    clock: FakeClock,
    tmp_path: Path,
) -> None:
    """Beside what every command of the service needs."""
    written = re.search(r"`backup` needs `([^`]+)`[^`]+`restore` these and `([^`]+)`", DEPLOYMENT.read_text())
    assert written is not None
    backup, restore = (words.split() for words in written.groups())
    every = ["+auth", "+hello", *(f"+{name_of(command)}" for command in WITHOUT_KEYS)]
    await fill(plain, clock.ms)
    await ClusterSuppressionStore(cluster).suppress(123, [b"m:p:1"], clock.ms, NEVER, (1, 1), "a", seconds_from_now())
    async with another_cluster(tmp_path) as (client, _):
        port = client.connection_pool.connection_kwargs["port"]

        def allow(rights: list[str]) -> Any:
            return client.execute_command("ACL", "SETUSER", "operator", "reset", "on", ">pw", *every, *rights)

        async with connected(embedded.url, SETTINGS) as connection:
            await take(connection, tmp_path / "backup", clock, told)
        rights = [*backup, *restore]
        await allow(rights)
        async with connected(f"redis://operator:pw@127.0.0.1:{port}", SETTINGS) as connection:
            stood = await client.dbsize()
            for right in {*rights} - {"~*", "+type", "+xrevrange", "+eval"}:
                await allow([each for each in rights if each != right])
                with pytest.raises(BackupError, match=rf"forbids {re.escape(right[1:])};"):
                    await put_back(connection, tmp_path / "backup", clock, told, over=True)
            await allow([each for each in rights if each != "~*"] + ["~[^c]:*"])
            with pytest.raises(BackupError, match=r"forbids keys c:\*;"):
                await put_back(connection, tmp_path / "backup", clock, told, over=True)
            assert await client.dbsize() == stood
            await allow(rights)
            await put_back(connection, tmp_path / "backup", clock, told, over=True)
            await allow(backup)
            await take(connection, tmp_path / "again", clock, told)
            for right, what in (("~*", "key"), ("+type", "type"), ("+hscan", "hscan")):  # the last one is a script's
                await allow([each for each in backup if each != right])
                with pytest.raises(RefusedCommandError, match=f"refused a command: NOPERM {what}$"):
                    await take(connection, tmp_path / "never", clock, told)
        every.remove("+cluster|slots")
        await allow(backup)
        with pytest.raises(StoreUnusableError, match=r"'cluster\|slots' command"):
            async with connected(f"redis://operator:pw@127.0.0.1:{port}", SETTINGS):
                pytest.fail("nobody has told who serves a slot")


async def test_a_right_that_some_nodes_lack_is_told_once(embedded: EmbeddedCluster, clock: FakeClock) -> None:
    """Each has an ACL of its own, and some would have been written to before the others refused."""
    async with connected(embedded.url, SETTINGS) as connection:
        for lacking in (*((port,) for port in embedded.ports), embedded.ports):
            try:
                for port in lacking:
                    await on_node(port, "ACL", "SETUSER", "default", "-hsetex")
                with pytest.raises(BackupError, match=r"forbids hsetex;"):
                    await put_back(connection, Path("never read"), clock, told, over=True)
            finally:
                await on_all_nodes(embedded, "ACL", "SETUSER", "default", "+hsetex")


async def test_a_catalog_that_never_stands_still_is_not_taken_for_whole(
    embedded: EmbeddedCluster, plain: RedisCluster, worker: AccountWorker, clock: FakeClock, tmp_path: Path
) -> None:
    stop = asyncio.Event()

    async def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await plain.set(keys.CATALOG_VERSION, f"{number}-1")

    changing = asyncio.create_task(change())
    async with connected(embedded.url, SETTINGS) as connection:
        with pytest.raises(BackupError, match="the catalog was changed all the time"):
            await take(connection, tmp_path / "backup", clock, told)
        stop.set()
        await changing
        assert files_in(tmp_path) == []
        await take(connection, tmp_path / "backup", clock, told)
    async with another_cluster(tmp_path) as (client, there):
        await put_back(there, tmp_path / "backup", clock, told)
        assert await users(client) == await users(plain)


@pytest.mark.parametrize("fault", ["flipped", "flipped in the last line", "cut", "no end", "other"])
async def test_a_file_that_is_damaged_is_not_begun(
    embedded: EmbeddedCluster, plain: RedisCluster, clock: FakeClock, tmp_path: Path, fault: str
) -> None:
    file = tmp_path / "backup"
    await plain.hset(keys.membership_key(b"p", b"1"), "1", 1)
    async with connected(embedded.url, SETTINGS) as connection:
        await take(connection, file, clock, told)
        whole = file.read_bytes()
        middle = len(whole) // 3
        damaged = {
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "flipped in the last line": whole.replace(b'"began_ms"', b'"began_m{"'),
            "cut": whole[:middle],
            "no end": whole[: whole.rindex(b"{")],
            "other": b"something else\n" + whole,
        }
        file.write_bytes(damaged[fault])
        await plain.flushall(target_nodes=RedisCluster.PRIMARIES)
        with pytest.raises(BackupError):
            await put_back(connection, file, clock, told)
        assert await plain.dbsize(target_nodes=RedisCluster.PRIMARIES) == 0


def test_a_pipe_is_no_backup(tmp_path: Path) -> None:
    """It has its bytes once, and is read twice: a pipe that nobody wrote to was waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BackupError, match=r"is not an ordinary file, .* write it into one first"):
        check(tmp_path / "pipe", told)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_draft_that_somebody_left_is_not_written_to(tmp_path: Path, is_link: bool) -> None:
    """Whoever has it open, or may read it, would read the backup."""
    others, draft = tmp_path / "others", tmp_path / f"backup.{os.getpid()}.part"
    others.touch()
    others.chmod(0o666)
    if is_link:
        draft.symlink_to(others)
    else:
        draft.hardlink_to(others)
    with Writer(tmp_path / "backup") as writer:
        assert draft.stat().st_mode & 0o777 == 0o600
        writer.add(b"secret")
        writer.finish({})
    assert others.read_bytes() == b""
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert set(files_in(tmp_path)) == {others, tmp_path / "backup"}


async def test_who_is_cut_short_leaves_no_file(embedded: EmbeddedCluster, clock: FakeClock, tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    async with connected(embedded.url, SETTINGS) as connection:
        with pytest.raises(KeyboardInterrupt):
            await take(connection, tmp_path / "backup", clock, stop)
    assert files_in(tmp_path) == []
