"""A file's catalog is the beginning of an empty one, which decides from then on."""

import asyncio
import threading

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.editor import write_of
from instantaudience_server.catalog.files.file import CatalogEntries, CatalogError
from instantaudience_server.catalog.files.seeding import seed
from instantaudience_server.store.catalog_store import ClusterCatalogStore
from instantaudience_server.store.cluster.cluster import Cluster
from instantaudience_server.store.interfaces.catalog import Kind, Outcome
from support.clocks import NOW_MS
from support.parts.callers import quick_hash
from support.waiting import seconds_from_now

MEMBERS = [pb.Member(id=1, name="One"), pb.Member(id=2, name="Two")]
ANN = pb.ImportedUser(user=pb.User(id=10, username="ann", member_id=1), password="Ann-Passw0rd!")
BOB = pb.ImportedUser(user=pb.User(id=11, username="bob", member_id=2), password_hash="$argon2id$bob")


@pytest.fixture
def store(cluster: Cluster) -> ClusterCatalogStore:
    return ClusterCatalogStore(cluster)


def entries(count: int = 1200) -> CatalogEntries:
    """The file; it holds more segments than are written at once."""
    segments = [pb.Segment(id=number, member_id=1, code=f"c{number}") for number in range(1, count + 1)]
    return CatalogEntries(members=[*MEMBERS], users=[ANN, BOB], segments=segments)


async def seeded(store: ClusterCatalogStore, file: CatalogEntries, *, add_missing: bool = False) -> int:
    """How many entries were added."""
    return (await seed(store, file, quick_hash, NOW_MS, lambda _done, _all: None, add_missing=add_missing)).added


async def test_an_empty_catalog_alone_is_seeded(store: ClusterCatalogStore) -> None:
    """Who was removed since does not come back."""
    assert await seeded(store, entries(3)) == 7
    (ann,) = await store.find(Kind.USER, [10], seconds_from_now())
    assert ann is not None
    removal = write_of(pb.User.FromString(ann), None)
    assert await store.write([removal], seconds_from_now()) == [Outcome.DONE]
    assert await seeded(store, entries(5)) == 0
    assert await store.find(Kind.USER, [10], seconds_from_now()) == [None]
    assert await store.find(Kind.SEGMENT, [5], seconds_from_now()) == [None]


async def test_who_is_removed_while_another_machine_still_seeds_does_not_come_back(store: ClusterCatalogStore) -> None:
    """Several start at once with the same file; the first one that is done serves at once."""
    hashes, may_go_on = threading.Event(), threading.Event()

    def slow_hash(password: str) -> str:
        hashes.set()
        assert may_go_on.wait(20)
        return quick_hash(password)

    slower = asyncio.create_task(seed(store, entries(3), slow_hash, NOW_MS, lambda _done, _all: None))
    assert await asyncio.to_thread(hashes.wait, 20)
    assert await seeded(store, entries(3)) == 5  # the slower one has put the members
    (ann,) = await store.find(Kind.USER, [10], seconds_from_now())
    assert ann is not None
    removal = write_of(pb.User.FromString(ann), None)
    assert await store.write([removal], seconds_from_now()) == [Outcome.DONE]
    may_go_on.set()
    assert await slower == (2, [])
    assert await store.find(Kind.USER, [10], seconds_from_now()) == [None]


async def test_what_was_cut_short_is_completed(store: ClusterCatalogStore) -> None:
    def stop(done: int, _: int) -> None:
        if done > 2:
            raise KeyError

    with pytest.raises(KeyError):
        await seed(store, entries(3), quick_hash, NOW_MS, stop)
    assert await seeded(store, entries(3)) == 3
    assert await seeded(store, entries(5)) == 0


async def test_missing_entries_are_added_once_where_that_is_wanted(store: ClusterCatalogStore) -> None:
    assert await seeded(store, entries()) == 1204
    version = await store.version(seconds_from_now())
    hashes = await store.password_hashes([10, 11], seconds_from_now())
    assert hashes[1] == "$argon2id$bob"
    for _ in range(2):
        assert await seeded(store, entries(), add_missing=True) == 0
    assert await store.version(seconds_from_now()) == version
    assert await store.password_hashes([10, 11], seconds_from_now()) == hashes
    assert await seeded(store, entries(1203), add_missing=True) == 3


async def test_tokens_of_a_user_that_is_gone_are_not_those_of_the_one_that_is_added(store: ClusterCatalogStore) -> None:
    generation = NOW_MS // 1000 + 5  # its tokens were revoked as often in a second
    await store.note_generation(generation, seconds_from_now())
    await seeded(store, entries(0), add_missing=True)
    (ann,) = await store.find(Kind.USER, [10], seconds_from_now())
    assert ann is not None
    assert pb.User.FromString(ann).token_generation == generation + 1


async def test_what_was_changed_since_stays_changed(store: ClusterCatalogStore) -> None:
    await seeded(store, entries())
    (before,) = await store.find(Kind.SEGMENT, [7], seconds_from_now())
    assert before is not None
    stands = pb.Segment.FromString(before)
    renamed = pb.Segment(id=7, member_id=1, code="renamed")
    admin = pb.User(id=10, username="anna", member_id=1, role=pb.ROLE_ADMIN)
    writes = [write_of(stands, renamed), write_of(ANN.user, admin, "$argon2id$new")]
    assert await store.write(writes, seconds_from_now()) == [Outcome.DONE, Outcome.DONE]
    assert await seeded(store, entries(), add_missing=True) == 0
    assert await store.find(Kind.SEGMENT, [7], seconds_from_now()) == [renamed.SerializeToString(deterministic=True)]
    assert await store.find(Kind.USER, [10], seconds_from_now()) == [admin.SerializeToString(deterministic=True)]
    assert await store.password_hashes([10], seconds_from_now()) == ["$argon2id$new"]


async def test_a_name_that_another_object_has_got_stays_its(store: ClusterCatalogStore) -> None:
    other = pb.User(id=99, username="ann", member_id=1)
    writes = [write_of(None, MEMBERS[0]), write_of(None, other, "$argon2id$other")]
    assert await store.write(writes, seconds_from_now()) == [Outcome.DONE, Outcome.DONE]
    done = await seed(store, entries(1), quick_hash, NOW_MS, lambda _done, _all: None, add_missing=True)
    assert done == (3, ["user 10"])
    assert await store.find(Kind.USER, [10, 11], seconds_from_now()) == [None, BOB.user.SerializeToString()]


async def test_a_name_in_certificates_that_another_user_has_got_stays_its(store: ClusterCatalogStore) -> None:
    """It would stand for neither of two."""
    other = pb.User(id=99, username="cat", member_id=1, certificate_names=["cat", "now cat's"])
    writes = [write_of(None, MEMBERS[0]), write_of(None, other, "$argon2id$other")]
    assert await store.write(writes, seconds_from_now()) == [Outcome.DONE, Outcome.DONE]
    users = [
        pb.User(id=number, username=f"u{number}", member_id=1, certificate_names=names)
        for number, names in ((20, ["a", "now cat's"]), (21, ["b"]), (22, []))
    ]
    file = CatalogEntries(
        members=MEMBERS, users=[pb.ImportedUser(user=each, password_hash="$argon2id$u") for each in users]
    )
    done = await seed(store, file, quick_hash, NOW_MS, lambda _done, _all: None, add_missing=True)
    assert done == (3, ["user 20"])
    found = await store.find(Kind.USER, [20, 21, 22], seconds_from_now())
    assert [each is not None for each in found] == [False, True, True]


async def test_only_new_users_need_passwords(store: ClusterCatalogStore) -> None:
    without = pb.ImportedUser(user=ANN.user)
    file = CatalogEntries(members=MEMBERS, users=[without])
    with pytest.raises(CatalogError, match="user ann"):
        await seeded(store, file, add_missing=True)
    assert await seeded(store, entries(0), add_missing=True) == 2
    assert await seeded(store, file, add_missing=True) == 0
